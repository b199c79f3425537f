"""Write params.yaml from conf/ with Hydra, as `dvc exp run` does."""

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from ngldm.io.errors import InputError, require_name
from ngldm.io.files import atomic_path
from ngldm.io.limits import MAX_NESTED
from ngldm.pipeline.config.dataset.source import spelling_hint
from ngldm.pipeline.config.params import Params, load_params

LONGEST = 10_000  # characters of an override


def compose_params(path: Path, overrides: list[str], check: Callable[[Params], object] = lambda params: None) -> None:
    """Write a params file from conf/ with overrides. This calls the function that `dvc exp run` calls.

    Args:
        path: the file to write.
        overrides: as Hydra has them, for example "recipe=smoke".
        check: a further check of the params, before they are written.

    Raises:
        InputError: Hydra cannot compose the params, or a value is not allowed. The file stays as it was.
    """
    for name in [override.removeprefix("tuned=") for override in overrides if override.startswith("tuned=")]:
        require_name("tuned", name)
        if name != "null" and not Path("conf", "tuned", f"{name}.yaml").is_file():  # without any, Hydra knows no group
            raise InputError(f"tuned={name}: conf/tuned has no {name}.yaml; `ngldm search apply` writes it")
    for override in overrides:
        if len(override) > LONGEST:
            raise InputError(f"{override[:40]}...: {len(override)} characters, at most {LONGEST}")
        if max(accumulate((mark in "[{(") - (mark in "]})") for mark in override), default=0) > MAX_NESTED:
            raise InputError(f"{override[:40]}...: more than {MAX_NESTED} brackets inside each other")
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    conf = str(Path("conf").resolve())
    with atomic_path(path) as temporary:
        try:
            compose_and_dump(temporary, conf, None, "config", conf, overrides)  # conf/hydra_plugins has a resolver
        except (HydraException, OmegaConfBaseException) as error:
            raise _refused(error) or InputError(f"conf: {error}{spelling_hint(overrides)}") from error
        except ValueError as error:  # Hydra's, of a group that is no string; it does not say which
            raise InputError(f"conf: {' '.join(overrides)}: {error}") from error
        check(load_params(temporary, str(path)))


def _refused(error: BaseException | None) -> InputError | None:
    """What conf/hydra_plugins found wrong in the params, if that is behind an error of Hydra."""
    while error is not None and not isinstance(error, InputError):
        error = error.__context__
    return error
