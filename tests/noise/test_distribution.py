"""What every noise does: draws of the right shape and type that a generator decides, standardising, the score."""

import math
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Gumbel, Laplace

from ngldm.io.errors import InputError
from ngldm.noise import Base, make_noise, register
from ngldm.noise.registry import REGISTRY

NAMES = ["exponential", "exponential_uncentred", "gaussian", "gumbel", "laplace", "uniform"]


def draw(name: str, size: int, seed: int = 0, **options: Any) -> torch.Tensor:
    return make_noise(name).sample((size,), torch.Generator().manual_seed(seed), **options)


@settings(max_examples=25, deadline=None)
@given(location=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_standardising_removes_location_and_scale(location: float, scale: float) -> None:
    """The same draws come from any member of a location-scale family."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ngldm.noise.registry.REGISTRY", dict(REGISTRY))
        parameters = torch.tensor([location, scale], dtype=torch.float64)
        register("moved")(lambda: Base(Laplace(*parameters), skewness=0.0, excess_kurtosis=3.0))
        moved = draw("moved", 100, dtype=torch.float64)
    torch.testing.assert_close(moved, draw("laplace", 100, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_generator_state_decides_the_draws(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    noise = make_noise(name)
    first, second = noise.sample((4, 3), generator), noise.sample((4, 3), generator)
    assert not torch.equal(first, second)
    generator.manual_seed(5)
    torch.manual_seed(99)  # the global generator plays no part
    assert torch.equal(noise.sample((4, 3), generator), first)
    assert torch.equal(noise.sample((4, 3), generator), second)
    assert not torch.equal(draw(name, 12, seed=5), draw(name, 12, seed=6))


@pytest.mark.parametrize("name", NAMES)
def test_without_generator_the_global_seed_decides(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        x = make_noise(name).sample((7,))
        torch.manual_seed(5)
        assert torch.equal(make_noise(name).sample((7,)), x)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_defaults(name: str, shape: tuple) -> None:
    x = make_noise(name).sample(shape)
    assert (x.shape, x.dtype, x.device.type) == (torch.Size(shape), torch.float32, "cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_precisions_are_the_same_numbers_rounded(name: str, dtype: torch.dtype) -> None:
    """Except for numbers that rounding carries out of the support, which stay inside."""
    x, (low, high) = draw(name, 10_000, dtype=dtype), make_noise(name).support
    assert x.dtype == dtype
    assert x.double().min() > low
    assert x.double().max() < high
    for other in (torch.float64, torch.float32)[: 2 if dtype == torch.bfloat16 else 1]:
        rounded = draw(name, 10_000, dtype=other).to(dtype)
        kept = (rounded.double() > low) & (rounded.double() < high)
        assert kept.double().mean() > 0.99
        assert torch.equal(x[kept], rounded[kept])


def test_own_draw_is_standardised_too(registry: dict) -> None:
    """`draw` is in the distribution's own location and scale; it is given shape, generator and device."""
    seen: list = []

    def four(shape: Any, generator: Any, device: Any) -> torch.Tensor:
        seen.append((tuple(shape), generator, device))
        x = torch.full(tuple(shape), 4.0)
        x[::2] = 0.0
        return x

    register("drawn")(lambda: Base(mean=2.0, variance=4.0, skewness=0.0, excess_kurtosis=-2.0, draw=four))
    generator = torch.Generator()
    assert make_noise("drawn").sample((2,), generator).tolist() == [-1.0, 1.0]  # (4 - 2) / 2
    assert seen[1:] == [((2,), generator, torch.device("cpu"))]


@pytest.mark.parametrize("name", ["gaussian", "laplace", "logistic", "student_t", "gumbel", "skew_normal", "weibull"])
def test_score_is_the_slope_of_log_prob(name: str) -> None:
    noise, x, h = make_noise(name), torch.tensor([-0.9, -0.3, 0.4, 1.7], dtype=torch.float64), 1e-5
    slope = (noise.log_prob(x + h) - noise.log_prob(x - h)) / (2 * h)
    torch.testing.assert_close(noise.score(x), slope, rtol=1e-5, atol=1e-5)


def test_the_score_of_a_flat_density_is_0_also_in_inference_mode() -> None:
    with torch.inference_mode():
        assert make_noise("uniform").score(torch.tensor([0.1, -1.0])).tolist() == [0.0, 0.0]
        x = torch.tensor([0.5, -2.0])
        torch.testing.assert_close(make_noise("gaussian").score(x), -x)


def test_a_distribution_of_torch_with_inverse_transforms_has_its_density(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inverse and what it inverts name each other."""
    monkeypatch.setattr("ngldm.noise.registry.REGISTRY", dict(REGISTRY))
    gumbel = Gumbel(torch.tensor(0.5, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
    register("of_torch")(lambda: Base(gumbel, skewness=1.1395470994046486, excess_kurtosis=2.4))
    noise, x = make_noise("of_torch"), torch.tensor([-1.5, 0.0, 3.0], dtype=torch.float64)
    law = scipy.stats.gumbel_r(0.5, 2.0)
    expected = law.logpdf(law.mean() + law.std() * x.numpy()) + math.log(law.std())
    torch.testing.assert_close(noise.log_prob(x), torch.from_numpy(expected))
    gumbel.cdf(x)
    assert noise.log_prob(x.to("meta")).device.type == "meta"


@pytest.mark.parametrize("name", ["exponential", "gamma", "laplace"])
def test_a_score_can_be_taken_on_a_gpu_where_inference_came_first(name: str) -> None:
    """The device `meta` stands for the GPU."""
    noise, x = make_noise(name), torch.zeros(3, device="meta")
    with torch.inference_mode():
        noise.log_prob(x)
    assert noise.score(x).shape == (3,)


def test_there_is_no_score_without_a_density() -> None:
    with pytest.raises(InputError, match="'bernoulli' is discrete"):
        make_noise("bernoulli").score(torch.zeros(1))
    with pytest.raises(InputError, match="'averaged' has no log_prob"):
        make_noise("averaged").log_prob(torch.zeros(1))
