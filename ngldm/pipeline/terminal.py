"""What all commands share: errors without tracebacks, the options --device and --quiet, progress, tables."""

import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
from rich.console import Console

from ngldm.io import processes
from ngldm.io.disk import clear_temporaries, ending_of
from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.many.launcher import on_many
from ngldm.pipeline.memory import enough_memory
from ngldm.pipeline.signals import ends_well, say_stopped, stopped_by

Device = Annotated[
    str,
    typer.Option(envvar="NGLDM_DEVICE", help="Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps."),
]
NoiseLabel = Annotated[
    str, typer.Option("--noise", help="Label of a training: a noise of params.yaml, or with a seed, as laplace-s1.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", envvar="NGLDM_QUIET", help="Only warnings and errors.")]
SamplerLabel = Annotated[str, typer.Option("--sampler", help="Label of a sampler in params.yaml.")]


def label_of_stage() -> str:
    """The label of the stage that DVC runs: what stands after the @ in its name, which DVC gives in DVC_STAGE.

    The command in dvc.yaml has no label, because DVC would put a text of params.yaml into a command of the shell.

    Raises:
        InputError: DVC runs no such stage.
    """
    _, at, label = os.environ.get("DVC_STAGE", "").rpartition("@")
    if not at:
        raise InputError("--noise: missing; name a training of params.yaml, for example --noise laplace")
    return label


StageLabel = Annotated[
    str,
    typer.Option(
        "--noise",
        default_factory=label_of_stage,
        help="Label of a training: a noise of params.yaml, or with a seed, as laplace-s1.",
        show_default="that of the stage that DVC runs",
    ),
]
_quiet = False  # whether the running command is quiet; a process runs one command at a time


def run(app: Callable[[], Any]) -> Any:
    """Run a Typer app. A fault is one line: bad input exits with 2, the disk's with 1.

    A signal that ends the command prints one line too (`ngldm.pipeline.signals`).
    """
    with ends_well():
        try:
            return app()
        except BaseException as error:
            number = stopped_by() or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else None)
            if number is None and (fault := ending_of(error)) is not None:
                print(f"error: {fault[0]}", file=sys.stderr)
                raise SystemExit(fault[1]) from None
            if number is None or (isinstance(error, SystemExit) and not error.code):
                raise
        say_stopped(number)
        raise SystemExit(128 + number)


def command(function: Callable[..., Any], many: bool = False) -> Callable[[], None]:
    """The entry point of a module with one command: `python -m stages.train --noise laplace`.

    Args:
        many: whether it can run on several processes (`ngldm.pipeline.many`).
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(on_many(quietable(function)) if many else quietable(function))

    def main() -> None:
        clear_temporaries(workspace.output_folders())
        app()

    return lambda: run(main)


def quietable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with an option `--quiet`, with which it prints no progress and no results."""

    @wraps(function)
    def wrapped(*args: Any, quiet: bool, **kwargs: Any) -> Any:
        global _quiet
        quiet = quiet or not processes.is_main()
        _quiet = quiet
        if quiet or os.environ.get("CI") or not sys.stderr.isatty():
            os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars of libraries that download
        try:
            if not quiet:
                return function(*args, **kwargs)
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                return function(*args, **kwargs)
        finally:
            _quiet = False

    own = inspect.signature(function, eval_str=True)
    option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
    wrapped.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {**function.__annotations__, "quiet": Quiet}
    return wrapped


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table. The first column is aligned to the left, the others to the right.

    A cell may contain rich's markup. If the output is not a terminal, no line is cut or wrapped.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def summary(title: str, content: Mapping[str, object]) -> None:
    """Print the result of a stage: a table on a terminal, one plain line elsewhere and in CI.

    Args:
        title: name of the stage, and the labels that it was called with.
        content: name to value, in the order in which they are shown. Floats get four significant digits.
    """
    values = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in content.items()}
    if _draws(Console()):
        print_table((title, ""), list(values.items()))
    else:
        print(f"{title}: " + ", ".join(f"{key} {value}" for key, value in values.items()))


def _draws(console: Console) -> bool:
    """Whether the console can redraw lines."""
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("CI")


@contextmanager
def progress(
    description: str, total: int, unit: str = "images", lower: str | None = None
) -> Iterator[Callable[..., None]]:
    """Show progress: on a terminal a bar with rate and time left, elsewhere and in CI a line about every ten seconds.

    Yields `advance(count, note="")`.

    Args:
        lower: the settings that lower the memory that the block needs, for the message if there is not enough.

    Raises:
        InputError: there is not enough memory.
    """
    console = Console(stderr=True)
    with enough_memory(description, lower) if lower else nullcontext():
        if _quiet:
            yield lambda count, note="": None
        elif _draws(console):
            yield from _bar(console, description, total, unit)
        else:
            yield from _lines(description, total, unit)


def _bar(console: Console, description: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    start, done = time.perf_counter(), 0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, rate="", note="")

        def advance(count: int, note: str = "") -> None:
            nonlocal done
            done += count
            bar.update(task, advance=count, rate=rate(done, time.perf_counter() - start, unit), note=note)

        yield advance


def _lines(description: str, total: int, unit: str, every: float = 10.0) -> Iterator[Callable[..., None]]:
    start = shown = time.perf_counter()
    done = 0

    def advance(count: int, note: str = "") -> None:
        nonlocal done, shown
        done += count
        now = time.perf_counter()
        if now - shown >= every or done >= total > done - count:
            left = (total - done) * (now - start) / done
            speed = rate(done, now - start, unit)
            print(f"{description}: {done}/{total} {speed}, {duration(left)} left {note}".rstrip(), flush=True)
            shown = now

    yield advance


def rate(done: int, seconds: float, unit: str) -> str:
    """Speed in units per second. If that is below one: per minute, or per hour."""
    speed = done / max(seconds, 1e-9)
    for factor, per in ((1, "s"), (60, "min"), (3600, "h")):
        if speed * factor >= 1 or per == "h":
            break
    return f"{speed * factor:.{0 if speed * factor >= 10 else 1}f} {unit}/{per}"


def duration(seconds: float) -> str:
    """A duration as text, for example 42 s, 3:07 min or 2:05 h."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    small, unit = (whole, "min") if whole < 6000 else (whole // 60, "h")
    return f"{small // 60}:{small % 60:02d} {unit}"


class Report(Protocol):
    """What `follow` reads of a training's report."""

    @property
    def step(self) -> int: ...

    @property
    def loss(self) -> float: ...


R = TypeVar("R", bound=Report)


def follow(
    description: str,
    max_steps: int,
    reports: Iterable[R],
    section: str,
    on_report: Callable[[R], object] = lambda report: None,
) -> list[R]:
    """Run a training and show its progress. Returns all its reports.

    Args:
        description: what the progress begins with.
        max_steps: steps of the whole training.
        reports: what `ngldm.training.loop.fit` yields.
        section: of params.yaml with the training's settings.
        on_report: called with each report when it comes.

    Raises:
        InputError: there is not enough memory for a step, or the training has diverged.
    """
    kept = []
    lower = f"{section}.batch_size, or raise {section}.accumulate_steps"
    with progress(description, max_steps, "steps", lower) as advance:
        done = 0
        for report in reports:
            kept.append(report)
            on_report(report)
            advance(report.step - done, f"loss {report.loss:.4f}")
            done = report.step
    return kept
