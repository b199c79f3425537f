"""How batches come to the device: the same each way, read ahead by a step, and on a GPU without making the CPU wait."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.machine import feed as feeding
from ngldm.training.machine.feed import Ahead, Direct, Resident, feed
from ngldm.training.task import Split, Task

CPU = torch.device("cpu")
ROWS, LABELS = torch.randn(40, 2, 3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


def indices(step: int) -> NDArray[np.int64]:
    return np.random.default_rng(step).integers(40, size=6)


def pairs(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    return ROWS[torch.from_numpy(rows)], LABELS[torch.from_numpy(rows)]


@pytest.mark.parametrize("chunk", [7, 4096])
@pytest.mark.parametrize(
    "made",
    [Direct(indices, pairs, CPU), Resident(indices, pairs, 40, CPU), Ahead(indices, pairs, CPU)],
    ids=["direct", "resident", "ahead"],
)
def test_batches_are_those_of_their_steps(made: Callable[..., tuple[Tensor, Tensor]], chunk: int) -> None:
    """Also if a step is asked for twice, as by a trial, or is not the next one, as after a checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeding, "CHUNK", chunk)
        for step in (0, 1, 1, 1, 2, 17, 18, 3):
            images, labels = made(step)
            assert torch.equal(labels, torch.from_numpy(indices(step)))
            assert torch.equal(images, ROWS[labels])


def test_the_next_batch_is_read_while_this_one_is_used() -> None:
    began, go = threading.Event(), threading.Event()

    def fetch(rows: NDArray[np.int64]) -> Tensor:
        if np.array_equal(rows, indices(1)):
            began.set()
            assert go.wait(10)
        return LABELS[torch.from_numpy(rows)]

    batches = Ahead(indices, fetch, CPU)
    batches(0)
    assert began.wait(10)
    go.set()
    assert batches(1).tolist() == indices(1).tolist()


def test_what_cannot_be_read_is_told_at_its_own_step() -> None:
    def fetch(rows: NDArray[np.int64]) -> Tensor:
        if np.array_equal(rows, indices(2)):
            raise OSError("the disk is gone")
        return LABELS[torch.from_numpy(rows)]

    batches = Ahead(indices, fetch, CPU)
    for step in (0, 1):
        assert batches(step).tolist() == indices(step).tolist()
    with pytest.raises(OSError, match="the disk is gone"):
        batches(2)


@pytest.mark.parametrize(("free", "kind"), [(2**30, Resident), (4 * 40 * (2 * 9 * 4 + 8), Resident), (9000, Ahead)])
def test_a_gpu_holds_latents_that_take_at_most_a_quarter_of_its_memory(
    free: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 rows of 18 float32 numbers and an int64 label: 3200 bytes."""
    monkeypatch.setattr(feeding, "free_memory", lambda device: free)
    assert isinstance(feed(indices, pairs, 40, torch.device("cuda")), kind)
    assert isinstance(feed(indices, pairs, 40, CPU), Direct)


@GPU
@pytest.mark.parametrize("kind", [Resident, Ahead])
@pytest.mark.parametrize("noise", ["gaussian", "laplace", "gumbel"])
def test_a_step_on_a_gpu_never_makes_the_cpu_wait(kind: type, noise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises an error at each synchronisation. The first step may wait: values are copied to the GPU once."""
    monkeypatch.setattr(feeding, "SHARE", 1.0 if kind is Resident else 0.0)
    diffusion = Diffusion.make(make_noise(noise), make_schedule("cosine", 20), objective="x0", weighting="min_snr")
    network = UNet(2, UNetSettings((8, 8), 1, attention_levels=(1,), attention_head_dim=4, dropout=0.1))
    config = replace(FitConfig(), max_steps=6, batch_size=8, warmup_steps=2, log_every=6, eval_every=6)
    data = torch.randn(40, 2, 4, 4)
    steps = []

    def loss(network: UNet, batch: Tensor, generator: torch.Generator, part: slice | None = None) -> Tensor:
        steps.append(len(steps))
        torch.cuda.set_sync_debug_mode("error" if 1 < len(steps) < config.max_steps else "default")
        return diffusion.loss(network, batch, generator, part)

    try:
        list(fit(network, EMA(network, 0.9), Task(loss, Split.of(data)), config, device="cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) >= config.max_steps
