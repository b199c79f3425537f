"""One training loop for all networks. It yields reports, and the caller decides what to do with them.

Everything random at step k depends on (seed, k) alone: batches, timesteps, noise, dropout. So the state of a training
is its weights, its optimiser and its step, and a resumed training gives the same bits as one without interruption.

Many processes (`ngldm.io.processes`) run the same loop, each with its part of every batch (`ngldm.training.parts`).
They all hold the same weights. Only the main one saves checkpoints.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ngldm.io import processes
from ngldm.io.device import in_float64, random_generator
from ngldm.io.errors import InputError, require_whole
from ngldm.io.files import entry
from ngldm.io.items import Rows
from ngldm.training.checkpoint import Checkpointer, State
from ngldm.training.config import FitConfig, FitSettings, check_fit
from ngldm.training.ema import EMA
from ngldm.training.machine.choice import choose
from ngldm.training.machine.feed import feed
from ngldm.training.machine.fitting import fewest_parts
from ngldm.training.machine.threads import Threads
from ngldm.training.optimizers import make_optimizer
from ngldm.training.parts import add_up, check_takes_part, dropout_of, own_parts
from ngldm.training.seeds import batch_indices, batch_sides, stream_seed

Batch = TypeVar("Batch")  # a tensor, or a tuple of tensors
Network = TypeVar("Network", bound=nn.Module)
LossFunction = Callable[..., Tensor]  # (network, batch, generator) -> () or (B,); all on one device; see `Task`
Fetch = Callable[[NDArray[np.int64]], Batch]  # indices -> batch, on the CPU


@dataclass(frozen=True)
class Split(Generic[Batch]):
    """Data to train on or to evaluate.

    Attributes:
        size: number of items.
        fetch: gets rows by their indices. Item i has the rows `sides` i to `sides` i + `sides` - 1.
        sides: rows of each item, of which training draws one each time, for example an image and its mirror image.
    """

    size: int
    fetch: Fetch[Batch]
    sides: int = 1

    @staticmethod
    def of(rows: Tensor | Rows, sides: int = 1) -> "Split[Tensor]":
        """The rows (N, ...) of a tensor, of an array, which may be memory-mapped, or of shards."""
        if isinstance(rows, Tensor):
            return Split(len(rows) // sides, lambda index: rows[torch.from_numpy(index)], sides)
        return Split(len(rows) // sides, lambda index: torch.from_numpy(rows[index]), sides)

    @staticmethod
    def labelled(rows: Tensor | Rows, labels: NDArray[np.int64], sides: int = 1) -> "Split[tuple[Tensor, Tensor]]":
        """Rows with the labels (N,) of their items, for a loss whose batch is both.

        Raises:
            InputError: not as many labels as items.
        """
        if len(labels) * sides != len(rows):
            raise InputError(f"labels: {len(labels)} for {len(rows) // sides} items; there must be one for each")
        plain = Split.of(rows, sides)
        return Split(plain.size, lambda row: (plain.fetch(row), torch.from_numpy(labels[row // sides])), sides)


@dataclass(frozen=True)
class Task(Generic[Batch]):
    """A loss, and the data to learn from.

    Attributes:
        loss: loss(network, batch, generator) -> () or (B,), on the batch's device. It draws everything random from the
            generator. `Diffusion.loss` is such a loss. Several processes, or `accumulate_steps` above 1, also give it a
            `part`, a slice: it draws for the whole batch, and returns the loss of the items batch[part] alone.
        train: the training data.
        heldout: the data on which the averaged weights are evaluated; None evaluates nothing.
    """

    loss: LossFunction
    train: Split[Batch]
    heldout: Split[Batch] | None = None


@dataclass(frozen=True)
class Report:
    """The state of a training after a step.

    Attributes:
        step: optimiser steps done, from 1.
        epoch: passes over the training data so far, as a fraction.
        loss: mean training loss since the last report.
        lr: learning rate of this step.
        grad_norm: global gradient norm of this step, before clipping.
        images_per_second: since the last report.
        heldout_loss: loss of the EMA weights on the held-out split; None if it was not evaluated at this step.
        parts: in which each process takes its share of a batch; None if the settings say it.
    """

    step: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    images_per_second: float
    heldout_loss: float | None
    parts: int | None = None


def lr_at(config: FitSettings, step: int) -> float:
    """Learning rate of `step` (from 0): linear warm-up, then constant or a cosine to zero."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.lr_schedule == "cosine":
        return config.lr * warm * 0.5 * (1.0 + math.cos(math.pi * step / config.max_steps))
    return config.lr * warm


@torch.no_grad()
def heldout_loss(
    network: nn.Module,
    loss: LossFunction,
    heldout: Split[Batch],
    config: FitSettings,
    device: torch.device | str,
) -> float:
    """Mean loss over the held-out split, with the same timesteps and noise in every call."""
    total = 0.0
    for start in range(0, heldout.size, config.batch_size):
        indices = np.arange(start, min(start + config.batch_size, heldout.size))
        generator = random_generator(device, stream_seed(0, "heldout", start))
        batch, own = _send(heldout.fetch(indices), device), processes.share(len(indices))
        if (count := own.stop - own.start) == len(indices):
            total += float(loss(network, batch, generator).mean()) * count
        elif count:
            total += float(loss(network, batch, generator, own).mean()) * count
    return float(processes.total(torch.tensor(total, dtype=torch.float64))) / heldout.size


