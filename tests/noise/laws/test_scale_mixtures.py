"""Laws with one scale for each image: against scipy's t and stable laws, characteristic functions, and K = A."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.diffusion.stein_head import SteinHead
from ngldm.io.errors import InputError
from ngldm.noise import draw_with_stein, make_noise
from ngldm.noise.laws.scale_mixtures import laplace_kernel, positive_stable, stable_quartile

ITEM = (1, 2, 3)
SIZE = 2**16
KOLMOGOROV = 3.0 / math.sqrt(SIZE)  # passed by chance once in ten million


def draw(name: str, params: dict, seed: int = 0) -> np.ndarray:
    """(SIZE, 6) float64."""
    generator = torch.Generator().manual_seed(seed)
    return make_noise(name, params).sample((SIZE, *ITEM), generator, dtype=torch.float64).flatten(1).numpy()


@pytest.mark.parametrize(
    ("name", "params", "law"),
    [
        ("multivariate_t", {"df": 3.0}, stats.t(3, scale=math.sqrt(1 / 3))),
        ("multivariate_t", {"df": 5.0}, stats.t(5, scale=math.sqrt(3 / 5))),
        ("pfgmpp", {"d": 128.0}, stats.t(128, scale=math.sqrt(126 / 128))),
        ("multivariate_laplace", {}, stats.laplace(scale=math.sqrt(1 / 2))),
        ("isotropic_stable", {"alpha": 2.0}, stats.norm()),
    ],
)
def test_an_element_and_a_sum_of_elements_have_the_laws_of_scipy(name: str, params: dict, law: stats.rv_continuous):
    """A direction's projection has the law of an element: what tells a shared scale from independent elements."""
    x = draw(name, params)
    assert stats.kstest(x[:, 0], law.cdf).statistic < KOLMOGOROV
    assert stats.kstest(x @ np.full(6, 1 / math.sqrt(6)), law.cdf).statistic < KOLMOGOROV


@pytest.mark.parametrize(("name", "key"), [("multivariate_t", "df"), ("pfgmpp", "d")])
def test_the_density_is_scipys_multivariate_t(name: str, key: str) -> None:
    """E log p under draws of p is minus the entropy, which scipy has by another formula; 5 standard errors."""
    df = 7.0
    law = stats.multivariate_t(np.zeros(6), np.eye(6) * (df - 2) / df, df=df)
    logs = law.logpdf(draw(name, {key: df}))
    assert logs.mean() == pytest.approx(-law.entropy(), abs=5 * logs.std() / math.sqrt(SIZE))


def test_the_length_of_t_noise_follows_fishers_law() -> None:
    """|n|^2 / d of unit-variance t is F(d, df) (df - 2) / df."""
    squares = np.square(draw("multivariate_t", {"df": 5.0})).mean(1) * 5 / 3
    assert stats.kstest(squares, stats.f(6, 5).cdf).statistic < KOLMOGOROV


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.8])
def test_stable_noise_has_its_characteristic_function(alpha: float) -> None:
    """E exp(i u.e) = exp(-|u|^alpha) before scaling, along two directions; 5 standard errors of a mean of cosines."""
    e = draw("isotropic_stable", {"alpha": alpha}) * stable_quartile(alpha) / stats.norm.ppf(0.75)
    for direction in (np.eye(6)[0], np.full(6, 1 / math.sqrt(6))):
        for u in (0.2, 0.7, 1.5, 3.0):
            cosines = np.cos(u * (e @ direction))
            assert cosines.mean() == pytest.approx(math.exp(-(u**alpha)), abs=5 * cosines.std() / math.sqrt(SIZE))


@pytest.mark.parametrize("alpha", [1.05, 1.3, 1.8, 2.0])
def test_the_quartile_of_a_stable_law_is_scipys(alpha: float) -> None:
    assert stable_quartile(alpha) == pytest.approx(stats.levy_stable.ppf(0.75, alpha, 0.0), rel=1e-4)


@pytest.mark.parametrize("k", [0.55, 0.75, 0.95])
def test_the_positive_stable_law_has_its_laplace_transform(k: float) -> None:
    s = positive_stable(k, SIZE, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert (s > 0).all()
    for rate in (0.3, 1.0, 4.0):
        values = (-rate * s).exp()
        assert float(values.mean()) == pytest.approx(math.exp(-(rate**k)), abs=5 * float(values.std()) / SIZE**0.5)


@pytest.mark.parametrize("size", [1, 2, 3, 16, 500])
@pytest.mark.parametrize(
    ("name", "params", "mixing"),
    [
        ("multivariate_t", {"df": 3.0}, stats.invgamma(1.5, scale=0.5)),
        ("multivariate_laplace", {}, stats.expon()),
    ],
)
def test_k_is_the_conditional_mean_of_the_scale(
    name: str, params: dict, mixing: stats.rv_continuous, size: int
) -> None:
    """E[A | n] by the trapezoidal rule over ln A, with scipy's density of A."""
    n, k = draw_with_stein(make_noise(name, params), (50, size), torch.Generator().manual_seed(0))
    log_a = np.linspace(-40.0, 40.0, 16001)
    a = np.exp(log_a)
    square = n.double().square().sum(1, keepdim=True).numpy()
    logs = mixing.logpdf(a) + log_a - 0.5 * size * log_a - 0.5 * square / a
    weights = np.exp(logs - logs.max(1, keepdims=True))
    np.testing.assert_allclose(k[:, 0].numpy(), (weights @ a) / weights.sum(1), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 16, 129, 130, 131, 132, 512, 3072, 200_001])
