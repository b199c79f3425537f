"""What MLflow shows of a run before it is opened: a name that says what differs, a description, the source."""

import os
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from getpass import getuser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import Params, load_params
from ngldm.pipeline.config.reading.text import read_yaml

NOTE = "mlflow.note.content"  # the description, in Markdown
SHORT = ("dataset.", "train.", "diffusion.", "network.", "sampler_options.")  # their keys need no section in a name
NAMED = 3  # so many settings are in a run's name
CONF = Path("conf")
UNSET = "unset"


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a mapping: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def noise_params(label: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a noise: `noise` is its label. Its other settings have the same keys for every noise.

    `noise.distribution` is left out where it is the label.

    Args:
        options: an entry of `noise_options`.
    """
    own = flatten({"noise": options})
    if own.get("noise.distribution") == label:
        del own["noise.distribution"]
    return {"noise": label, **own}


def recipe_params(params: Params, noise: str | None = None) -> Params | None:
    """What conf/ makes of the same recipe, data set and noise without further settings. None if it makes nothing.

    Args:
        noise: a label. If conf/noise has no such file, the recipe's own noises stay.
    """
    wanted = {"recipe": params.recipe, "dataset": params.dataset.name, "noise": noise}
    chosen = [f"{group}={name}" for group, name in wanted.items() if (CONF / group / f"{name}.yaml").is_file()]
    if f"recipe={params.recipe}" not in chosen:
        return None
    return _composed(CONF.resolve(), (*chosen, *_left_open(params.dataset.name)))


def _left_open(dataset: str) -> list[str]:
    """A value for each option that conf/ leaves to the user, as the path of the images. So a user's own differs."""
    file = CONF / "dataset" / f"{dataset}.yaml"
    content = read_yaml(file.read_bytes(), str(file)) if file.is_file() else None
    options = content if isinstance(content, Mapping) else {}
    return [f"dataset.{key}={UNSET}" for key, value in options.items() if value == "???"]


@lru_cache(maxsize=32)
def _composed(conf: Path, overrides: tuple[str, ...]) -> Params | None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "params.yaml")
        try:
            compose_params(file, list(overrides))
            return load_params(file)
        except InputError:  # the name only loses what it would say beyond the label
            return None


def differing(own: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The flat settings that differ from the usual ones, or that these do not have."""
    return {key: value for key, value in own.items() if key not in usual or usual[key] != value}


def run_name(label: str, changed: Mapping[str, Any]) -> str:
    """The label and the first settings that differ, as in "laplace lr=2e-4 schedule=cosine +2"."""
    words = [f"{_short_key(key)}={short_value(value)}" for key, value in changed.items()]
    more = [f"+{len(words) - NAMED}"] if len(words) > NAMED else []
    return " ".join([label, *words[:NAMED], *more])


def _short_key(key: str) -> str:
    section, _, name = key.rpartition(".")
    if section and name in ("name", "kind", "distribution"):
        return section
    if key == "dataset.seed":  # not that of the training
        return key
    return next((key.removeprefix(prefix) for prefix in SHORT if key.startswith(prefix)), key)


def short_value(value: object) -> str:
    """A value in few letters: 0.0002 is 2e-4, of a path the last part."""
    if isinstance(value, float) and value == value:
        plain, (digits, _, power) = f"{value:g}", f"{value:.5e}".partition("e")
        scientific = f"{digits.rstrip('0').rstrip('.')}e{int(power)}" if power else plain
        return min(plain, scientific, key=len)
    if isinstance(value, list):
        return f"[{','.join(map(short_value, value))}]"
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else str(value)


def description(what: str, changed: Mapping[str, Any], made_by: str) -> dict[str, str]:
    """The tag with a run's description.

    Args:
        what: a sentence.
        changed: settings that differ from the recipe.
        made_by: the command that makes such a run.
    """
    settings = ", ".join(f"`{key}={value}`" for key, value in changed.items()) or "none"
    return {NOTE: f"{what}\n\nSettings that differ from the recipe: {settings}.\n\nMade by `{made_by}`."}


def source_tags(file: str) -> dict[str, str]:
    """Tags that say which file, user, commit and experiment of DVC a run is of.

    Args:
        file: in the repository, for example stages/train.py.
    """
    tags = {"mlflow.source.name": file, "mlflow.source.type": "LOCAL", "mlflow.user": _user()}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    if commit:
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
    for variable in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags


def _user() -> str:
    try:
        return getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        return "unknown"