def _send(batch: Batch, device: torch.device | str) -> Batch:
    from accelerate.utils import send_to_device  # this import takes a second, and `--help` must not wait for it

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
    """Train `network` and `ema` in place, and yield a report every `log_every` steps and at the end.

    - With several processes each takes its part of a batch, and all end with the same weights.
    - The loop has AdamW or Muon, warm-up, gradient clipping, and bfloat16 autocast with float32 weights.
    - If `config.compile` is true, the network is compiled; the EMA network, which is evaluated rarely, is not.
    - With a checkpointer, the training continues from `last`, if that was made from the same things. It saves `last`
      at the checkpointer's interval, and when it is asked to. With a held-out split it saves `best` whenever the
      held-out loss improves, if the checkpointer keeps it.

    Args:
        network: the network; it is moved to `device`.
        ema: `EMA(network, decay)`, made before the training.
        task: loss and data.
        config: the settings; None takes the defaults of `FitConfig`.
        seed: everything random depends on it.
        device: where to train.
        checkpointer: keeps and resumes the state; None keeps nothing.

    Raises:
        InputError: a setting is out of range, or the batch cannot be split over the processes. While the training runs:
            the training has diverged.
    """
    config = config or FitConfig()
    check_fit(config)
    if len(own_parts(config.batch_size, config.accumulate_steps or 1)) * processes.size() > 1:
        check_takes_part(task.loss)
    return _Run(network, ema, task, config, seed, torch.device(device), checkpointer).reports()


