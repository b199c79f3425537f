"""params.yaml written from conf/ by Hydra, as `dvc exp run` does it."""

from pathlib import Path

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path
from ngldm.pipeline.config.source import spelling_hint


def compose_params(path: Path, overrides: list[str]) -> None:
    """Write a params file from conf/ with overrides, by the code that `dvc exp run` uses.

    Raises:
        InputError: Hydra cannot compose it; its message names the choices. The file stays as it was.
    """
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with atomic_path(path) as temporary:
        try:
            compose_and_dump(temporary, str(Path("conf").resolve()), None, "config", "plugins", overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"conf: {error}{spelling_hint(overrides)}") from error
