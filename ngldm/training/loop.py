"""One training loop for every network here: it yields reports, the caller logs them.

All randomness of step k follows from (seed, k): batches, timesteps, noise, dropout. So the state of a run is its
weights, its optimiser and its step, and a resumed run equals an uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ngldm.io.errors import InputError, unknown
from ngldm.training.checkpoint import Checkpointer
from ngldm.training.ema import EMA
from ngldm.training.names import LR_SCHEDULES, PRECISIONS
from ngldm.training.seeds import batch_indices, stream_seed

LAYOUT = torch.channels_last  # convolutions reorder less on CPUs, and GPUs' tensor cores want it
Batch = Any  # a tensor, or a tuple of tensors
LossFunction = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # -> () or (B,); all on one device
Fetch = Callable[[NDArray[np.int64]], Batch]  # indices -> batch, on the CPU


class FitConfig(Protocol):
    """What the loop reads of a configuration (`ngldm.pipeline.config.sections.Fit` documents units and ranges)."""

    max_steps: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_steps: int
    lr_schedule: str
    ema_decay: float
    grad_clip: float
    precision: str
    compile: bool
    log_every: int
    eval_every: int


@dataclass(frozen=True)
class Split:
    """Something to train on or to evaluate: how many items, and how to fetch some by index."""

    size: int
    fetch: Fetch


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


def lr_at(config: FitConfig, step: int) -> float:
    """Learning rate of `step` (from 0): linear warm-up, then constant or a cosine to zero."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.lr_schedule == "cosine":
        return config.lr * warm * 0.5 * (1.0 + math.cos(math.pi * step / config.max_steps))
    return config.lr * warm


@torch.no_grad()
def heldout_loss(model: nn.Module, loss_fn: LossFunction, heldout: Split, config: FitConfig, device: Any) -> float:
    """Mean loss over the held-out split, with the same timesteps and noise every time."""
    total = 0.0
    for start in range(0, heldout.size, config.batch_size):
        indices = np.arange(start, min(start + config.batch_size, heldout.size))
        generator = torch.Generator(device).manual_seed(stream_seed(0, "heldout", start))
        loss = loss_fn(model, _send(heldout.fetch(indices), device), generator)
        total += float(loss.mean()) * len(indices)
    return total / heldout.size


def _send(batch: Batch, device: Any) -> Batch:
    from accelerate.utils import send_to_device

    return send_to_device(batch, device, non_blocking=True)


def fit(
    model: nn.Module,
    ema: EMA[Any],
    loss_fn: LossFunction,
    train: Split,
    config: FitConfig,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    heldout: Split | None = None,
    checkpointer: Checkpointer | None = None,
) -> Iterator[Report]:
    """Train `model` in place, and `ema` with it, yielding a report every `log_every` steps and at the end.

    AdamW, warm-up, gradient clipping, bfloat16 autocast with float32 master weights, `torch.compile` if
    `config.compile` (the EMA weights, evaluated now and then, stay as they are). With a checkpointer,
    the run goes on from `last` if one of the same fingerprint is unfinished, saves `last` at its interval and, with
    `heldout`, `best` whenever the held-out loss improves.
    """
    _check_names(config)
    device = torch.device(device)
    model.to(device, memory_format=LAYOUT)  # type: ignore[call-overload]
    ema.model.to(device, memory_format=LAYOUT)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.lr,
        weight_decay=config.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    parts = {"model": model, "ema": ema.model}
    state = (checkpointer.resume(parts, optimizer) if checkpointer else None) or _fresh_state()
    ema.updates = state["step"]
    history = [Report(**report) for report in state["history"]]
    yield from history
    since, done = time.perf_counter(), state["step"]
    losses = [torch.tensor(value, device=device) for value in state["losses"]]  # since the last report
    best: float | None = state["best"]

    def save(name: str, count: int) -> None:
        if checkpointer:
            content = {
                "step": count,
                "complete": count == config.max_steps,
                "best": best,
                "losses": [float(value) for value in losses],
                "history": [asdict(report) for report in history],
            }
            checkpointer.save(name, parts, optimizer, content)

    model.train()
    network: nn.Module = torch.compile(model) if config.compile else model  # type: ignore[assignment]
    for step in range(state["step"], config.max_steps):
        loss, grad_norm = _train_step(network, ema, optimizer, loss_fn, train, config, seed, step, device)
        losses.append(loss)
        count, last = step + 1, step + 1 == config.max_steps
        evaluated = None
        if heldout and (count % config.eval_every == 0 or last):
            evaluated = heldout_loss(ema.model, loss_fn, heldout, config, device)
        if count % config.log_every == 0 or evaluated is not None or last:
            now = time.perf_counter()
            report = Report(
                step=count,
                epoch=count * config.batch_size / train.size,
                loss=_mean_loss(losses, count, float(grad_norm), evaluated),
                lr=lr_at(config, step),
                grad_norm=float(grad_norm),
                images_per_second=(count - done) * config.batch_size / (now - since),
                heldout_loss=evaluated,
            )
            history.append(report)
            losses.clear()
            since, done = now, count
            yield report
        if evaluated is not None and (best is None or evaluated < best):
            best = evaluated
            save("best", count)
        if checkpointer and (count % checkpointer.every == 0 or last):
            save("last", count)
    model.eval()


def _check_names(config: FitConfig) -> None:
    if config.lr_schedule not in LR_SCHEDULES:
        raise unknown("lr_schedule", config.lr_schedule, LR_SCHEDULES)
    if config.precision not in PRECISIONS:
        raise unknown("precision", config.precision, PRECISIONS)


def _fresh_state() -> dict[str, Any]:
    return {"step": 0, "best": None, "losses": [], "history": []}


def _mean_loss(losses: list[Tensor], step: int, *others: float | None) -> float:
    """Mean of the losses since the last report; it and `others` (gradient norm, held-out loss) must be finite."""
    mean = float(torch.stack(losses).double().mean())
    if not all(math.isfinite(value) for value in (mean, *others) if value is not None):
        raise InputError(f"at step {step} training has diverged (loss {mean}): lower the lr")
    return mean


def _train_step(
    model: nn.Module,
    ema: EMA[Any],
    optimizer: torch.optim.Optimizer,
    loss_fn: LossFunction,
    train: Split,
    config: FitConfig,
    seed: int,
    step: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """One optimiser step; its loss and gradient norm, still on the device so that nothing waits for them."""
    for group in optimizer.param_groups:
        group["lr"] = lr_at(config, step)
    torch.manual_seed(stream_seed(seed, "dropout", step))
    generator = torch.Generator(device).manual_seed(stream_seed(seed, "step", step))
    batch = _send(train.fetch(batch_indices(train.size, config.batch_size, seed, step)), device)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss = loss_fn(model, batch, generator).mean()
    loss.backward()
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    ema.update(model)
    return loss.detach(), grad_norm
