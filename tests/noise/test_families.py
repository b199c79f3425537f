"""The further distributions and the combinators, against scipy.stats: moments, density, quantiles, draws."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.noise import Base, Noise, check, make_noise, noise_names, register
from ngldm.noise.registry import _REGISTRY

EXPONENTIAL, LAPLACE = {"distribution": "exponential"}, {"distribution": "laplace"}
# name, parameters, scipy's distribution before standardising
LAWS = [
    ("logistic", {}, stats.logistic()),
    ("student_t", {"df": 5.0}, stats.t(5)),
    ("student_t", {"df": 12}, stats.t(12)),
    ("generalized_normal", {"beta": 1.5}, stats.gennorm(1.5)),
    ("generalized_normal", {"beta": 8.0}, stats.gennorm(8)),
    ("gamma", {"concentration": 2.0}, stats.gamma(2)),
    ("gamma", {"concentration": 0.5}, stats.gamma(0.5)),
    ("weibull", {"k": 2.0}, stats.weibull_min(2)),
    ("weibull", {"k": 0.9}, stats.weibull_min(0.9)),
    ("lognormal", {"sigma": 0.5}, stats.lognorm(0.5)),
    ("triangular", {}, stats.triang(0.5)),
    ("arcsine", {}, stats.arcsine()),
    ("beta", {"a": 2.0, "b": 5.0}, stats.beta(2, 5)),
    ("bernoulli", {"p": 0.5}, stats.bernoulli(0.5)),
    ("bernoulli", {"p": 0.2}, stats.bernoulli(0.2)),
    ("binomial", {"n": 4, "p": 0.5}, stats.binom(4, 0.5)),
    ("binomial", {"n": 9, "p": 0.2}, stats.binom(9, 0.2)),
    ("poisson", {"rate": 4.0}, stats.poisson(4)),
    ("skew_normal", {"alpha": 4.0}, stats.skewnorm(4)),
    ("skew_normal", {"alpha": -1.5}, stats.skewnorm(-1.5)),
    ("mirrored", {"base": EXPONENTIAL}, stats.laplace()),
    ("mirrored", {"base": {"distribution": "gamma", "concentration": 3.0}}, stats.dgamma(3)),
    ("mirrored", {"base": LAPLACE}, stats.laplace()),
    ("mirrored", {"base": {"distribution": "uniform"}}, stats.uniform(-1, 2)),
    ("mirrored", {"base": {"distribution": "exponential_uncentred"}}, stats.laplace()),
    ("averaged", {"base": EXPONENTIAL, "n": 4}, stats.gamma(4)),
    ("truncated", {"base": {"distribution": "gaussian"}, "bound": 1.5}, stats.truncnorm(-1.5, 1.5)),
    ("truncated", {"base": EXPONENTIAL, "bound": 2.0}, stats.truncexpon(3.0)),
]
IDS = [f"{name}-{params}" for name, params, _ in LAWS]
SIZE = 2**15


def draw(name: str, params: dict, size: int = SIZE) -> np.ndarray:
    noise = make_noise(name, params)
    return noise.sample((size,), torch.Generator().manual_seed(1), dtype=torch.float64).numpy()


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_moments_are_scipys(name: str, params: dict, law: stats.rv_continuous) -> None:
    """Skewness and kurtosis are the same before and after standardising."""
    noise = make_noise(name, params)
    skewness, kurtosis = (float(value) for value in law.stats("sk"))
    tolerance = 2e-3 if name == "truncated" else 1e-9  # quadrature
    assert (noise.mean, noise.variance) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert noise.skewness == pytest.approx(skewness, rel=tolerance, abs=tolerance)
    assert noise.excess_kurtosis == pytest.approx(kurtosis, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_draws_follow_scipys_distribution_function(name: str, params: dict, law: stats.rv_continuous) -> None:
    """Kolmogorov's bound at one in ten million, 3 / sqrt(n); for a discrete law it is conservative."""
    x = draw(name, params) * law.std() + law.mean()
    if isinstance(law.dist, stats.rv_discrete):
        values = np.unique(np.round(x))
        assert np.abs(x - np.round(x)).max() < 1e-6
        empirical = np.array([(np.round(x) <= v).mean() for v in values])
        assert np.abs(empirical - law.cdf(values)).max() < 3 / math.sqrt(SIZE)
    else:
        assert stats.kstest(x, law.cdf).statistic < 3 / math.sqrt(SIZE)


@pytest.mark.parametrize(("name", "params", "law"), LAWS, ids=IDS)
def test_log_prob_and_icdf_are_scipys_where_they_exist(name: str, params: dict, law: stats.rv_continuous) -> None:
    noise, mean, std = make_noise(name, params), float(law.mean()), float(law.std())
    u = np.linspace(0.01, 0.99, 36)
    raw = np.unique(law.ppf(u))
    if noise.base.function("log_prob"):
        theirs = law.logpmf(raw) if noise.base.discrete else law.logpdf(raw) + math.log(std)
        ours = noise.log_prob(torch.from_numpy((raw - mean) / std))
        tolerance = 1e-4 if name == "truncated" else 1e-6
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)
    if noise.base.function("icdf"):
        tolerance = 1e-4 if name == "truncated" else 1e-6
        np.testing.assert_allclose(noise.icdf(torch.from_numpy(u)).numpy(), (law.ppf(u) - mean) / std, atol=tolerance)


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


