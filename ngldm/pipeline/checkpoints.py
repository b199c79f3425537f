"""The checkpoints of the stages that train: where they are kept, and what is printed about them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ngldm.pipeline.workspace import main_root
from ngldm.training.checkpoint import Checkpointer


@contextmanager
def resumable(title: str, label: str, made_from: Mapping[str, Any], every: int) -> Iterator[Checkpointer]:
    """Checkpoints for a block that trains and writes the results. They are removed if the block succeeds.

    They are kept in checkpoints/ of the main repository, which is not an output of DVC. If there are older ones, a
    printed line says that the training continues from one, or why none is used. Those that older code made are removed,
    and a line says so. Those that were made with other settings or data stay: another experiment may continue them.

    Args:
        title: what the printed line begins with.
        label, made_from, every: as in `Checkpointer`.
    """
    checkpointer = Checkpointer(main_root() / "checkpoints", label, made_from, every)

    def waits() -> None:
        print(f"{title}: waits for another process with the same training ({checkpointer.folder})", flush=True)

    with checkpointer.until_done(waits):
        if note := checkpointer.outlook():
            print(f"{title}: {note}", flush=True)
        for folder in checkpointer.remove_stale(lambda old: _is_of_older_code(old, made_from)):
            print(f"{title}: removed {folder}, which no training will continue", flush=True)
        yield checkpointer


def _is_of_older_code(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether what `made_from`, `own_noise` and `own_network` say of the code differs."""
    if old.get("code") != new.get("code"):
        return True
    pairs = ((old.get(key, {}), new.get(key, {})) for key in ("own_noise", "own_network", "own_autoencoder"))
    return any(before[name] != now[name] for before, now in pairs for name in before.keys() & now.keys())
