"""Preconditioning beside EDM's and t-EDM's formulas, and by what it is for: variance 1 on both sides of the network."""

import math

import pytest
import torch
from diffusers import EDMEulerScheduler
from torch import Tensor

from ngldm.diffusion.names import SCHEDULES
from ngldm.diffusion.preconditioning import Preconditioning
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import make_noise


def probe(preconditioning: Preconditioning, schedule, t: int) -> tuple[float, float, float]:
    """c_in, c_skip and c_out, as the network and the result show them."""
    seen: list[Tensor] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return torch.full_like(x, 1000.0 * len(seen))

    predict = preconditioning.wrap(network, schedule)
    one, steps = torch.ones(1, 1, dtype=torch.float64), torch.tensor([t])
    first, second = float(predict(one, steps)), float(predict(one, steps))
    c_out = (second - first) / 1000.0
    return float(seen[0]), first - 1000.0 * c_out, c_out


@pytest.mark.parametrize("t", [1, 9, 18])
def test_edm_is_diffusers(t: int) -> None:
    schedule, scheduler = make_schedule("edm_ve", 18), EDMEulerScheduler(sigma_data=0.5)
    sigma = schedule.noise[t]
    c_in, c_skip, c_out = probe(Preconditioning("edm", 0.5), schedule, t)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert c_in == pytest.approx(float(scheduler.precondition_inputs(one, sigma)))
    assert c_skip == pytest.approx(float(scheduler.precondition_outputs(one, zero, sigma)), rel=1e-6)
    assert c_out == pytest.approx(float(scheduler.precondition_outputs(zero, one, sigma)), rel=1e-6)
    weight = (float(sigma) ** 2 + 0.25) / (float(sigma) * 0.5) ** 2  # EDM, table 1
    assert float(Preconditioning("edm", 0.5).weights(schedule)[t]) == pytest.approx(weight)


@pytest.mark.parametrize("nu", [3.0, 5.0])
def test_t_edm_has_edms_formulas_with_its_own_sigma(nu: float) -> None:
    """Pandey et al. 2025: sigma sqrt(nu / (nu - 2)) in the place of EDM's sigma."""
    schedule = make_schedule("edm_ve", 18)
    for t in (1, 9, 18):
        sigma, data = float(schedule.noise[t]) * math.sqrt(nu / (nu - 2.0)), 0.5
        root = math.sqrt(sigma**2 + data**2)
        wanted = (1.0 / root, data**2 / root**2, sigma * data / root)
        assert probe(Preconditioning("edm", data, nu / (nu - 2.0)), schedule, t) == pytest.approx(wanted, rel=1e-9)


def test_rectified_flow_at_the_end_is_the_network_alone() -> None:
    """a_T = 0: x_T says nothing of x_0, so that D = data_std F, and nothing is infinite."""
    assert probe(Preconditioning("edm", 0.7), make_schedule("rectified_flow", 10), 10) == pytest.approx((1.0, 0.0, 0.7))


@pytest.mark.parametrize("name", SCHEDULES)
def test_input_and_target_have_variance_1(name: str) -> None:
    """For x_0 of deviation 1.5 and Laplace noise, at each t. The target is (x_0 - c_skip x) / c_out."""
    schedule, n, generator = make_schedule(name, 20), 100_000, torch.Generator().manual_seed(0)
    x0 = 1.5 * torch.randn(n, generator=generator, dtype=torch.float64)
    eps = make_noise("laplace").sample((n,), generator, dtype=torch.float64)
    for t in (1, 5, 12, 20):
        c_in, c_skip, c_out = probe(Preconditioning("edm", 1.5), schedule, t)
        x = schedule.signal[t] * x0 + schedule.noise[t] * eps
        assert float((c_in * x).var()) == pytest.approx(1.0, rel=0.04)
        assert float(((x0 - c_skip * x) / c_out).var()) == pytest.approx(1.0, rel=0.04)


@pytest.mark.parametrize("name", ["cosine", "rectified_flow", "edm_ve"])
def test_the_loss_is_the_error_of_the_networks_own_output(name: str) -> None:
    """A network that gives 0: the loss is the mean square of its target, which is 1 on average over the batch."""
    noise, schedule = make_noise("gaussian"), make_schedule(name, 100)
    diffusion = Diffusion.make(noise, schedule, objective="x0", preconditioning="edm", data_std=2.0)
    generator = torch.Generator().manual_seed(0)
    x0 = 2.0 * torch.randn(4000, 16, generator=generator)
    loss = diffusion.loss(lambda x, t: torch.zeros_like(x), x0, generator)
    assert float(loss.mean()) == pytest.approx(1.0, abs=5.0 * float(loss.std()) / math.sqrt(4000))


def test_none_is_the_network_itself() -> None:
    def network(x: Tensor, t: Tensor) -> Tensor:
        return x

    assert Preconditioning().wrap(network, make_schedule("linear", 5)) is network


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preconditioning": "vp"}, "unknown diffusion.preconditioning 'vp'; choose one of: edm, none"),
        ({"preconditioning": "edm", "objective": "eps"}, "use diffusion.objective 'x0', not 'eps'"),
        ({"preconditioning": "edm", "data_std": 0.0}, "diffusion.data_std: 0.0 must lie between 1e-15 and 1e15"),
        ({"preconditioning": "edm", "data_std": 1e200}, "diffusion.data_std: 1e+200 must lie between 1e-15 and 1e15"),
        ({"preconditionings": "edm"}, "diffusion.preconditionings: unknown option; known: coupling, stein_head"),
        ({"preconditioning": "edm", "data_std": math.nan}, "diffusion.data_std: nan must lie between 1e-15 and 1e15"),
    ],
)
def test_bad_settings_are_named(options, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Diffusion.make(make_noise("gaussian"), make_schedule("linear", 10), **{"objective": "x0", **options})
    assert words in str(caught.value)