class _Run(Generic[Network, Batch]):
    """A training that is running: its state, and the losses since the last report."""

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
        self.parts: dict[str, nn.Module] = {"model": network, **ema.parts}
        chosen = choose(network, task.loss, self._first_part, config, device)
        self.computation = chosen.computation
        if checkpointer and chosen.said and processes.is_main():
            checkpointer.say(chosen.said)
            checkpointer.chosen = {f"chosen.{key}": value for key, value in asdict(chosen.computation).items()}
        for part in self.parts.values():
            self.computation.place(part, device)
        self.optimizer = make_optimizer(network, config, device)
        self.batches = feed(self._indices, task.train.fetch, task.train.size * task.train.sides, device)
        self.step = 0
        self.best: float | None = None
        self.history: list[Report] = []
        self.losses: list[Tensor] = []  # since the last report
        self.accumulate_steps = config.accumulate_steps
        if checkpointer and (state := checkpointer.resume(self.parts, self.optimizer, self._check_state)):
            self.step, best = entry(state, "step", int), state["best"]
            self.best = None if best is None else entry(state, "best", float)
            self.history = [Report(**report) for report in entry(state, "history", list)]
            self.losses = [torch.tensor(value, device=device) for value in entry(state, "losses", list)]
            parts = entry(state, "parts", int) if state.get("parts") else None
            if self.accumulate_steps is None and parts and config.batch_size % (processes.size() * parts) == 0:
                self.accumulate_steps = parts
        ema.updates = self.step

    def reports(self) -> Iterator[Report]:
        """Train. A resumed training first yields its old reports again."""
        yield from list(self.history)
        self._settle()
        config = self.config
        self.network.train()
        network = cast(Network, torch.compile(self.network)) if config.compile else self.network
        threads = Threads(lambda: self._probe(network), self._say)
        try:
            if self.device.type == "cpu" and self.step < config.max_steps:
                threads.begin(self.network)
            yield from self._steps(network, threads)
        finally:
            threads.end()
        self.network.eval()

    def _steps(self, network: Network, threads: Threads) -> Iterator[Report]:
        config, since, reported = self.config, time.perf_counter(), self.step
        while self.step < config.max_steps:
            start = time.perf_counter()
            grad_norm = self._advance(network)
            threads.took(time.perf_counter() - start)
            if self.checkpointer:
                self.checkpointer.threads = torch.get_num_threads()
            if self._due(config.log_every):
                processes.meet()  # a GPU's work is only queued, so a process that hangs must be noticed here
            evaluated = self._evaluate()
            if self._due(config.log_every) or evaluated is not None:
                now = time.perf_counter()
                speed = (self.step - reported) * config.batch_size / (now - since)
                yield self._report(float(grad_norm), speed, evaluated)
                since, reported = now, self.step
            if evaluated is not None and (self.best is None or evaluated < self.best):
                self.best = evaluated
                if self.checkpointer and self.checkpointer.keeps_best:
                    self._save("best")
            if self.checkpointer:
                wanted = self.checkpointer.wanted()
                if wanted or self._due(self.checkpointer.every):
                    self._save("last")
                if wanted:
                    self._say(f"saved the checkpoint of step {self.step}, as asked")

    def _say(self, line: str) -> None:
        if self.checkpointer:
            self.checkpointer.say(line)

    def _first_part(self) -> Batch:
        """As many items as a process takes at once."""
        part, train = own_parts(self.config.batch_size, self.config.accumulate_steps or 1)[0], self.task.train
        return _send(train.fetch(np.arange(part.stop - part.start) % (train.size * train.sides)), self.device)

    def _check_state(self, state: State) -> None:
        require_whole("step", state.get("step"), 1, self.config.max_steps)
        for key in ("history", "losses"):
            entry(state, key, list)
        if state.get("parts") is not None:  # an older version, and one without a trial, wrote none
            require_whole("parts", state["parts"], 1)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.max_steps

    def _advance(self, network: Network) -> Tensor:
        """Make one optimiser step. The gradient norm stays on the device, so that the CPU need not wait for it."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(config, self.step)
        losses = self._gradients(network)
        loss = add_up(network, torch.stack(losses).sum() if len(losses) > 1 else losses[0])
        grad_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(network)
        self.losses.append(loss)
        self.step += 1
        return grad_norm

    def _indices(self, step: int) -> NDArray[np.int64]:
        """The rows of a step's batch."""
        train, size = self.task.train, self.config.batch_size
        indices = batch_indices(train.size, size, self.seed, step)
        return train.sides * indices + batch_sides(size, train.sides, self.seed, step) if train.sides > 1 else indices

    def _batch(self) -> Batch:
        """The whole batch of this step, on the device."""
        return self.batches(self.step)

    def _gradients(self, network: Network) -> list[Tensor]:
        """Compute the gradients of this process's parts of the step's batch. Returns the parts' losses."""
        batch, parts = self._batch(), own_parts(self.config.batch_size, self.accumulate_steps or 1)
        return [self._backward(network, batch, part) for part in parts]

    @contextmanager
    def _forgotten(self) -> Iterator[None]:
        """Undo what the block does: gradients, and what layers have counted."""
        kept = [buffer.clone() for buffer in self.network.buffers()]
        try:
            yield
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            for buffer, before in zip(self.network.buffers(), kept, strict=True):
                buffer.copy_(before)

    def _probe(self, network: Network) -> None:
        """Compute the gradients of the step that comes next, and forget them."""
        with self._forgotten():
            self._gradients(network)

    def _settle(self) -> None:
        """Find in how many parts a batch is taken, if neither the settings nor a checkpoint say it."""
        if self.accumulate_steps is None and self.step < self.config.max_steps:
            self.accumulate_steps = fewest_parts(self.config.batch_size, self.device, self._attempt)
            self._say(
                f"accumulate_steps: null: {self.accumulate_steps} parts of a batch, one after another, fit the memory"
            )

    def _attempt(self, parts: int) -> None:
        """Use as much memory as a step does, and change nothing: two parts, for the gradient of one waits for the next.

        Raises:
            OutOfMemoryError: torch's; a step in so many parts does not fit.
        """
        if parts > 1:
            check_takes_part(self.task.loss)
        moments = [] if self.optimizer.state else [torch.empty_like(p) for p in self.network.parameters() for _ in "12"]
        with self._forgotten():
            batch = self._batch()
            for part in own_parts(self.config.batch_size, parts)[:2]:
                self._backward(self.network, batch, part)
        del moments

    def _backward(self, network: Network, batch: Batch, part: slice) -> Tensor:
        """Add the gradient of a part of the batch. Returns the part's share of the batch's mean loss, ()."""
        size = self.config.batch_size
        torch.manual_seed(stream_seed(self.seed, "dropout", self.step))
        generator = random_generator(self.device, stream_seed(self.seed, "step", self.step))
        with self.computation.autocast(self.device):
            if part == slice(0, size):
                loss = self.task.loss(network, batch, generator).mean()
            else:
                with dropout_of(size, part):
                    loss = self.task.loss(network, batch, generator, part).mean() * ((part.stop - part.start) / size)
        loss.backward()
        return loss.detach()

    def _evaluate(self) -> float | None:
        """The held-out loss, at the steps at which it is evaluated; None at the others."""
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
            parts=self.accumulate_steps if self.config.accumulate_steps is None else None,
        )
        self.history.append(report)
        self.losses.clear()
        return report

    def _save(self, name: str) -> None:
        if self.checkpointer and processes.is_main():
            content: State = {
                "step": self.step,
                "parts": self.accumulate_steps,
                "best": self.best,
                "losses": [float(value) for value in self.losses],
                "history": [asdict(report) for report in self.history],
            }
            self.checkpointer.save(name, self.parts, self.optimizer, content)


def _mean_loss(losses: list[Tensor], step: int, *others: float | None) -> float:
    """Mean of the losses since the last report.

    Raises:
        InputError: the mean, or one of `others` (gradient norm, held-out loss), is not finite.
    """
    mean = float(in_float64(torch.stack(losses)).mean())
    if not all(math.isfinite(value) for value in (mean, *others) if value is not None):
        raise InputError(f"at step {step} training has diverged (loss {mean}): lower the lr")
    return mean
