"""The registry: what it refuses, what it replaces, entry points of other packages."""

import math
import sys
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, Cauchy, Exponential, StudentT

import ngldm.io.registry
from ngldm.io.errors import InputError
from ngldm.noise import Base, Noise, make_noise, noise_names, register

PAPER = {"gaussian", "laplace", "exponential", "exponential_uncentred", "uniform", "gumbel"}
SIZE = 2**15


def test_the_papers_noises_are_registered(registry: dict) -> None:
    assert set(noise_names()) > PAPER


def test_making_a_noise_keeps_the_callers_lists_and_the_global_generator() -> None:
    params = {"weights": [0.5, 0.5], "means": [-1.0, 2.0], "stds": [1.0, 1.0]}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    noise = make_noise("gaussian_mixture", params)
    params["means"][0] = 7.0
    assert noise.params["means"] == [-1.0, 2.0]
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in noise_names() if isinstance(make_noise(name), Noise)])
def test_every_registered_noise_draws_reproducibly_with_its_declared_moments(name: str) -> None:
    """Mean within 5 standard errors; the file's laws above check the rest."""
    noise = make_noise(name)
    x, again = (noise.sample((SIZE,), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(x, again)
    assert x.dtype == torch.float32
    assert float(x.double().mean()) == pytest.approx(noise.mean, abs=5 / math.sqrt(SIZE))
    assert noise.sample((2, 3), dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("name", [name for name in noise_names() if isinstance(make_noise(name), Noise)])
def test_a_noise_that_was_made_and_used_without_gradients_has_them_later(name: str) -> None:
    """The gradients are those of a noise that was never in torch's inference mode."""
    with torch.inference_mode():
        noise = make_noise(name)
    fresh = make_noise(name)
    for function in ("log_prob", "stein", "icdf"):
        gradients = []
        for one in (noise, fresh):
            x = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
            try:
                if one is noise:
                    with torch.inference_mode():
                        getattr(one, function)(x.detach())
                value = getattr(one, function)(x)
            except InputError:
                continue  # it has no such function
            if value.requires_grad:
                gradients.append(torch.autograd.grad(value.sum(), x)[0])
        assert len(gradients) != 1
        for gradient in gradients:
            torch.testing.assert_close(gradient, gradients[-1], equal_nan=True)


def test_unknown_name_lists_the_choices(registry: dict) -> None:
    with pytest.raises(InputError, match=r"unknown noise 'cauchyy'; choose one of: annealed, .*, laplace, .*, weibull"):
        make_noise("cauchyy")


@pytest.mark.parametrize("name", ["cauchy", "half_cauchy", "levy"])
def test_a_law_without_a_mean_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InputError, match=rf"noise '{name}': its mean does not exist or is infinite.* isotropic_stable"):
        make_noise(name)


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


def test_double_registration_is_refused_and_keeps_the_first(registry: dict) -> None:
    before = registry["laplace"]
    with pytest.raises(InputError, match=r"'laplace' is registered already, by ngldm\.noise"):
        register("laplace")(lambda: Base(Exponential(1.0), skewness=2.0, excess_kurtosis=6.0))
    assert registry["laplace"] is before


def test_running_a_cell_again_replaces_the_function(registry: dict) -> None:
    """The same function, edited: its first version is forgotten, and the new one's draws are checked anew."""

    def define(skewness: float) -> None:
        @register("cell")
        def cell() -> Base:
            return Base(Exponential(1.0), skewness=skewness, excess_kurtosis=6.0)

    define(2.0)
    assert make_noise("cell").skewness == 2.0
    define(0.0)
    with pytest.raises(InputError, match=r"'cell': .* skewness"):
        make_noise("cell")


def test_what_was_typed_in_a_notebook_may_take_another_functions_name(registry: dict) -> None:
    for skewness in (2.0, 2.0):
        factory = lambda s=skewness: Base(Exponential(1.0), skewness=s, excess_kurtosis=6.0)  # noqa: E731
        factory.__module__, factory.__qualname__ = "__main__", f"version_{id(factory)}"
        register("typed")(factory)
    assert make_noise("typed").skewness == 2.0


def use_entry_point(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint("mine", value, group)] if group == "ngldm.noises" else []

    monkeypatch.setattr(ngldm.io.registry, "entry_points", entry_points)


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


def normal() -> Base:
    return Base(torch.distributions.Normal(torch.tensor(1.0), torch.tensor(2.0)), skewness=0.0, excess_kurtosis=0.0)


@pytest.mark.parametrize("name", [normal, 3, None, ""])
def test_a_decorator_without_a_name_says_so(registry: dict, name: object) -> None:
    before = set(registry)
    with pytest.raises(InputError, match="is not a name; write @register"):
        register(name)
    assert set(registry) == before


class Callable:
    def __call__(self) -> Base:
        return normal()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("make", [lambda: partial(normal), Callable], ids=["partial", "object"])
def test_partials_and_objects_can_be_registered_again_but_take_no_others_name(make) -> None:
    for _ in range(2):
        register("mine")(make())
    assert make_noise("mine").name == "mine"
    with pytest.raises(InputError, match="noise 'mine' is registered already, by "):
        register("mine")(lambda: normal())


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("made", [None, torch.distributions.Normal(torch.tensor(0.0), torch.tensor(1.0))])
def test_a_function_that_returns_no_base_is_named(made: object) -> None:
    register("mine")(lambda: made)
    with pytest.raises(InputError, match=f"noise 'mine': its function returns a {type(made).__name__}"):
        make_noise("mine")


@pytest.mark.parametrize("params", ["x", 3, [("a", 1)]])
def test_params_that_are_no_mapping_are_refused(params: object) -> None:
    with pytest.raises(InputError, match="is no mapping"):
        make_noise("laplace", params)


@pytest.mark.parametrize("name", [None, 3, []])
def test_a_name_that_is_no_string_is_unknown(name: object) -> None:
    with pytest.raises(InputError, match="unknown noise"):
        make_noise(name)
