"""What every command shares: errors without tracebacks, the device option, progress."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from ngldm.errors import InputError

Device = Annotated[
    str,
    typer.Option(envvar="NGLDM_DEVICE", help="Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps."),
]
NoiseLabel = Annotated[str, typer.Option("--noise", help="Which of params.yaml's noises.")]
SamplerLabel = Annotated[str, typer.Option("--sampler", help="Which of params.yaml's samplers.")]


def run(app: Callable[[], Any]) -> None:
    """Run a Typer app. Bad input prints one message and exits with status 2; an interrupt exits with 130."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the last checkpoint, if any, is kept", file=sys.stderr)
        raise SystemExit(130) from None


def command(function: Callable[..., Any]) -> Callable[[], None]:
    """The entry point of a module with one command: `python -m stages.train --noise laplace`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return lambda: run(app)


def resolve_device(name: str) -> Any:
    """The torch device of that name.

    Raises:
        InputError: torch knows no such device, or this machine has none.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); choose auto, cpu or a GPU that exists"
        ) from error
    return device


def be_deterministic() -> None:
    """Same inputs, same bits, on one machine."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import the compiler: 4 s
    torch.backends.cudnn.benchmark = False


@contextmanager
def progress(description: str, total: int, unit: str = "images") -> Iterator[Callable[..., None]]:
    """A bar with rate and time left on a terminal; a plain line every ten seconds or so elsewhere.

    Yields `advance(count, note="")`.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from _bar(console, description, total, unit)
    else:
        yield from _lines(description, total, unit)


def _bar(console: Console, description: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    start, done = time.perf_counter(), 0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, rate="", note="")

        def advance(count: int, note: str = "") -> None:
            nonlocal done
            done += count
            bar.update(task, advance=count, rate=_rate(done, start, unit), note=note)

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
            print(
                f"{description}: {done}/{total} {_rate(done, start, unit)}, {left:.0f} s left {note}".rstrip(),
                flush=True,
            )
            shown = now

    yield advance


def _rate(done: int, start: float, unit: str) -> str:
    return f"{done / max(time.perf_counter() - start, 1e-9):.0f} {unit}/s"
