"""python -m benchmarks.gpu --minutes 40 [--size smallest|small|full] [--out FOLDER] [--set KEY=VALUE] ...

It runs in parts of under 9 minutes: the speed of training, sampling and scoring beside diffusers, then recipe `best`
from its data to its scores for gaussian and laplace. Each part is written when it ends, and the same command goes on
with the next: with the next step of a training, too.
"""

import gc
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common import SIZES, Row, about, show_tables
from benchmarks.gpu import recipe, speed
from benchmarks.gpu.recipe import Recipe
from ngldm.io.errors import InputError, unknown
from ngldm.io.files import read_json, write_json
from ngldm.pipeline.terminal import run
from ngldm.training.checkpoints.lock import if_free

AGAIN = 10.0  # seconds after which a limit is raised again: Python only prints what is raised in a destructor
NEARLY = 0.9  # of the time that a part may take: with so little more it would be stopped again


class OutOfTime(BaseException):
    """A part has taken as long as it may. No library takes it for a fault of its own."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after so many seconds, between two operations of Python."""

    def over(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def alone(*folders: Path) -> Iterator[None]:
    """Work in folders, in which no other command of this kind works meanwhile.

    Raises:
        InputError: another one does.
    """
    with ExitStack() as locks:
        for folder in sorted({folder.resolve() for folder in folders}):
            folder.mkdir(parents=True, exist_ok=True)
            if not locks.enter_context(if_free(folder / "gpu")):
                raise InputError(f"--out: another command works in {folder}; wait for it, or give another folder")
        yield


class Results:
    """The tables of <out>/gpu.json, by name. `parts` says of each part how it ended.

    Raises:
        InputError: they are of another size of the benchmark, or the file holds something else.
    """

    def __init__(self, out: Path, size: str) -> None:
        self.file, self.size = out / "gpu.json", size
        content: dict[str, Any] = read_json(self.file, "size", "results") if self.file.exists() else {}
        if content.get("size", size) != size:
            raise InputError(f"--out: {self.file} is of the size {content['size']}, not of {size}; give another folder")
        self.tables: dict[str, list[Row]] = content.get("results", {})
        if not _are_tables(self.tables):
            raise InputError(f"--out: {self.file} holds no tables of this benchmark; give another folder")

    def has(self, part: str) -> bool:
        return any(row["part"] == part for row in self.tables.get("parts", []))

    def settled(self, part: str, seconds: float) -> bool:
        """Whether a measurement has ended, or was stopped after as many seconds as it could have now."""
        return any(
            not row["outcome"].startswith("stopped") or row["seconds"] > NEARLY * seconds
            for row in self.tables.get("parts", [])
            if row["part"] == part
        )

    def seconds(self, part: str) -> float:
        """That a part has taken so far."""
        return sum(row["seconds"] for row in self.tables.get("parts", []) if row["part"] == part)

    def add(self, part: str, how: Row, name: str, rows: list[Row]) -> None:
        """Print a table and write all of them."""
        parts = [row for row in self.tables.get("parts", []) if row["part"] != part]
        self.tables |= {"parts": [*parts, {"part": part, **how}]}
        if rows:
            self.tables[name] = rows
            show_tables("gpu", {name: rows})
        write_json(self.file, {**about(), "size": self.size, "results": self.tables})


def _are_tables(found: object) -> bool:
    """Whether it can be what `Results` wrote: tables by name, each with rows, and of each part how it ended."""
    if not isinstance(found, dict) or not all(isinstance(rows, list) and rows for rows in found.values()):
        return False
    if not all(isinstance(row, dict) for rows in found.values() for row in rows):
        return False
    parts = found.get("parts", [])
    return all(
        isinstance(row.get("part"), str) and isinstance(row.get("seconds"), int | float) and "outcome" in row
        for row in parts
    )


class Command:
    """What was asked for.

    Args:
        results: which the parts add to.
        best: the recipe.
        minutes: of all parts together.
        part_minutes: of one.
    """

    def __init__(self, results: Results, best: Recipe, minutes: float, part_minutes: float) -> None:
        self.results, self.best, self.longest = results, best, 60.0 * min(part_minutes, minutes)
        self.end = recipe.now() + 60.0 * minutes
        self.rate = 0.0  # of matrix products; measured when it is needed

    def go(self, part: str, again: bool) -> bool:
        """Do a part, as often as it takes. Returns whether there was time enough."""
        if part in speed.PARTS:
            return (self.results.settled(part, self._left()) and not again) or self._measure(part)
        while not (self.best.done(part) and self.results.has(part)):
            seconds, start = self._begin(part, recipe.SAVING + recipe.ENDING), recipe.now()
            if not seconds:
                return False
            before = self.best.progress(part)
            stopped = self.best.advance(part, start + seconds)
            how: Row = {"outcome": f"stopped at {stopped}" if stopped else "done"}
            how["seconds"] = recipe.now() - start + self.results.seconds(part)
            self.results.add(part, how, "best", self.best.rows())
            for file in self.best.pictures(part, self.results.file.parent):
                print(f"gpu: {file}", flush=True)
            if stopped and seconds > NEARLY * self.longest and self.best.progress(part) == before:
                raise InputError(f"--minutes, --part-minutes: too short, the part came no further than {stopped}")
        return True

    def _left(self) -> float:
        """Seconds that a part may take from now."""
        return min(self.longest, self.end - recipe.now())

    def _begin(self, part: str, least: float = 0.0) -> float:
        """Say that a part begins. Returns the seconds that it may take, 0 if no more than `least` are left."""
        seconds = self._left()
        if seconds <= least:
            return 0.0
        print(f"gpu: part {part!r}, at most {seconds / 60.0:.1f} minutes", flush=True)
        return seconds

    def _measure(self, part: str) -> bool:
        """Measure in this process. What fails is said and noted, and the next part may do better."""
        seconds, rows, outcome = self._begin(part), list[Row](), "done"
        if not seconds:
            return False
        start = time.perf_counter()
        try:
            with limit(seconds):
                self.rate = self.rate or speed.matmul_rate(self.results.size)
                rows = speed.PARTS[part](speed.Setting(self.results.size, self.best.params, self.rate))
        except OutOfTime:
            outcome = f"stopped after {seconds / 60.0:.1f} minutes"
        except Exception as error:
            traceback.print_exc()
            outcome = f"failed: {type(error).__name__}: {str(error)[:200]}"
        how: Row = {"outcome": outcome, "seconds": time.perf_counter() - start}
        self.results.add(part, how | {"bf16 matmul, TFLOP/s": self.rate / 1e12}, part, rows)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.results.settled(part, self.longest)


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[
        Path, typer.Option(help="Folder for gpu.json, pictures and the workspace; parts that it has are not run again.")
    ] = Path("benchmarks/results/gpu"),
    minutes: Annotated[float, typer.Option(min=0.0, help="After so many it ends.")] = 40.0,
    part_minutes: Annotated[float, typer.Option(min=1.0, help="What a part may take at most.")] = 9.0,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this part, can be repeated. It is measured again; the recipe goes on."),
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="Where the stages of the recipe run; by default <out>/best.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, as -S of dvc exp run; can be repeated.")
    ] = None,
) -> None:
    """Measure what a GPU does with ngldm, in parts that go on where the last call stopped."""
    if size not in SIZES:
        raise unknown("--size", size, SIZES)
    folder = workspace or out / "best"
    with alone(out, folder):
        results, best = Results(out, size), Recipe.of(folder, size, settings or [])
        parts = [*speed.PARTS, *best.parts]
        for name in only or []:
            if name not in parts:
                raise InputError(f"--only: {name!r} is no part; choose from: {'; '.join(parts)}")
        command = Command(results, best, minutes, part_minutes)
        for name in only or parts:
            if not command.go(name, again=bool(only)):
                print(f"gpu: {minutes:g} minutes are over; the same command goes on with: {name}", flush=True)
                return
        show_tables("gpu", {"parts": results.tables["parts"]})


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(main)
if __name__ == "__main__":
    run(app)
