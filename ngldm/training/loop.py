"""One training loop for every network here: it yields reports, the caller logs them.

All randomness of step k follows from (seed, k): batches, timesteps, noise, dropout. So the state of a run is its
weights, its optimiser and its step, and a resumed run equals an uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.training.checkpoint import Checkpointer, State
from ngldm.training.config import FitConfig, FitSettings, check_fit
from ngldm.training.ema import EMA
from ngldm.training.seeds import batch_indices, stream_seed

LAYOUT = torch.channels_last  # convolutions reorder less on CPUs, and GPUs' tensor cores want it
Batch = TypeVar("Batch")  # a tensor, or a tuple of tensors
Network = TypeVar("Network", bound=nn.Module)
LossFunction = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # -> () or (B,); all on one device
Fetch = Callable[[NDArray[np.int64]], Batch]  # indices -> batch, on the CPU


@dataclass(frozen=True)
class Split(Generic[Batch]):
    """Something to train on or to evaluate: how many items, and how to fetch some by index."""

    size: int
    fetch: Fetch[Batch]

    @staticmethod
    def of(items: Tensor | NDArray[np.float32]) -> "Split[Tensor]":
        """The items (N, ...) of a tensor or an array, memory-mapped or not."""
        if isinstance(items, Tensor):
            return Split(len(items), lambda index: items[torch.from_numpy(index)])
        return Split(len(items), lambda index: torch.from_numpy(items[index]))


@dataclass(frozen=True)
class Task(Generic[Batch]):
    """What is learned from what.

    Attributes:
        loss: loss(network, batch, generator) -> () or (B,), on the batch's device; what is random in it is drawn from
            the generator. `Diffusion.loss` is one.
        heldout: where the averaged weights are evaluated.
    """

    loss: LossFunction[Batch]
    train: Split[Batch]
    heldout: Split[Batch] | None = None


@dataclass(frozen=True)
class Report:
    """What happened up to and including a step.

    Attributes:
        step: optimiser steps done, from 1.
        epoch: passes over the data so far, fractional.
        loss: mean training loss since the last report.
        lr: learning rate of this step.
        grad_norm: global gradient norm of this step, before clipping.
        images_per_second: since the last report.
        heldout_loss: loss of the EMA weights on the held-out split, where it was evaluated at this step.
    """

    step: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    images_per_second: float
    heldout_loss: float | None


def lr_at(config: FitSettings, step: int) -> float:
    """Learning rate of `step` (from 0): linear warm-up, then constant or a cosine to zero."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.lr_schedule == "cosine":
        return config.lr * warm * 0.5 * (1.0 + math.cos(math.pi * step / config.max_steps))
    return config.lr * warm


@torch.no_grad()
def heldout_loss(
    network: nn.Module,
    loss: LossFunction[Batch],
    heldout: Split[Batch],
    config: FitSettings,
    device: torch.device | str,
) -> float:
    """Mean loss over the held-out split, with the same timesteps and noise every time."""
    total = 0.0
    for start in range(0, heldout.size, config.batch_size):
        indices = np.arange(start, min(start + config.batch_size, heldout.size))
        generator = torch.Generator(device).manual_seed(stream_seed(0, "heldout", start))
        value = loss(network, _send(heldout.fetch(indices), device), generator)
        total += float(value.mean()) * len(indices)
    return total / heldout.size


def _send(batch: Batch, device: torch.device | str) -> Batch:
    from accelerate.utils import send_to_device  # a second, which `--help` must not wait for

    return cast(Batch, send_to_device(batch, device, non_blocking=True))


def fit(
    network: Network,
    ema: EMA[Network],
    task: Task[Batch],
    config: FitSettings | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    checkpointer: Checkpointer | None = None,
) -> Iterator[Report]:
    """Train `network` in place, and `ema` with it, yielding a report every `log_every` steps and at the end.

    AdamW, warm-up, gradient clipping, bfloat16 autocast with float32 master weights, `torch.compile` if
    `config.compile` (the EMA weights, evaluated now and then, stay as they are). With a checkpointer,
    the run goes on from `last` if there is one made from the same, saves `last` at its interval and, with
    a held-out split, `best` whenever the held-out loss improves.

    Args:
        network: moved to `device`.
        ema: `EMA(network, decay)`, made before the training.
        config: None for the defaults of `FitConfig`.
        seed: all that is random follows from it.

    Raises:
        InputError: a setting is out of range; or, while it runs, the training has diverged.
    """
    config = config or FitConfig()
    check_fit(config)
    return _Run(network, ema, task, config, seed, torch.device(device), checkpointer).reports()