def test_making_a_noise_keeps_the_callers_lists_and_the_global_generator() -> None:
    params = {"weights": [0.5, 0.5], "means": [-1.0, 2.0], "stds": [1.0, 1.0]}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    noise = make_noise("gaussian_mixture", params)
    params["means"][0] = 7.0
    assert noise.params["means"] == [-1.0, 2.0]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_there_is_no_score_without_a_density() -> None:
    with pytest.raises(InputError, match="'bernoulli' is discrete"):
        make_noise("bernoulli").score(torch.zeros(1))
    with pytest.raises(InputError, match="'averaged' has no log_prob"):
        make_noise("averaged").log_prob(torch.zeros(1))


@pytest.mark.parametrize("name", noise_names())
def test_every_registered_noise_draws_reproducibly_with_its_declared_moments(name: str) -> None:
    """Mean within 5 standard errors; the file's laws above check the rest."""
    noise = make_noise(name)
    x, again = (noise.sample((SIZE,), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(x, again)
    assert x.dtype == torch.float32
    assert float(x.double().mean()) == pytest.approx(noise.mean, abs=5 / math.sqrt(SIZE))
    assert noise.sample((2, 3), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_gaussian_mixture_by_hand() -> None:
    """1/4 N(-3, 1) + 3/4 N(1, 1): mean 0, variance 4, third moment -6, fourth 40 (by hand)."""
    noise = make_noise("gaussian_mixture", {"weights": [0.25, 0.75], "means": [-3.0, 1.0], "stds": [1.0, 1.0]})
    assert noise.scale == pytest.approx(0.5)
    assert noise.skewness == pytest.approx((0.25 * -27 + 0.75) / 8)
    fourth = 0.25 * (81 + 6 * 9 + 3) + 0.75 * (1 + 6 + 3)
    assert noise.excess_kurtosis == pytest.approx(fourth / 16 - 3)


def test_mixture_has_the_mixed_moments() -> None:
    noise = make_noise("mixture", {"first": EXPONENTIAL, "second": LAPLACE, "weight": 0.25})
    assert (noise.skewness, noise.excess_kurtosis) == pytest.approx((0.25 * 2, 0.25 * 9 + 0.75 * 6 - 3))


def test_averaging_is_a_dial_to_the_gaussian() -> None:
    for n in (1, 4, 100):
        noise = make_noise("averaged", {"base": EXPONENTIAL, "n": n})
        assert (noise.skewness, noise.excess_kurtosis) == pytest.approx((2 / math.sqrt(n), 6 / n))


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("student_t", {"df": 2}, "df: 2 must be above 2: .* variance is infinite"),
        ("student_t", {"df": "5"}, "df: '5' is not a finite number"),
        ("gamma", {"concentration": -1.0}, "concentration: -1.0 must be above 0"),
        ("gaussian_mixture", {"weights": [0.5, 0.6]}, "weights: .* must sum to 1, sum to 1.1"),
        ("gaussian_mixture", {"stds": [1.0, -1.0]}, r"stds\[1\]: -1.0 must be above 0"),
        ("gaussian_mixture", {"means": [1.0]}, "means: 1 values, but there are 2 weights"),
        ("bernoulli", {"p": 1.0}, "p: 1.0 must be strictly between 0 and 1"),
        ("binomial", {"n": 2.5}, "n: 2.5 must be a whole number"),
        ("averaged", {"n": 0}, "n: 0 must be a whole number"),
        ("poisson", {"rate": True}, "rate: True is not a finite number"),
        ("lognormal", {"sigma": math.nan}, "sigma: nan is not a finite number"),
        ("mirrored", {"base": {"distribution": "cauchy"}}, "base: unknown noise 'cauchy'"),
        ("mirrored", {"base": "laplace"}, "base: 'laplace' must be a mapping with `distribution`"),
        ("truncated", {"bound": 1e-9}, "bound: 1e-09 keeps .* at least 1 %"),
        ("truncated", {"base": {"distribution": "student_t"}}, "'student_t' has no icdf"),
        ("mixture", {"weight": 1.5}, "weight: 1.5 must be strictly between 0 and 1"),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)


@pytest.mark.parametrize(("mean", "variance", "what"), [(0.5, 1.0, "mean"), (0.0, 2.0, "variance")])
def test_draws_that_contradict_the_declared_moments_are_refused(
    mean: float, variance: float, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngldm.noise.registry._REGISTRY", dict(_REGISTRY))

    @register(f"liar_{what}")
    def liar() -> Base:
        return Base(
            mean=mean,
            variance=variance,
            skewness=0.0,
            excess_kurtosis=0.0,
            draw=lambda shape, generator, device: torch.randn(tuple(shape), generator=generator),
        )

    with pytest.raises(InputError, match=f"'liar_{what}': 16384 draws have {what} .* the declared one"):
        make_noise(f"liar_{what}")


def normal(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


WRONG = {
    "skewed": (Base(mean=0.0, variance=1.0, skewness=5.0, excess_kurtosis=9.0, draw=normal), "skewness"),
    "peaked": (Base(mean=0.0, variance=1.0, skewness=0.0, excess_kurtosis=5.0, draw=normal), "excess_kurtosis"),
    "flat": (Base(mean=0.0, variance=1.0, skewness=0.0, excess_kurtosis=-1.2, draw=normal), "excess_kurtosis"),
    "wide": (
        Base(mean=0.0, variance=1.0, excess_kurtosis=math.inf, draw=lambda *at: 3.0 * normal(*at)),
        "variance .* declared one is 1.0",
    ),
    "two": (
        Base(mean=0.0, variance=1.0, skewness=0.0, excess_kurtosis=0.0, draw=normal, icdf=torch.logit),
        "quantile .* its icdf",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_draws_that_contradict_shape_or_icdf_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngldm.noise.registry._REGISTRY", dict(_REGISTRY))
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
        check.forget_checks(noise.name)
        check.check_moments(noise)
