"""What a training is told."""

from dataclasses import dataclass
from typing import Protocol

from ngldm.io.errors import InputError, unknown

LR_SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16")


class FitSettings(Protocol):
    """What the loop reads of a configuration: a `FitConfig`, or a section of params.yaml."""

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


@dataclass
class FitConfig:
    """Settings of a training with defaults that suit a small U-Net.

    Attributes:
        max_steps: optimiser steps, at least 1.
        batch_size: items per step, at least 1.
        lr: AdamW's learning rate after warm-up, > 0.
        weight_decay: AdamW's, >= 0.
        warmup_steps: over which lr rises linearly from 0.
        lr_schedule: after warm-up: "constant", or "cosine" to 0.
        ema_decay: of the averaged weights per step, in [0, 1); for whoever makes the `EMA`.
        grad_clip: largest global gradient norm, > 0.
        precision: of forward and backward pass: "fp32" or "bf16"; the weights stay float32.
        compile: compile the network (needs a C++ compiler, costs a minute or so).
        log_every: steps between two reports, at least 1.
        eval_every: steps between two held-out losses, at least 1.

    Raises:
        InputError: a value out of its range.
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

    def __post_init__(self) -> None:
        for key in ("max_steps", "batch_size", "log_every", "eval_every"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}: {getattr(self, key)} must be at least 1")
        for key in ("weight_decay", "warmup_steps"):
            if getattr(self, key) < 0:
                raise InputError(f"{key}: {getattr(self, key)} must be at least 0")
        for key in ("lr", "grad_clip"):
            if not getattr(self, key) > 0:
                raise InputError(f"{key}: {getattr(self, key)} must be above 0")
        if not 0.0 <= self.ema_decay < 1.0:
            raise InputError(f"ema_decay: {self.ema_decay} must lie in [0, 1)")
        if self.lr_schedule not in LR_SCHEDULES:
            raise unknown("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
