"""What several tests of the stages need."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ngldm.training.ema import EMA


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None], int | None], int]:
    """Runs a stage and counts its optimiser steps; kills it in the middle of the one after `kill_after`."""
    update = EMA.update

    def run(stage: Callable[[], None], kill_after: int | None = None) -> int:
        done = 0

        def counted(self: EMA[Any], model: torch.nn.Module) -> None:
            nonlocal done
            if done == kill_after:
                raise KeyboardInterrupt
            update(self, model)
            done += 1

        with monkeypatch.context() as patch:
            patch.setattr(EMA, "update", counted)
            if kill_after is None:
                stage()
            else:
                with pytest.raises(KeyboardInterrupt):
                    stage()
        return done

    return run
