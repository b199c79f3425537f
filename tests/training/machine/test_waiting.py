"""A step of a training makes the CPU wait for its GPU nowhere. `tests.waits` finds it without a GPU."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ngldm.diffusion.classes import Classes
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise, noise_names
from ngldm.training import gradients, loop
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.machine.feed import Ahead, Resident
from ngldm.training.task import Batch, LossFunction, Split, Task
from ngldm.training.tracks import Tracks
from tests.waits import GPU, Waits, generator_on_gpu

SCHEDULE = make_schedule("cosine", 20)
LATENTS = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(0))
FIT = FitConfig(max_steps=3, batch_size=8, warmup_steps=2, log_every=3)
FIRST = 1  # steps that may wait: tables are copied to the GPU once
Feed = Callable[..., Callable[[int], object]]


class Pointwise(nn.Module):
    """The smallest network."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


@pytest.fixture(autouse=True)
def on_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gradients, loop):
        monkeypatch.setattr(module, "random_generator", generator_on_gpu)
    monkeypatch.setattr(gradients, "feed", resident)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # torch has none for the stand-in


def resident(indices, fetch, rows, device):
    return Resident(indices, fetch, rows, device)


def ahead(indices, fetch, rows, device):
    return Ahead(indices, fetch, device)


def waits_of(
    network: nn.Module,
    loss: LossFunction,
    data: Split[Batch],
    config: FitConfig = FIT,
    tracks: Callable[[nn.Module], Tracks[nn.Module] | None] = lambda network: None,
) -> list[str]:
    """What a training waits for between its first steps and the last one's report."""
    waits, seen = Waits(), []

    def watched(network: nn.Module, batch: Batch, generator: torch.Generator, part: slice | None = None) -> Tensor:
        seen.append(len(waits.found))  # before each part of a step
        return loss(network, batch, generator) if part is None else loss(network, batch, generator, part)

    with waits:
        list(fit(network, EMA(network, 0.9, tracks(network)), Task(watched, data), config, device=GPU))
    each = config.accumulate_steps or 1
    assert len(seen) == config.max_steps * each
    assert len(waits.found) > seen[-1], "the report reads the loss, so the watch must find it"
    return waits.found[seen[FIRST * each] : seen[-1]]


def heads() -> Iterator[tuple[str, str]]:
    """Every noise, without a head and with the one that it needs."""
    for noise in noise_names():
        needs = make_noise(noise).traits.needs
        yield from ((noise, head) for head in ("none", needs) if head in ("none", "scalar", "element"))


@pytest.mark.parametrize(("noise", "head"), heads())
def test_no_noise_makes_it_wait(noise: str, head: str) -> None:
    diffusion = Diffusion.make(make_noise(noise), SCHEDULE, stein_head=head)
    network = Pointwise({"none": 2, "scalar": 3, "element": 4}[head])
    assert waits_of(network, diffusion.loss, Split.of(LATENTS)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "x0", "weighting": "min_snr"},
        {"objective": "v", "weighting": "p2", "loss": "root"},
        {"objective": "u", "time_density": "logit_normal"},
        {"objective": "x0", "preconditioning": "edm", "time_density": "edm_lognormal", "time_shift": 2.0},
        {"forward": "markov"},
    ],
)
def test_no_objective_makes_it_wait(options: Mapping[str, str]) -> None:
    diffusion = Diffusion.make(make_noise("laplace"), SCHEDULE, **options)
    assert waits_of(Pointwise(), diffusion.loss, Split.of(LATENTS)) == []


@pytest.mark.parametrize(
    ("feed", "settings"),
    [
        (resident, {}),
        (ahead, {"lr_schedule": "constant"}),
        (resident, {"optimizer": "muon"}),
        (ahead, {"accumulate_steps": 2, "optimizer": "muon", "weight_decay": 0.1}),
    ],
)
def test_neither_the_optimiser_nor_the_way_of_the_data_makes_it_wait(
    feed: Feed, settings: Mapping[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A U-Net with attention, dropout and classes, clipped, with an average of the weights and a second one."""
    monkeypatch.setattr(gradients, "feed", feed)
    classes = Classes(("one", "two"), (20, 20))
    diffusion = Diffusion.make(make_noise("gumbel"), SCHEDULE, objective="x0")
    loss = classes.loss(diffusion)
    settings_of_unet = UNetSettings((16, 16), 1, attention_levels=(1,), attention_head_dim=8, dropout=0.1)
    network = UNet(2, settings_of_unet, num_classes=2)
    data = Split.labelled(LATENTS, torch.arange(40).remainder(2).numpy())
    config = replace(FIT, **settings)

    def tracks(network: nn.Module) -> Tracks[nn.Module]:
        return Tracks(network, [0.1], [], tmp_path)

    assert waits_of(network, loss, data, config, tracks) == []


def test_a_loss_that_reads_a_number_is_found() -> None:
    diffusion = Diffusion.make(make_noise("gaussian"), SCHEDULE)

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator, part: slice | None = None) -> Tensor:
        each = diffusion.loss(network, batch, generator, part)
        return each / max(float(each.detach().max()), 1.0)

    assert waits_of(Pointwise(), loss, Split.of(LATENTS)) == ["aten._local_scalar_dense.default"]


def test_a_pairing_by_transport_is_computed_on_the_cpu_and_waits() -> None:
    """As docs/howto-gpu.md says."""
    diffusion = Diffusion.make(make_noise("gaussian"), SCHEDULE, coupling="minibatch_ot")
    assert waits_of(Pointwise(), diffusion.loss, Split.of(LATENTS)) != []
