"""The settings of a training."""

from dataclasses import dataclass
from typing import Protocol

from ngldm.io.device import CHANNELS_LAST
from ngldm.io.errors import InputError, require_real, require_whole, unknown
from ngldm.io.limits import MAX_LR, MAX_REAL
from ngldm.training.names import ADAMW, LR_SCHEDULES, OPTIMIZERS, check_precision


class FitSettings(Protocol):
    """The settings that the loop reads. `FitConfig` explains them. A section of params.yaml has them too."""

    @property
    def max_steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def lr_schedule(self) -> str: ...
    @property
    def ema_decay(self) -> float: ...
    @property
    def grad_clip(self) -> float: ...
    @property
    def precision(self) -> str: ...
    @property
    def compile(self) -> bool: ...
    @property
    def log_every(self) -> int: ...
    @property
    def eval_every(self) -> int: ...
    @property
    def accumulate_steps(self) -> int | None: ...
    @property
    def optimizer(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def deterministic(self) -> bool: ...


@dataclass(frozen=True)
class FitConfig:
    """Settings of a training. The defaults suit a small U-Net.

    Attributes:
        max_steps: optimiser steps, at least 1.
        batch_size: items per step, at least 1.
        lr: learning rate after warm-up, above 0, at most 1000.
        weight_decay: the optimiser's weight decay, at least 0.
        warmup_steps: steps during which lr rises linearly from 0, at least 0.
        lr_schedule: lr after warm-up: "constant", or "cosine" (falls to 0).
        ema_decay: decay of the averaged weights per step, in [0, 1). `fit` does not read it: pass it to `EMA`.
        grad_clip: largest global gradient norm, above 0.
        precision: of the forward and backward pass: "fp32", "bf16", or "auto": the faster one here. The weights stay
            float32.
        compile: whether to compile the network. This needs a C++ compiler and takes about a minute.
        log_every: steps between two reports, at least 1.
        eval_every: steps between two held-out losses, at least 1.
        accumulate_steps: parts in which a process takes its share of a batch, one after another, at least 1. More need
            less memory, and change the result only by rounding. None: as few as fit the memory of the GPU, found by
            trial before the first step; 1 on a CPU. A resumed training keeps the number that was found.
        layout: of weights and images in memory: "channels_last" or "contiguous"; chosen too with precision "auto".
        optimizer: "adamw", or "muon" for the matrices of the hidden layers and AdamW for the rest.
        deterministic: False lets a GPU of CUDA take its fastest kernels (`ngldm.io.device.kernels`), which do not give
            the same bits each time. True leaves torch as it is set.
    """

    max_steps: int = 10_000
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 100
    lr_schedule: str = "cosine"
    ema_decay: float = 0.999
    grad_clip: float = 1.0
    precision: str = "fp32"
    compile: bool = False
    log_every: int = 50
    eval_every: int = 500
    accumulate_steps: int | None = 1
    optimizer: str = ADAMW
    layout: str = CHANNELS_LAST
    deterministic: bool = True


def check_fit(config: FitSettings) -> None:
    """Check that every setting is in its range.

    Raises:
        InputError: names the first setting that is not, its value and what is allowed.
    """
    for key in ("max_steps", "batch_size", "log_every", "eval_every"):
        require_whole(key, getattr(config, key), 1)
    if config.accumulate_steps is not None:
        require_whole("accumulate_steps", config.accumulate_steps, 1)
    require_whole("warmup_steps", config.warmup_steps, 0)
    if not require_real("weight_decay", config.weight_decay) >= 0:
        raise InputError(f"weight_decay: {config.weight_decay} must be at least 0")
    for key in ("lr", "grad_clip"):
        if not require_real(key, getattr(config, key)) > 0:
            raise InputError(f"{key}: {getattr(config, key)} must be above 0")
    for key, most in (("lr", MAX_LR), ("weight_decay", MAX_REAL)):
        if getattr(config, key) > most:
            raise InputError(f"{key}: {getattr(config, key)} must be at most {most:g}")
    for key, choices in {"lr_schedule": LR_SCHEDULES, "optimizer": OPTIMIZERS}.items():
        if getattr(config, key) not in choices:
            raise unknown(key, getattr(config, key), choices)
    for key in ("compile", "deterministic"):
        if not isinstance(getattr(config, key), bool):
            raise InputError(f"{key}: {getattr(config, key)!r} must be true or false")
    check_precision(config.precision, config.layout, config.accumulate_steps)
