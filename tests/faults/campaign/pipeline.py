"""A small pipeline whose stages are killed and run again, and what must be the same in the end."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ngldm.io.files import fingerprint
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.terminal import command
from ngldm.pipeline.tracking import runs
from stages import autoencoder, curve, download, evaluate, latents, reference, sample, train
from tests.faults.child import Child, Ended

ROOT = Path(__file__).parents[3]
ACTIONS: dict[str, Callable[[], object]] = {
    "download": download.download,
    "autoencoder": partial(autoencoder.autoencoder, "cpu"),
    "latents": partial(latents.latents, "cpu"),
    "reference": partial(reference.reference, "cpu"),
    "train": partial(train.train, "laplace", "cpu"),
    "sample": partial(sample.sample, "laplace", "auto", "cpu"),
    "evaluate": partial(evaluate.evaluate, "laplace", "cpu"),
    "curve": partial(curve.curve, "cpu"),
}
OUTPUTS = {
    "autoencoder": ["models/autoencoder.safetensors", "plots/autoencoder.csv", "plots/reconstructions.png"],
    "latents": ["data/latents"],
    "reference": ["data/reference"],
    "train": ["models/laplace", "snapshots/laplace", "plots/train"],
    "sample": ["samples/laplace/auto", "plots/samples"],
    "evaluate": ["metrics/evaluate"],
    "curve": ["plots/curve"],
}
READ = ("conf", "data", "metrics", "models", "plots", "samples", "snapshots", "params.yaml", "mlflow.db")


def build(folder: Path) -> None:
    """Run all stages once, on one noise and one sampler."""
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "conf", folder / "conf")
    composed = partial(compose_params, Path("params.yaml"), ["recipe=smoke", "noises=[laplace]", "samplers=[auto]"])
    for number, action in enumerate((composed, *ACTIONS.values())):
        ended = start(action, folder, folder.parent / f"build-{number}").end()
        if ended.returncode:
            raise RuntimeError(ended.stderr)


def start(
    action: Callable[[], object], folder: Path, texts: Path, install: Callable[[], object] = lambda: None
) -> Child:
    """A child that runs an action in a folder.

    Args:
        texts: a new folder, for what it prints.
        install: called before, in the child.
    """

    def entry() -> None:
        os.chdir(folder)
        runs.SYSTEM_SECONDS = 0.1  # a training waits so long for its monitor at the end
        install()
        command(lambda: action())()

    return Child(entry, texts)


def before(stage: str, complete: Path, folder: Path, new_store: bool = False) -> Path:
    """A copy of a finished pipeline in which a stage has not run yet.

    Args:
        new_store: whether MLflow has recorded nothing.
    """
    folder.mkdir()
    for name in READ:
        if (complete / name).is_dir():
            shutil.copytree(complete / name, folder / name)
        elif not (new_store and name == "mlflow.db"):
            shutil.copy(complete / name, folder / name)
    for output in OUTPUTS[stage]:
        path = folder / output
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return folder


def found(folder: Path) -> dict[str, str]:
    """Every file but those of MLflow, with its SHA-256; of figures, without the seconds that a stage took."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith("mlartifacts/") or name == "mlflow.db":
            continue
        if path.suffix == ".json" and "metrics" in path.relative_to(folder).parts:
            files[name] = fingerprint(_timeless(json.loads(path.read_text())))
        else:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


def _timeless(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {k: _timeless(v) for k, v in content.items() if k != "made" and not k.endswith("seconds")}


def faults(folder: Path, expected: dict[str, str], rerun: Ended) -> list[str]:
    """What is wrong after a rerun; nothing if all is as if there had been no kill."""
    wrong = []
    if rerun.returncode:
        wrong.append(f"exit code {rerun.returncode}: {rerun.stderr[-500:]}")
    if "warning" in rerun.stderr or "torch/distributed" in rerun.stderr:  # torch says that it has ended the others
        wrong.append(rerun.stderr.strip())
    now = found(folder)
    wrong += [f"{name} is left" for name in now.keys() - expected.keys()]
    wrong += [f"{name} is missing" for name in expected.keys() - now.keys()]
    wrong += [f"{name} differs" for name in now.keys() & expected.keys() if now[name] != expected[name]]
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        if (state := store.execute("pragma integrity_check").fetchone()[0]) != "ok":
            wrong.append(f"mlflow.db: {state}")
        for (name,) in store.execute("select name from runs where status = 'RUNNING'"):
            wrong.append(f"the run {name!r} is still RUNNING")
    return wrong
