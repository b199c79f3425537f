"""Where the stages' trainings keep their checkpoints, and what they say of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ngldm.pipeline.workspace import main_root
from ngldm.training.checkpoint import Checkpointer


@contextmanager
def resumable(title: str, label: str, made_from: Mapping[str, Any], every: int) -> Iterator[Checkpointer]:
    """Checkpoints for a block that trains and writes the results; removed if it succeeds.

    They lie in checkpoints/ of the main repository, outside DVC's outs. If older ones are not used, a line says why.

    Args:
        title: the stage, in that line.
        label, made_from, every: as for `Checkpointer`.
    """
    checkpointer = Checkpointer(main_root() / "checkpoints", label, made_from, every)
    with checkpointer.until_done():
        if note := checkpointer.unused():
            print(f"{title}: {note}", flush=True)
        yield checkpointer
