"""Noise distributions: exact moments, shape, reproducibility, registry.

The oracle is scipy.stats with the paper's normalisations (Appendix B, sigma = 1) as literal numbers.
"""

import math
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Bernoulli, Cauchy, Laplace, StudentT

import ngldm.noise.registry
from ngldm.io.errors import InputError
from ngldm.model import Model, load_model
from ngldm.noise import Base, Noise, make_noise, noise_names, register

SQRT_3 = 1.7320508075688772
GUMBEL_SCALE = 0.7796968012336761  # sqrt(6) / pi
GUMBEL_SHIFT = -0.45005320754569466  # -gamma sqrt(6) / pi

ORACLES = {
    "gaussian": stats.norm(0.0, 1.0),
    "laplace": stats.laplace(0.0, 0.7071067811865476),
    "exponential": stats.expon(-1.0, 1.0),
    "exponential_uncentred": stats.expon(0.0, 1.0),
    "uniform": stats.uniform(-SQRT_3, 2 * SQRT_3),
    "gumbel": stats.gumbel_r(GUMBEL_SHIFT, GUMBEL_SCALE),
}
# Central moments of order 2, 3, 4, 6, 8, for standard errors: (2k)! / 2^k, numbers of derangements, 3^k / (2k + 1), and
# for Gumbel from the cumulants (n - 1)! zeta(n) (sqrt(6) / pi)^n.
CENTRAL_MOMENTS = {
    "gaussian": {2: 1.0, 3: 0.0, 4: 3.0, 6: 15.0, 8: 105.0},
    "laplace": {2: 1.0, 3: 0.0, 4: 6.0, 6: 90.0, 8: 2520.0},
    "exponential": {2: 1.0, 3: 2.0, 4: 9.0, 6: 265.0, 8: 14833.0},
    "exponential_uncentred": {2: 1.0, 3: 2.0, 4: 9.0, 6: 265.0, 8: 14833.0},
    "uniform": {2: 1.0, 3: 0.0, 4: 9 / 5, 6: 27 / 7, 8: 9.0},
    "gumbel": {2: 1.0, 3: 1.1395470994, 4: 5.4, 6: 91.414247, 8: 3091.02294},
}
NAMES = sorted(ORACLES)
STANDARD = [name for name in NAMES if name != "exponential_uncentred"]
INVERTED = [name for name in NAMES if name != "gaussian"]  # the Gaussian comes from torch.randn
SIZE = 2**19
EXTREME_UNIFORMS = [0.0, 2.0**-53, 2.0**-52, 0.5, 1.0 - 2.0**-52, 1.0 - 2.0**-53]  # torch.rand's range in float64


def draw(name: str, size: int = SIZE, seed: int = 0, **options: Any) -> torch.Tensor:
    return make_noise(name).sample((size,), torch.Generator().manual_seed(seed), **options)


