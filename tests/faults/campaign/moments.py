"""The chosen moments: each kills the process before or after one call, or in the middle of a write."""

import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import mlflow
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from sqlalchemy.orm import Session

from ngldm.data.cache import latents
from ngldm.io import tensors
from ngldm.training.ema import EMA

CLIENT = mlflow.MlflowClient


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def dies(
    owner: Any, name: str, when: str, count: int = 1, matches: Callable[..., bool] = lambda *args, **more: True
) -> None:
    """Kill this process before or after a call of a function: the `count`-th of those that match."""
    real, numbers = getattr(owner, name), itertools.count(1)

    def call(*args: Any, **more: Any) -> Any:
        hit = matches(*args, **more) and next(numbers) == count
        if hit and when == "before":
            die()
        result = real(*args, **more)
        if hit:
            die()
        return result

    setattr(owner, name, call)


def renamed(pattern: str, when: str, count: int = 1, function: str = "replace") -> Callable[[], None]:
    """At the renaming of a file to this name."""
    return partial(dies, os, function, when, count, lambda old, new, **more: fnmatch(Path(new).name, pattern))


def synced(pattern: str, when: str, count: int = 1) -> Callable[[], None]:
    """At the `fsync` of a file or folder of this name."""
    return partial(
        dies, os, "fsync", when, count, lambda file: fnmatch(Path(f"/proc/self/fd/{file}").readlink().name, pattern)
    )


def removed(name: str, when: str, count: int = 1) -> Callable[[], None]:
    """At the removal of a file."""
    return partial(dies, os, "unlink", when, count, lambda path, **more: Path(path).name == name)


def torn(count: int) -> None:
    """In the middle of the writing of a model file or a checkpoint: half of its bytes are there."""
    real, numbers = tensors.save_file, itertools.count(1)

    def save(content: Any, path: Path, **more: Any) -> None:
        real(content, path, **more)
        if next(numbers) == count:
            os.truncate(path, path.stat().st_size // 2)
            die()

    tensors.save_file = save


def at_step(step: int, act: Callable[[], object]) -> None:
    """In the middle of a step of a training."""
    update = EMA.update

    def counted(self: EMA[Any], model: Any) -> None:
        if self.updates == step - 1:
            act()
        update(self, model)

    EMA.update = counted  # type: ignore[method-assign]


def asked(name: str, when: str, count: int = 1) -> Callable[[], None]:
    """At a call of MLflow's client."""
    return partial(dies, CLIENT, name, when, count)


@dataclass(frozen=True)
class Moment:
    """Where a stage is killed.

    Attributes:
        kind: row of the table.
        stage: which is killed.
        what: the moment, in words.
        install: lets this process die there.
        new_store: whether MLflow's store is empty before.
    """

    kind: str
    stage: str
    what: str
    install: Callable[[], object]
    new_store: bool = False


def _both(kind: str, stage: str, what: str, make: Callable[..., Callable[[], None]], *args: Any) -> list[Moment]:
    """Before and after the same call."""
    name, *rest = args
    return [Moment(kind, stage, f"{when} {what}", make(name, when, *rest)) for when in ("before", "after")]


SAVE, OUT, STORE = "a checkpoint is written", "outputs are written", "MLflow is written"
MOMENTS = [
    Moment(SAVE, "train", "half of the first checkpoint's bytes", partial(torn, 1)),
    Moment(SAVE, "train", "half of the second checkpoint's bytes", partial(torn, 3)),
    *_both(SAVE, "train", "fsync of the first checkpoint", synced, ".next.*.tmp.safetensors", 1),
    *_both(SAVE, "train", "fsync of the second checkpoint", synced, ".next.*.tmp.safetensors", 2),
    *_both(SAVE, "train", "the new checkpoint gets its name", renamed, "next.safetensors", 2),
    *_both(SAVE, "train", "the last checkpoint becomes the one before", renamed, "previous.safetensors", 1),
    *_both(SAVE, "train", "the new checkpoint becomes the last", renamed, "last.safetensors", 2),
    *_both(SAVE, "train", "fsync of the checkpoints' folder", synced, "laplace-????????????", 2),
    *_both(SAVE, "train", "the readable copy gets its name", renamed, "last.json", 1),
    *_both(SAVE, "train", "a snapshot gets its name", renamed, "000000010.safetensors", 1),
    *_both(OUT, "train", "the model gets its name", renamed, "model.safetensors", 1),
    *_both(OUT, "train", "the snapshots get their name", renamed, "laplace", 1, "rename"),
    Moment(OUT, "train", "before the history gets its name", renamed("laplace.csv", "before")),
    Moment(OUT, "train", "while the checkpoints are removed", removed("last.safetensors", "after")),
    Moment(OUT, "latents", "before arrays are standardised", partial(dies, latents, "standardise", "before")),
    *_both(OUT, "latents", "the latents get their name", renamed, "latents", 1, "rename"),
    *_both(OUT, "sample", "a kept batch gets its name", renamed, "1.npy", 1),
    *_both(OUT, "sample", "the samples get their name", renamed, "auto", 1, "rename"),
    *_both(OUT, "evaluate", "kept features get their name", renamed, "0-*.npy", 1),
    *_both(OUT, "evaluate", "the scores get their name", renamed, "laplace.json", 1),
    *_both(OUT, "curve", "a kept score gets its name", renamed, "laplace-000000010-*.json", 1),
    *_both(STORE, "train", "a run is made", asked, "create_run", 1),
    Moment(STORE, "train", "inside the first transaction", partial(dies, Session, "commit", "before", 1)),
    Moment(STORE, "train", "inside the sixth transaction", partial(dies, Session, "commit", "before", 6)),
    Moment(STORE, "train", "after figures are written", asked("log_batch", "after", 3)),
    Moment(STORE, "train", "before the data set is named", asked("log_inputs", "before")),
    Moment(STORE, "train", "after a picture is written", asked("log_image", "after")),
    Moment(
        STORE,
        "train",
        "while the model is written",
        partial(dies, TrackingServiceClient, "create_logged_model", "after"),
    ),
    *_both(STORE, "train", "the run is ended", asked, "set_terminated", 1),
    Moment(STORE, "evaluate", "after the comparison is made", asked("create_run", "after", 1), True),
    Moment(STORE, "evaluate", "after a run is made", asked("create_run", "after", 2), True),
    Moment(STORE, "evaluate", "after a picture is written", asked("log_image", "after", 3), True),
    Moment(STORE, "curve", "after a run is made", asked("create_run", "after", 2), True),
    Moment(STORE, "curve", "after settings are written", asked("log_batch", "after", 2)),
]
