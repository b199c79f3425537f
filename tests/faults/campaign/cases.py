"""A case: a stage is killed, runs again, and all must be as if nothing had happened."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from tests.faults.campaign.moments import MOMENTS, Moment
from tests.faults.campaign.pipeline import ACTIONS, OUTPUTS, before, faults, found, start

RANDOM = "any time"
TRIES = 5  # a random moment can come after the end of the stage


class Bench:
    """Where cases are run.

    Args:
        complete: a finished pipeline.
        folder: for what the cases write.
    """

    def __init__(self, complete: Path, folder: Path) -> None:
        self.complete, self.folder, self.number = complete, folder, 0
        self.undisturbed: dict[tuple[str, bool], tuple[dict[str, str], float]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def new(self) -> Path:
        """A name that nothing has yet."""
        self.number += 1
        return self.folder / f"{os.getpid()}-{self.number}"

    def expected(self, stage: str, new_store: bool) -> tuple[dict[str, str], float]:
        """The files after an undisturbed run, and its seconds."""
        if (stage, new_store) not in self.undisturbed:
            folder = before(stage, self.complete, self.new(), new_store)
            begun = time.monotonic()
            ended = start(ACTIONS[stage], folder, self.new()).end()
            assert ended.returncode == 0, ended.stderr
            self.undisturbed[stage, new_store] = found(folder), time.monotonic() - begun
        return self.undisturbed[stage, new_store]

    def _rerun(self, stage: str, folder: Path, expected: dict[str, str]) -> list[str]:
        wrong = faults(folder, expected, start(ACTIONS[stage], folder, self.new()).end())
        if not wrong:
            shutil.rmtree(folder)
        return wrong

    def chosen(self, moment: Moment) -> list[str]:
        """What is wrong after a kill at a chosen moment and a rerun."""
        expected, _ = self.expected(moment.stage, moment.new_store)
        folder = before(moment.stage, self.complete, self.new(), moment.new_store)
        ended = start(ACTIONS[moment.stage], folder, self.new(), moment.install).end()
        if ended.returncode != -signal.SIGKILL:
            return [f"the moment did not come: exit code {ended.returncode} {ended.stderr}"]
        return self._rerun(moment.stage, folder, expected)

    def random(self, number: int, seed: int) -> list[str]:
        """What is wrong after a kill at a random moment of a stage and a rerun."""
        draw = random.Random(f"{seed} {number}")
        stage = list(OUTPUTS)[number % len(OUTPUTS)]
        expected, seconds = self.expected(stage, False)
        for _ in range(TRIES):
            folder = before(stage, self.complete, self.new())
            child = start(ACTIONS[stage], folder, self.new())
            time.sleep(draw.uniform(0.0, seconds))
            os.kill(child.pid, signal.SIGKILL)
            if child.end().returncode == -signal.SIGKILL:
                return self._rerun(stage, folder, expected)
            self.undisturbed[stage, False] = expected, (seconds := seconds * 0.8)  # the machine is less busy now
        return ["the stage has ended before it could be killed"]


def names(count: int) -> dict[str, tuple[str, str]]:
    """The cases: name to kind and stage."""
    stages = list(OUTPUTS)
    found = {f"random {number}": (RANDOM, stages[number % len(stages)]) for number in range(count)}
    return found | {f"{moment.stage}: {moment.what}": (moment.kind, moment.stage) for moment in MOMENTS}