class _Run(Generic[Network, Batch]):
    """A training under way: its state, and what has happened since the last report."""

    def __init__(
        self,
        network: Network,
        ema: EMA[Network],
        task: Task[Batch],
        config: FitSettings,
        seed: int,
        device: torch.device,
        checkpointer: Checkpointer | None,
    ) -> None:
        self.network, self.ema, self.task, self.config = network, ema, task, config
        self.seed, self.device, self.checkpointer = seed, device, checkpointer
        network.to(device, memory_format=LAYOUT)  # type: ignore[call-overload]
        ema.model.to(device, memory_format=LAYOUT)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=device.type in ("cpu", "cuda")
        )
        self.parts: dict[str, nn.Module] = {"model": network, "ema": ema.model}
        self.step = 0
        self.best: float | None = None
        self.history: list[Report] = []
        self.losses: list[Tensor] = []  # since the last report
        if checkpointer and (state := checkpointer.resume(self.parts, self.optimizer)):
            self.step, best = entry(state, "step", int), state["best"]
            self.best = None if best is None else entry(state, "best", float)
            self.history = [Report(**report) for report in entry(state, "history", list)]
            self.losses = [torch.tensor(value, device=device) for value in entry(state, "losses", list)]
        ema.updates = self.step

    def reports(self) -> Iterator[Report]:
        """Train; first come the reports of the run that is resumed."""
        yield from list(self.history)
        config, since, reported = self.config, time.perf_counter(), self.step
        self.network.train()
        network = cast(Network, torch.compile(self.network)) if config.compile else self.network
        while self.step < config.max_steps:
            grad_norm = self._advance(network)
            evaluated = self._evaluate()
            if self._due(config.log_every) or evaluated is not None:
                now = time.perf_counter()
                speed = (self.step - reported) * config.batch_size / (now - since)
                yield self._report(float(grad_norm), speed, evaluated)
                since, reported = now, self.step
            if evaluated is not None and (self.best is None or evaluated < self.best):
                self.best = evaluated
                self._save("best")
            if self.checkpointer and self._due(self.checkpointer.every):
                self._save("last")
        self.network.eval()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.max_steps

    def _advance(self, network: Network) -> Tensor:
        """One optimiser step; its gradient norm, still on the device so that nothing waits for it."""
        config, train = self.config, self.task.train
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(config, self.step)
        torch.manual_seed(stream_seed(self.seed, "dropout", self.step))
        generator = torch.Generator(self.device).manual_seed(stream_seed(self.seed, "step", self.step))
        indices = batch_indices(train.size, config.batch_size, self.seed, self.step)
        batch = _send(train.fetch(indices), self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = self.task.loss(network, batch, generator).mean()
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(network)
        self.losses.append(loss.detach())
        self.step += 1
        return grad_norm

    def _evaluate(self) -> float | None:
        """The held-out loss, where it is due."""
        heldout = self.task.heldout
        if heldout is None or not self._due(self.config.eval_every):
            return None
        return heldout_loss(self.ema.model, self.task.loss, heldout, self.config, self.device)

    def _report(self, grad_norm: float, speed: float, evaluated: float | None) -> Report:
        report = Report(
            step=self.step,
            epoch=self.step * self.config.batch_size / self.task.train.size,
            loss=_mean_loss(self.losses, self.step, grad_norm, evaluated),
            lr=lr_at(self.config, self.step - 1),
            grad_norm=grad_norm,
            images_per_second=speed,
            heldout_loss=evaluated,
        )
        self.history.append(report)
        self.losses.clear()
        return report

    def _save(self, name: str) -> None:
        if self.checkpointer:
            content: State = {
                "step": self.step,
                "best": self.best,
                "losses": [float(value) for value in self.losses],
                "history": [asdict(report) for report in self.history],
            }
            self.checkpointer.save(name, self.parts, self.optimizer, content)


def _mean_loss(losses: list[Tensor], step: int, *others: float | None) -> float:
    """Mean of the losses since the last report; it and `others` (gradient norm, held-out loss) must be finite."""
    mean = float(torch.stack(losses).double().mean())
    if not all(math.isfinite(value) for value in (mean, *others) if value is not None):
        raise InputError(f"at step {step} training has diverged (loss {mean}): lower the lr")
    return mean
