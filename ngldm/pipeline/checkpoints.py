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
    printed line says that the training continues from one, or why none is used.

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
        yield checkpointer
