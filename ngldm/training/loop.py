"""One training loop for all networks. It yields reports, and the caller decides what to do with them.

Everything random at step k depends on (seed, k) alone: batches, timesteps, noise, dropout. So the state of a training
is its weights, its optimiser and its step, and a resumed training gives the same bits as one without interruption.

Many processes (`ngldm.io.processes`) run the same loop, each with its part of every batch (`ngldm.training.parts`).
They all hold the same weights. Only the main one saves checkpoints.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ngldm.io import processes
from ngldm.io.device import in_float64, kernels, random_generator
from ngldm.io.errors import InputError, require_whole
from ngldm.io.files import entry
from ngldm.io.threads import following_free_cores
from ngldm.training.checkpoints.checkpointer import Checkpointer, State
from ngldm.training.config import FitConfig, FitSettings, check_fit
from ngldm.training.ema import EMA
from ngldm.training.gradients import Gradients, first_part
from ngldm.training.machine.choice import choose
from ngldm.training.machine.kernels import between_reports
from ngldm.training.machine.size import is_small
from ngldm.training.machine.trials import parts_that_fit, probe
from ngldm.training.optimizers import make_optimizer
from ngldm.training.parts import add_up, check_takes_part, own_parts
from ngldm.training.seeds import stream_seed
from ngldm.training.task import Batch, LossFunction, Split, Task, send

Network = TypeVar("Network", bound=nn.Module)


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
        batch, own = send(heldout.fetch(indices), device), processes.share(len(indices))
        if (count := own.stop - own.start) == len(indices):
            total += float(loss(network, batch, generator).mean()) * count
        elif count:
            total += float(loss(network, batch, generator, own).mean()) * count
    return float(processes.total(torch.tensor(total, dtype=torch.float64))) / heldout.size


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
    settings = partial(kernels, config.deterministic, torch.device(device))
    with settings():  # the precision may be chosen by timing some steps
        run = _Run(network, ema, task, config, seed, torch.device(device), checkpointer)
    return between_reports(run.reports(), settings)


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
        self.device, self.checkpointer = device, checkpointer
        self.modules: dict[str, nn.Module] = {"model": network, **ema.parts}
        chosen = choose(network, task.loss, lambda: first_part(task.train, config, device), config, device)
        if checkpointer and chosen.said and processes.is_main():
            checkpointer.say(chosen.said)
            checkpointer.chosen = {f"chosen.{key}": value for key, value in asdict(chosen.computation).items()}
        for module in self.modules.values():
            chosen.computation.place(module, device)
        self.optimizer = make_optimizer(network, config, device)
        self.gradients = Gradients(task, config.batch_size, seed, device, chosen.computation)
        self.step = 0
        self.best: float | None = None
        self.history: list[Report] = []
        self.losses: list[Tensor] = []  # since the last report
        self.accumulate_steps = config.accumulate_steps
        if checkpointer and (state := checkpointer.resume(self.modules, self.optimizer, self._check_state)):
            self.step, best = entry(state, "step", int), state["best"]
            self.best = None if best is None else entry(state, "best", float)
            self.history = [Report(**report) for report in entry(state, "history", list)]
            self.losses = [torch.tensor(value, device=device) for value in entry(state, "losses", list)]
            parts = entry(state, "parts", int) if state.get("parts") else None
            if self.accumulate_steps is None and parts and config.batch_size % (processes.size() * parts) == 0:
                self.accumulate_steps = parts
        ema.updates = self.step

    def reports(self) -> Generator[Report, None, None]:
        """Train. A resumed training first yields its old reports again."""
        yield from list(self.history)
        config = self.config
        self.network.train()
        self._settle()
        network = cast(Network, torch.compile(self.network)) if config.compile else self.network
        with self._threads(network) as look:
            yield from self._steps(network, look)
        self.network.eval()

    def _threads(self, network: Network) -> AbstractContextManager[Callable[[], None]]:
        """How many threads the steps have on a CPU. What it gives is called after each step."""
        if self.device.type != "cpu" or self.step >= self.config.max_steps:
            return nullcontext(lambda: None)
        tried = partial(probe, self.gradients, network, self.step, self.accumulate_steps or 1)
        return following_free_cores(lambda: is_small(self.network, tried), self._say)

    def _steps(self, network: Network, look: Callable[[], None]) -> Iterator[Report]:
        config, since, reported = self.config, time.perf_counter(), self.step
        while self.step < config.max_steps:
            grad_norm = self._advance(network)
            look()
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
        losses = self.gradients.add(network, self.step, self.accumulate_steps or 1)
        loss = add_up(network, torch.stack(losses).sum() if len(losses) > 1 else losses[0])
        grad_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(network)
        self.losses.append(loss)
        self.step += 1
        return grad_norm

    def _settle(self) -> None:
        """Find in how many parts a batch is taken, if neither the settings nor a checkpoint say it."""
        if self.accumulate_steps is None and self.step < self.config.max_steps:
            self.accumulate_steps = parts_that_fit(self.gradients, self.network, self.optimizer, self.step)
            self._say(
                f"accumulate_steps: null: {self.accumulate_steps} parts of a batch, one after another, fit the memory"
            )

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
            self.checkpointer.save(name, self.modules, self.optimizer, content)


def _mean_loss(losses: list[Tensor], step: int, *others: float | None) -> float:
    """Mean of the losses since the last report.

    Raises:
        InputError: the mean, or one of `others` (gradient norm, held-out loss), is not finite.
    """
    mean = float(in_float64(torch.stack(losses)).mean())
    if not all(math.isfinite(value) for value in (mean, *others) if value is not None):
        raise InputError(f"at step {step} training has diverged (loss {mean}): lower the lr")
    return mean