def feed_uniforms(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Make torch.rand return these values, so that `sample` returns exact quantiles."""

    def rand(shape: Any, *, dtype: torch.dtype, **_: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype).reshape(shape)

    monkeypatch.setattr(torch, "rand", rand)


def quantiles(monkeypatch: pytest.MonkeyPatch, name: str, uniforms: list[float], **options: Any) -> torch.Tensor:
    feed_uniforms(monkeypatch, uniforms)
    return make_noise(name).sample((len(uniforms),), **options)


def moment_claimed(noise: Noise, order: int) -> float:
    """E (x - mean)^order of a noise of variance 1 by its attributes; order 1 is the mean itself."""
    return {1: noise.mean, 2: noise.variance, 3: noise.skewness, 4: noise.excess_kurtosis + 3.0}[order]


def moment_sampled(x: torch.Tensor, mean: float, order: int) -> float:
    return float(x.mean()) if order == 1 else float(((x - mean) ** order).mean())


def standard_error(name: str, order: int, size: int) -> float:
    """Of the mean of z^k over `size` draws: sqrt(Var(z^k) / size), Var(z^k) = E z^2k - (E z^k)^2, z centred."""
    moments = {1: 0.0, **CENTRAL_MOMENTS[name]}
    return math.sqrt((moments[2 * order] - moments[order] ** 2) / size)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A copy of the registry, thrown away after the test, with no entry points around it."""
    copy = dict(ngldm.noise.registry._REGISTRY)
    monkeypatch.setattr(ngldm.noise.registry, "_REGISTRY", copy)
    monkeypatch.setattr(ngldm.noise.registry, "entry_points", lambda group: [])
    return copy


# Moments and shape


def test_the_papers_noises_are_registered(registry: dict) -> None:
    assert set(NAMES) < set(noise_names())


@pytest.mark.parametrize("name", NAMES)
def test_moments_equal_closed_form(name: str) -> None:
    noise = make_noise(name)
    mean, variance, skewness, excess_kurtosis = (float(v) for v in ORACLES[name].stats("mvsk"))
    assert noise.mean == pytest.approx(mean, abs=1e-12)
    assert noise.variance == pytest.approx(variance, rel=1e-12)
    assert noise.skewness == pytest.approx(skewness, abs=1e-9)
    assert noise.excess_kurtosis == pytest.approx(excess_kurtosis, abs=1e-9)


@pytest.mark.parametrize("name", STANDARD)
def test_fair_noise_has_mean_0_and_variance_1(name: str) -> None:
    noise = make_noise(name)
    assert noise.mean == 0.0
    assert noise.variance == pytest.approx(1.0, rel=1e-15)


def test_uncentred_exponential_has_mean_1_and_the_shape_of_the_centred_one() -> None:
    uncentred, centred = make_noise("exponential_uncentred"), make_noise("exponential")
    assert (uncentred.mean, uncentred.variance) == (1.0, 1.0)
    assert (uncentred.skewness, uncentred.excess_kurtosis) == (centred.skewness, centred.excess_kurtosis)
    x = draw("exponential_uncentred")
    assert float(x.mean()) == pytest.approx(1.0, abs=5 / math.sqrt(SIZE))
    assert float(x.min()) >= 0.0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_claimed_moments(name: str, order: int) -> None:
    """Mean, variance, third and fourth standardised moment of 2^19 draws, within 5 standard errors."""
    noise = make_noise(name)
    sampled = moment_sampled(draw(name, seed=order, dtype=torch.float64), noise.mean, order)
    assert sampled == pytest.approx(moment_claimed(noise, order), abs=5 * standard_error(name, order, SIZE))


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_distribution(name: str) -> None:
    """Kolmogorov-Smirnov: P(D > k / sqrt(n)) is about 2 exp(-2 k^2), 7e-6 for k = 2.5."""
    size = 100_000
    x = draw(name, size, seed=11, dtype=torch.float64).numpy()
    assert stats.kstest(x, ORACLES[name].cdf).statistic < 2.5 / math.sqrt(size)


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_independent_within_a_tensor(name: str) -> None:
    """Neighbours are uncorrelated along both axes: for independent draws the estimate has variance 1 / n."""
    x = make_noise(name).sample((512, 512), torch.Generator().manual_seed(3)) - make_noise(name).mean
    for product in (x[1:] * x[:-1], x[:, 1:] * x[:, :-1]):
        assert abs(float(product.mean())) < 5 / math.sqrt(product.numel())


@pytest.mark.parametrize("name", INVERTED)
def test_samples_are_the_quantiles_of_the_uniforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uniforms = [1e-9, 0.01, 0.25, 0.5, 0.75, 0.99, 1 - 1e-9]
    x = quantiles(monkeypatch, name, uniforms, dtype=torch.float64)
    # Gumbel in torch goes through uniforms scaled by 1 - 2^-52, which moves the quantile at 1 - 1e-9 by 2e-7.
    np.testing.assert_allclose(x.numpy(), ORACLES[name].ppf(uniforms), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "uniform", "quantile"),
    [
        ("laplace", 0.75, 0.4901290717342735),  # ln 2 / sqrt 2: scale sigma / sqrt 2
        ("laplace", 0.25, -0.4901290717342735),
        ("exponential", 0.0, -1.0),  # the rate is 1 / sigma, sigma is subtracted
        ("exponential", 0.5, -0.3068528194400547),  # ln 2 - 1
        ("exponential_uncentred", 0.5, 0.6931471805599453),
        ("uniform", 0.0, -1.7320508075688772),
        ("uniform", 1.0 - 2.0**-53, 1.7320508075688772),
        ("gumbel", 0.36787944117144233, -0.45005320754569466),  # F(mu) = 1/e, mu = -gamma sqrt(6) / pi
        ("gumbel", 0.5, -0.16428425575735861),  # a Gumbel of maxima: median below the mean
    ],
)
def test_appendix_b_in_numbers(name: str, uniform: float, quantile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert float(quantiles(monkeypatch, name, [uniform], dtype=torch.float64)) == pytest.approx(quantile, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(location=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_standardising_removes_location_and_scale(location: float, scale: float) -> None:
    """The same draws come from any member of a location-scale family."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngldm.noise.registry, "_REGISTRY", dict(ngldm.noise.registry._REGISTRY))
        parameters = torch.tensor([location, scale], dtype=torch.float64)
        register("moved")(lambda: Base(Laplace(*parameters), skewness=0.0, excess_kurtosis=3.0))
        moved = draw("moved", 100, dtype=torch.float64)
    torch.testing.assert_close(moved, draw("laplace", 100, dtype=torch.float64), rtol=1e-9, atol=1e-9)


# Numbers: reproducible, of the right type, finite


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
    x = draw(name, 10_000, dtype=dtype)
    assert x.dtype == dtype
    assert torch.equal(x, draw(name, 10_000, dtype=torch.float64).to(dtype))
    if dtype == torch.bfloat16:
        assert torch.equal(x, draw(name, 10_000, dtype=torch.float32).bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", INVERTED)
def test_extreme_uniforms_give_finite_noise(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x = quantiles(monkeypatch, name, EXTREME_UNIFORMS, dtype=dtype)
    assert bool(torch.isfinite(x).all())
    assert bool((x.diff() >= 0).all())


@pytest.mark.parametrize("name", ["exponential", "laplace", "gumbel"])
def test_tails_reach_beyond_float32_uniforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 24-bit uniform cuts the upper tail at the quantile of 1 - 2^-24."""
    farthest = float(quantiles(monkeypatch, name, EXTREME_UNIFORMS)[-1])
    assert farthest > ORACLES[name].ppf(1 - 2.0**-50) > 1.9 * ORACLES[name].ppf(1 - 2.0**-24)


@pytest.mark.parametrize("name", NAMES)
def test_a_million_bfloat16_draws_are_finite(name: str) -> None:
    assert bool(torch.isfinite(draw(name, 10**6, seed=8, dtype=torch.bfloat16)).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: draws there come from its generator")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_draws_on_the_device_reproducibly_with_the_claimed_moments(name: str) -> None:
    noise, generator = make_noise(name), torch.Generator("cuda").manual_seed(2)
    x = noise.sample((SIZE,), generator, "cuda", torch.float64)
    assert x.device.type == "cuda"
    assert bool(torch.isfinite(x).all())
    for order in (1, 2, 3, 4):
        bound = 5 * standard_error(name, order, SIZE)
        assert moment_sampled(x, noise.mean, order) == pytest.approx(moment_claimed(noise, order), abs=bound)
    generator.manual_seed(2)
    assert torch.equal(noise.sample((SIZE,), generator, "cuda", torch.bfloat16), x.to(torch.bfloat16))


# Registry


def test_unknown_name_lists_the_choices(registry: dict) -> None:
    with pytest.raises(InputError, match=r"unknown noise 'cauchy'; choose one of: arcsine, .*, laplace, .*, weibull"):
        make_noise("cauchy")


def test_unknown_parameter_is_named() -> None:
    with pytest.raises(InputError, match="noise 'laplace' has no parameter 'width'; it has: none"):
        make_noise("laplace", {"width": 2.0})


@pytest.fixture
def student(registry: dict) -> dict:
    """StudentT, drawn by torch's own sampler since it has no icdf; `df` required, `loc` not."""

    @register("student")
    def factory(df: float, loc: float = 0.0) -> Base:
        # torch turns its validation off in the whole process once torch.compile has been used
        distribution = StudentT(torch.tensor(df, dtype=torch.float64), loc, validate_args=True)
        return Base(distribution, 0.0, 6 / (df - 4), draw=lambda shape, generator, device: distribution.sample(shape))

    return registry


@pytest.mark.usefixtures("student")
class TestParameters:
    def test_are_kept_and_standardised(self) -> None:
        noise = make_noise("student", {"df": 10.0, "loc": 7.0})
        assert noise.params == {"df": 10.0, "loc": 7.0}
        assert (noise.name, noise.mean, noise.excess_kurtosis) == ("student", 0.0, 1.0)
        assert noise.variance == pytest.approx(1.0, rel=1e-12)

    def test_a_missing_one_is_named(self) -> None:
        with pytest.raises(InputError, match="noise 'student' needs the parameter 'df'"):
            make_noise("student", {"loc": 1.0})

    def test_an_unknown_one_is_named_with_the_known_ones(self) -> None:
        with pytest.raises(InputError, match="noise 'student' has no parameter 'dof'; it has: df, loc"):
            make_noise("student", {"dof": 10.0})

    def test_one_that_the_distribution_rejects_is_an_input_error(self) -> None:
        with pytest.raises(InputError, match=r"noise 'student' does not accept \{'df': -1\.0\}"):
            make_noise("student", {"df": -1.0})

    @pytest.mark.parametrize("df", [1.0, 1.5, 2.0])
    def test_infinite_variance_is_refused(self, df: float) -> None:
        with pytest.raises(InputError, match="finite, positive variance"):
            make_noise("student", {"df": df})


def test_distribution_without_mean_is_refused(registry: dict) -> None:
    register("cauchy")(lambda: Base(Cauchy(0.0, 1.0), skewness=0.0, excess_kurtosis=0.0))
    with pytest.raises(InputError, match=r"noise 'cauchy' with \{\} has mean nan"):
        make_noise("cauchy")


def test_distribution_without_icdf_needs_a_draw(registry: dict) -> None:
    register("student_without_draw")(lambda: Base(StudentT(torch.tensor(5.0)), skewness=0.0, excess_kurtosis=6.0))
    with pytest.raises(InputError, match="'student_without_draw': StudentT has no icdf; register it with a `draw`"):
        make_noise("student_without_draw")


def test_constant_is_refused(registry: dict) -> None:
    register("never")(lambda: Base(Bernoulli(0.0), skewness=0.0, excess_kurtosis=0.0))
    with pytest.raises(InputError, match=r"noise 'never' with \{\} has mean 0.0 and variance 0.0"):
        make_noise("never")


CELL = """
from torch.distributions import Laplace
from ngldm.noise import Base, register

@register("mine")
def mine(scale=1.0):
    return Base(Laplace({loc}, scale), skewness=0.0, excess_kurtosis={kurtosis})
"""


def run_cell(module: str = "__main__", name: str = "mine", loc: float = 0.0, kurtosis: float = 3.0) -> None:
    exec(CELL.format(loc=loc, kurtosis=kurtosis).replace('"mine"', f'"{name}"'), {"__name__": module})


def test_a_notebooks_cell_that_runs_again_replaces_its_own_noise(registry: dict) -> None:
    run_cell(loc=1.0)
    assert make_noise("mine").shift == 1.0
    run_cell(loc=2.0)
    assert make_noise("mine").shift == 2.0
    assert noise_names().count("mine") == 1


def test_what_replaces_a_checked_noise_is_checked_too(registry: dict) -> None:
    run_cell()
    make_noise("mine")
    run_cell(kurtosis=0.0)
    with pytest.raises(InputError, match=r"'mine'.*declared one is 0\.0000"):
        make_noise("mine")


@pytest.mark.parametrize(("module", "name"), [("__main__", "laplace"), ("other", "mine")])
def test_the_name_of_another_function_is_refused_and_keeps_the_first(registry: dict, module: str, name: str) -> None:
    run_cell()
    before = registry[name]
    owner = {"laplace": r"ngldm\.noise\.\w+\.laplace", "mine": r"__main__\.mine"}[name]
    with pytest.raises(InputError, match=f"'{name}' is registered already, by {owner}; choose another name"):
        run_cell(module, name)
    assert registry[name] is before


def test_a_model_trained_before_its_noise_was_registered_again_still_loads(registry: dict, tmp_path: Path) -> None:
    config = {
        "noise": {"name": "mine", "params": {"scale": 2.0}},
        "schedule": {"num_train_timesteps": 10},
        "diffusion": {},
        "unet": {"widths": [8], "attention_levels": []},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 4, 4),
    }
    run_cell()
    Model.build(config).save(tmp_path / "model.safetensors")
    run_cell()
    noise = load_model(tmp_path / "model.safetensors").diffusion.noise
    assert (noise.name, noise.params, noise.excess_kurtosis) == ("mine", {"scale": 2.0}, 3.0)
    assert noise.base is not make_noise("mine").base


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


def use_entry_point(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint("mine", value, group)] if group == "ngldm.noises" else []

    monkeypatch.setattr(ngldm.noise.registry, "entry_points", entry_points)


def test_broken_entry_point_is_named(registry: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    use_entry_point(monkeypatch, "no_such_module_at_all")
    with pytest.raises(InputError, match=r"'mine' .*'ngldm\.noises' \(no_such_module_at_all\) cannot be imported"):
        make_noise("not_built_in")
    assert make_noise("laplace").name == "laplace"  # built-in noises do without it


def test_entry_point_adds_a_noise(registry: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ngldm_test_plugin.py").write_text(
        "from torch.distributions import Laplace\n"
        "from ngldm.noise import Base, register\n"
        "@register('plugged')\n"
        "def plugged(loc=0.0):\n"
        "    return Base(Laplace(loc, 2.0), skewness=0.0, excess_kurtosis=3.0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ngldm_test_plugin", raising=False)
    use_entry_point(monkeypatch, "ngldm_test_plugin")
    noise = make_noise("plugged", {"loc": 3.0})
    assert (noise.mean, noise.excess_kurtosis) == (0.0, 3.0)
    assert noise.variance == pytest.approx(1.0, rel=1e-12)
    assert "plugged" in noise_names()
    monkeypatch.delitem(sys.modules, "ngldm_test_plugin")
