"""Draws that contradict what a noise declares are refused, right ones never."""

import math
from collections.abc import Sequence

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.noise import Base, Noise, make_noise, register
from ngldm.noise.check import check_draws


@pytest.mark.parametrize(("mean", "variance", "what"), [(0.5, 1.0, "mean"), (0.0, 2.0, "variance")])
def test_draws_that_contradict_the_declared_moments_are_refused(
    mean: float, variance: float, what: str, registry: dict
) -> None:
    @register(f"liar_{what}")
    def liar() -> Base:
        return Base(
            mean=mean,
            variance=variance,
            skewness=0.0,
            excess_kurtosis=0.0,
            draw=lambda shape, generator, device: torch.randn(tuple(shape), generator=generator),
        )

    with pytest.raises(InputError, match=f"'liar_{what}': 16384 draws have {what} .* the declared value"):
        make_noise(f"liar_{what}")


def normal(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


WRONG = {
    "skewed": (Base(mean=0.0, variance=1.0, skewness=5.0, excess_kurtosis=9.0, draw=normal), "skewness"),
    "peaked": (Base(mean=0.0, variance=1.0, skewness=0.0, excess_kurtosis=5.0, draw=normal), "excess_kurtosis"),
    "flat": (Base(mean=0.0, variance=1.0, skewness=0.0, excess_kurtosis=-1.2, draw=normal), "excess_kurtosis"),
    "wide": (
        Base(mean=0.0, variance=1.0, excess_kurtosis=math.inf, draw=lambda *at: 3.0 * normal(*at)),
        "variance .* declared value is 1.0",
    ),
    "two": (
        Base(mean=0.0, variance=1.0, skewness=0.0, excess_kurtosis=0.0, draw=normal, icdf=torch.logit),
        "quantile .* its icdf",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_draws_that_contradict_shape_or_icdf_are_refused(name: str, registry: dict) -> None:
    base, words = WRONG[name]
    register(name)(lambda: base)
    with pytest.raises(InputError, match=f"noise '{name}': .*{words}"):
        make_noise(name)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *(("student_t", {"df": df}) for df in (2.01, 2.5, 3.0, 4.0, 4.7, 5.0, 5.5, 6.0, 8.0, 30.0)),
        *(("lognormal", {"sigma": sigma}) for sigma in (0.1, 0.5, 0.6, 1.0, 2.0)),
        *(("gamma", {"concentration": k}) for k in (0.05, 0.6, 0.7, 5.0)),
        *(("weibull", {"k": k}) for k in (0.3, 0.85, 0.9, 3.6)),
        *(("generalized_normal", {"beta": beta}) for beta in (0.3, 0.75, 0.9, 20.0)),
        *(("bernoulli", {"p": p}) for p in (0.003, 0.08, 0.1, 0.99)),
        *(("poisson", {"rate": rate}) for rate in (0.05, 0.12, 50.0)),
    ],
)
def test_heavy_and_rare_but_right_noise_is_accepted_whatever_the_seed(
    name: str, params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = make_noise(name, params)
    sample = Noise.sample
    for seed in range(1, 21):
        monkeypatch.setattr(
            Noise, "sample", lambda self, shape, generator, dtype, s=seed: sample(self, shape, generator.manual_seed(s))
        )
        check_draws(noise)