def test_k_of_the_multivariate_laplace_is_an_integral_over_the_scale(size: int) -> None:
    """E[A | n] with the density ~ A^(-d / 2) exp(-q / (2 A) - A): the trapezoidal rule in ln A around its peak."""
    for share in (1e-4, 0.01, 0.5, 1.0, 3.0, 100.0, 1e6):
        q, power = share * size, 1.0 - size / 2.0  # of A, with dA = A d(ln A)
        peak = (
            (power + math.sqrt(power**2 + 2.0 * q)) / 2.0 if power > 0 else q / (math.sqrt(power**2 + 2.0 * q) - power)
        )
        width = 1.0 / math.sqrt(q / (2.0 * peak) + peak)
        y = np.linspace(-40.0, 40.0, 20001) * width
        logs = power * y - q / (2.0 * peak) * np.expm1(-y) - peak * np.expm1(y)
        weights = np.exp(logs - logs.max())
        expected = peak * float((weights * np.exp(y)).sum() / weights.sum())
        found = float(laplace_kernel(torch.tensor([q], dtype=torch.float64), size))
        assert found == pytest.approx(expected, rel=1e-9)


def test_stable_noise_of_index_2_says_that_it_is_gaussian() -> None:
    """Its draws are those of the Gaussian, its K is 1, and the sampler `stein` needs no head for it."""
    law = make_noise("isotropic_stable", {"alpha": 2.0})
    assert (law.traits, law.second_moment) == (make_noise("gaussian").traits, 1.0)
    _, k = draw_with_stein(law, (5, 1, 4, 4), torch.Generator().manual_seed(0))
    torch.testing.assert_close(k, torch.ones_like(k), rtol=1e-5, atol=0.0)
    assert torch.equal(law.k_bar(torch.full((2, 3), 7.0)), torch.ones(2, 3))
    SteinHead(law).require_k_bar()
    mixed = make_noise(
        "sum", {"laws": [{"distribution": "isotropic_stable", "alpha": 2.0}, {"distribution": "offset"}]}
    )
    assert mixed.traits.gaussian


@pytest.mark.parametrize(("name", "params"), [("isotropic_stable", {"alpha": 1.5}), ("multivariate_t", {"df": 1.5})])
def test_infinite_variance_is_matched_by_the_median(name: str, params: dict) -> None:
    """Half of the |n_i| lie below the Gaussian's median; 5 standard errors of a share."""
    assert make_noise(name, params).second_moment == math.inf
    below = (np.abs(draw(name, params)[:, 0]) < stats.norm.ppf(0.75)).mean()
    assert below == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(SIZE))


@pytest.mark.parametrize(
    ("name", "params"),
    [("multivariate_t", {"df": 8.0}), ("multivariate_laplace", {}), ("isotropic_stable", {"alpha": 1.8})],
)
def test_k_is_the_scale_of_each_image(name: str, params: dict) -> None:
    """The Stein identity E[n f(n)] = E[K f'(n)], f = tanh, and the same n as `sample`."""
    law = make_noise(name, params)
    n, k = draw_with_stein(law, (SIZE, *ITEM), torch.Generator().manual_seed(0))
    assert torch.equal(n, law.sample((SIZE, *ITEM), torch.Generator().manual_seed(0)))
    assert k.shape == (SIZE, 1, 1, 1)
    x = n[:, 0, 0, 0].double()
    difference = x * x.tanh() - k.flatten() * (1 - x.tanh() ** 2)
    cut = difference[k.flatten() < k.quantile(0.999)]  # A of a stable law has no mean: its largest draws hide the rest
    assert law.traits.needs == "scalar"
    assert abs(float(cut.mean())) < 5 * float(cut.std()) / SIZE**0.5


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("multivariate_t", {"df": 1.0}, "df: 1 must be above 1: with 1 .Cauchy. or less the noise has no mean"),
        ("pfgmpp", {"d": 0.5}, "d: 0.5 must be above 1"),
        ("isotropic_stable", {"alpha": 1.0}, r"alpha: 1 must be in \(1, 2\]: .* has no mean"),
        ("isotropic_stable", {"alpha": 2.1}, r"alpha: 2.1 must be in \(1, 2\]"),
        ("multivariate_t", {"df": "many"}, "df: 'many' is not a finite number"),
    ],
)
def test_bad_parameters(name: str, params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_noise(name, params)
