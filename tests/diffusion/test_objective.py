"""The forward process and the training loss, against diffusers and closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ngldm.diffusion.objective import Objective, add_noise, predict_eps, predict_x0, velocity
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import Noise, make_noise
from ngldm.sampling.denoiser import make_denoiser

# name: mean, E eps^2, excess kurtosis about the mean, Var(eps^2). The last is E eps^4 - (E eps^2)^2.
MOMENTS = {
    "gaussian": (0.0, 1.0, 0.0, 2.0),
    "laplace": (0.0, 1.0, 3.0, 5.0),
    "exponential": (0.0, 1.0, 6.0, 8.0),
    "exponential_uncentred": (1.0, 2.0, 6.0, 20.0),  # E eps^k = k!
    "uniform": (0.0, 1.0, -1.2, 0.8),
    "gumbel": (0.0, 1.0, 2.4, 4.4),
}
NAMES = sorted(MOMENTS)
T = 50
SCHEDULE = make_schedule("linear", T, 1e-3, 0.2)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def eps_loss(model: Callable, schedule: Schedule, noise: Noise, x0: Tensor, generator: torch.Generator) -> Tensor:
    """The paper's: one draw of D, eps predicted."""
    return Diffusion.make(noise, schedule).loss(model, x0, generator)


# The forward process


@pytest.mark.parametrize("name", ["linear", "quadratic", "cosine"])
def test_add_noise_is_diffusers(name: str) -> None:
    """At every t of 1..1000, which diffusers counts from 0.

    Its abar_t is float32: rounding to 2^-24 shifts sqrt(1 - abar_t) by 2^-25 / sqrt(1 - abar_t), 5e-6 at most (at
    t = 1, where 1 - abar_t is 4e-5), and values reach 5.
    """
    names = {"linear": "linear", "quadratic": "scaled_linear", "cosine": "squaredcos_cap_v2"}
    scheduler = DDPMScheduler(1000, beta_schedule=names[name])
    x0, eps, t = normal(1000, 2, 3, 4), normal(1000, 2, 3, 4, seed=1), torch.arange(1, 1001)
    theirs = scheduler.add_noise(x0, eps, t - 1)
    torch.testing.assert_close(add_noise(make_schedule(name, 1000), x0, eps, t), theirs, rtol=0, atol=2.5e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_add_noise_by_hand(dtype: torch.dtype) -> None:
    """abar = 1, 0.64, 0.0576: x_t = x0, 0.8 x0 + 0.6 eps, 0.24 x0 + sqrt(0.9424) eps."""
    schedule = Schedule.from_betas(torch.tensor([0.36, 0.91], dtype=torch.float64))
    x0, eps = torch.full((3, 1, 1, 2), 10.0, dtype=dtype), torch.full((3, 1, 1, 2), 1.0, dtype=dtype)
    x = add_noise(schedule, x0, eps, torch.tensor([0, 1, 2]))
    assert x.dtype == dtype
    assert x[:, 0, 0, 0].tolist() == pytest.approx([10.0, 8.6, 2.4 + math.sqrt(0.9424)], rel=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 3, 3)])
def test_each_item_has_its_own_t(shape: tuple) -> None:
    x0, eps, t = normal(*shape), normal(*shape, seed=1), torch.tensor([1, 7, 0, T])
    together = add_noise(SCHEDULE, x0, eps, t)
    for i in range(4):
        assert torch.equal(together[i : i + 1], add_noise(SCHEDULE, x0[i : i + 1], eps[i : i + 1], t[i : i + 1]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-3)])
class TestInversion:
    """Rounding of x_t is divided by sqrt(abar_T) = 0.06 for x0, and by sqrt(1 - abar_1) = 0.03 for eps."""

    def test_predict_x0_inverts_add_noise_for_t_from_0(self, dtype: torch.dtype, tolerance: float) -> None:
        t = torch.arange(T + 1)
        x0, eps = normal(T + 1, 3, 2, 2, dtype=dtype), normal(T + 1, 3, 2, 2, seed=1, dtype=dtype)
        recovered = predict_x0(SCHEDULE, add_noise(SCHEDULE, x0, eps, t), eps, t)
        torch.testing.assert_close(recovered, x0, rtol=0, atol=tolerance)

    def test_predict_eps_inverts_add_noise_for_t_from_1(self, dtype: torch.dtype, tolerance: float) -> None:
        t = torch.arange(1, T + 1)
        x0, eps = normal(T, 3, 2, 2, dtype=dtype), normal(T, 3, 2, 2, seed=1, dtype=dtype)
        recovered = predict_eps(SCHEDULE, add_noise(SCHEDULE, x0, eps, t), x0, t)
        torch.testing.assert_close(recovered, eps, rtol=0, atol=tolerance)


@pytest.mark.parametrize("t", [1, T // 2, T])
@pytest.mark.parametrize("name", NAMES)
def test_mean_and_variance_of_x_t(name: str, t: int) -> None:
    """x_t has mean sqrt(abar_t) x0 + sqrt(1 - abar_t) E eps and variance 1 - abar_t, for every D of variance 1.

    Standard errors over n draws: sqrt(1 - abar_t) / sqrt(n), and (1 - abar_t) sqrt((excess kurtosis + 2) / n).
    """
    n, x0 = 2**17, 3.0
    mean, _, excess_kurtosis, _ = MOMENTS[name]
    eps = make_noise(name).sample((1, n), generator(t), dtype=torch.float64)
    x = add_noise(SCHEDULE, torch.full((1, n), x0, dtype=torch.float64), eps, torch.tensor([t]))
    abar = math.prod(1 - float(beta) for beta in SCHEDULE.betas[: t + 1])
    expected = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * mean
    assert float(x.mean()) == pytest.approx(expected, abs=5 * math.sqrt((1 - abar) / n))
    bound = 5 * math.sqrt((excess_kurtosis + 2) / n)
    assert float(((x - expected) ** 2).mean()) / (1 - abar) == pytest.approx(1.0, abs=bound)


# The loss


def zero_model(x: Tensor, t: Tensor) -> Tensor:
    return torch.zeros_like(x)


def exact_model(x0: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Knows x0, hence eps = (x_t - sqrt(abar_t) x0) / sqrt(1 - abar_t)."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        abar = SCHEDULE.alphas_cumprod[t][:, None, None, None]
        return ((x.double() - abar.sqrt() * x0) / (1 - abar).sqrt()).to(x.dtype)

    return model


class Recorder:
    """Predicts 0 and keeps what it was given."""

    def __init__(self) -> None:
        self.x, self.t = torch.empty(0), torch.empty(0)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.x, self.t = x, t
        return torch.zeros_like(x)


@pytest.mark.parametrize("name", NAMES)
def test_loss_of_predicting_0_is_the_second_moment(name: str) -> None:
    """Standard error sqrt(Var(eps^2) / n) over all n numbers of the batch."""
    _, second, _, variance = MOMENTS[name]
    x0 = normal(1024, 2, 8, 8, dtype=torch.float32)
    loss = eps_loss(zero_model, SCHEDULE, make_noise(name), x0, generator(4))
    assert (loss.shape, loss.dtype) == ((1024,), torch.float32)
    assert float(loss.double().mean()) == pytest.approx(second, abs=5 * math.sqrt(variance / x0.numel()))


@pytest.mark.parametrize("name", NAMES)
def test_loss_of_the_exact_prediction_is_0(name: str) -> None:
    """Up to float32 rounding of x_t (a few 2^-24, numbers up to 20), divided by sqrt(1 - abar_1) = 0.03, squared."""
    x0 = normal(256, 3, 4, 4, dtype=torch.float32)
    loss = eps_loss(exact_model(x0), SCHEDULE, make_noise(name), x0, generator(5))
    assert float(loss.max()) < 1e-8


def test_loss_is_per_image() -> None:
    """A prediction off by c_i throughout image i has loss c_i^2."""
    x0, c = normal(6, 1, 4, 4, dtype=torch.float32), torch.arange(6.0)
    exact = exact_model(x0)
    loss = eps_loss(
        lambda x, t: exact(x, t) + c[:, None, None, None], SCHEDULE, make_noise("laplace"), x0, generator(6)
    )
    torch.testing.assert_close(loss, c**2, rtol=1e-4, atol=1e-6)


def test_loss_shows_the_model_one_draw_of_D() -> None:
    """The model sees add_noise(x0, eps, t) with the very eps and t that the generator gives."""
    x0, model, noise = normal(5, 2, 3, 3, dtype=torch.float32), Recorder(), make_noise("gumbel")
    loss = eps_loss(model, SCHEDULE, noise, x0, generator(7))
    eps = predict_eps(SCHEDULE, model.x.double(), x0.double(), model.t)
    torch.testing.assert_close(loss.double(), (eps**2).mean((1, 2, 3)), rtol=1e-4, atol=0)


def test_loss_covers_t_uniformly_from_1_to_T() -> None:
    """Each of T values comes n / T times, standard error sqrt(n (1/T) (1 - 1/T)); both ends included, 0 never."""
    n, model = 200 * T, Recorder()
    eps_loss(model, SCHEDULE, make_noise("uniform"), torch.zeros(n, 1, 1, 1), generator(8))
    assert model.t.shape == (n,)
    assert (int(model.t.min()), int(model.t.max())) == (1, T)
    counts = model.t.bincount(minlength=T + 1)[1:].double()
    assert float((counts - n / T).abs().max()) < 5 * math.sqrt(n / T * (1 - 1 / T))


def test_loss_with_one_timestep_uses_it() -> None:
    model = Recorder()
    eps_loss(model, make_schedule("linear", 1), make_noise("laplace"), torch.zeros(9, 1, 2, 2), generator(0))
    assert model.t.tolist() == [1] * 9


@pytest.mark.parametrize("name", NAMES)
def test_loss_follows_from_the_generator(name: str) -> None:
    """t, eps and the loss; the global generator plays no part."""
    x0, noise = normal(8, 1, 4, 4, dtype=torch.float32), make_noise(name)

    def run(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        model = Recorder()
        loss = eps_loss(model, SCHEDULE, noise, x0, generator(seed))
        return loss, model.x, model.t

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(first, other, strict=True))


def test_loss_of_a_bfloat16_prediction_is_float32() -> None:
    """As under autocast: the prediction is widened before it is compared with float32 noise."""
    x0 = normal(16, 1, 4, 4, dtype=torch.float32)
    loss = eps_loss(lambda x, t: zero_model(x, t).bfloat16(), SCHEDULE, make_noise("laplace"), x0, generator(3))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, eps_loss(zero_model, SCHEDULE, make_noise("laplace"), x0, generator(3)))


def test_loss_has_a_gradient() -> None:
    """d/dw mean (w - eps)^2 = 2 (w - mean eps) for a model that predicts the constant w."""
    w = torch.tensor(0.7, requires_grad=True)
    x0 = torch.zeros(4, 1, 8, 8)
    eps_loss(lambda x, t: w.expand_as(x), SCHEDULE, make_noise("laplace"), x0, generator(9)).mean().backward()
    recorder = Recorder()
    eps_loss(recorder, SCHEDULE, make_noise("laplace"), x0, generator(9))
    eps = predict_eps(SCHEDULE, recorder.x, x0, recorder.t)
    assert float(w.grad) == pytest.approx(2 * (0.7 - float(eps.mean())), rel=1e-4)


# Targets and weightings

HUNDRED = make_schedule("linear", 100, 1e-3, 0.2)  # T = 100


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", ["laplace", "exponential"])
def test_the_exact_prediction_costs_nothing_and_gives_x0_and_eps_back(name: str, target: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, t = torch.randn(8, 1, 3, 3, generator=generator, dtype=torch.float64), torch.arange(1, 97, 12)
    eps = make_noise(name).sample(x0.shape, generator, dtype=torch.float64)
    x, v = add_noise(HUNDRED, x0, eps, t), velocity(HUNDRED, x0, eps, t)
    output = {"eps": eps, "x0": x0, "v": v}[target]
    torch.testing.assert_close(predict_x0(HUNDRED, x, output, t, target), x0, rtol=1e-9, atol=1e-9)
    one = make_denoiser(lambda *_: output[:1], HUNDRED, target)(x[:1], 1)
    torch.testing.assert_close(one.x0, x0[:1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.eps, eps[:1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
def test_a_weighting_counts_an_error_the_same_whatever_the_target(weighting: str) -> None:
    """Errors of x_0, eps and v at one x_t are tied by x_t: the weighted squares must agree."""
    x0, error = torch.randn(1, 4, dtype=torch.float64), 0.1
    for t in (1, 10, 60, 100):
        at = torch.tensor([t])
        eps = torch.randn(1, 4, dtype=torch.float64)
        x = add_noise(HUNDRED, x0, eps, at)
        wrong_x0 = x0 + error
        wrong_eps = predict_eps(HUNDRED, x, wrong_x0, at)
        errors = {
            "x0": error**2,
            "eps": float((wrong_eps - eps).square().mean()),
            "v": float((velocity(HUNDRED, wrong_x0, wrong_eps, at) - velocity(HUNDRED, x0, eps, at)).square().mean()),
        }
        weighted = [errors[k] * float(Objective(k, weighting, 2.0).weights(HUNDRED)[t]) for k in errors]
        assert weighted == pytest.approx([weighted[0]] * 3, rel=1e-9)


def test_min_snr_is_the_smaller_of_snr_and_gamma_on_x0() -> None:
    abar = HUNDRED.alphas_cumprod[1:]
    expected = (abar / (1 - abar)).clamp(max=5.0)
    torch.testing.assert_close(Objective("x0", "min_snr", 5.0).weights(HUNDRED)[1:], expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_p2_is_choi_et_al(gamma: float) -> None:
    """1 / (1 + SNR)^gamma on the error of eps, with 1 + SNR = 1 / (1 - abar); on x_0 SNR times that."""
    abar = HUNDRED.alphas_cumprod[1:]
    for target, expected in (
        ("eps", (1 - abar) ** gamma),
        ("x0", abar * (1 - abar) ** (gamma - 1)),
        ("v", abar * (1 - abar) ** gamma),
    ):
        torch.testing.assert_close(Objective(target, "p2", gamma).weights(HUNDRED)[1:], expected)


@pytest.mark.parametrize(("weighting", "gamma"), [("min_snr", 5.0), ("p2", 1.0)])
def test_without_a_gamma_each_weighting_has_its_own(weighting: str, gamma: float) -> None:
    ours, usual = (Objective("x0", weighting, value).weights(HUNDRED) for value in (None, gamma))
    assert torch.equal(ours, usual)


def test_weights_reach_the_loss() -> None:
    x0 = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(1))

    def loss(weighting: str) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        diffusion = Diffusion.make(make_noise("laplace"), HUNDRED, objective="x0", weighting=weighting)
        return diffusion.loss(lambda x, t: torch.zeros_like(x), x0, generator)

    t = torch.randint(1, 101, (64,), generator=torch.Generator().manual_seed(2))
    weights_of_t = Objective("x0", "min_snr").weights(HUNDRED)[t].float()
    torch.testing.assert_close(loss("min_snr"), loss("none") * weights_of_t)
    torch.testing.assert_close(loss("none"), x0.square().flatten(1).mean(1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("score",), "objective 'score'"), (("eps", "snr"), "weighting 'snr'"), (("eps", "none", 0.0), "gamma: 0.0")],
)
def test_bad_objectives_are_named(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Objective(*arguments)


def test_u_needs_a_flow_at_the_last_t() -> None:
    """d/dt of (cos^2)^(1/alpha) and of (1 - cos^2)^(1/alpha) is 0 where the cosine is 0, so u would be 0 there."""
    with pytest.raises(InputError, match=r"diffusion\.objective: 'u' cannot be used with schedule\.name 'stable'"):
        Objective("u").check(make_schedule("stable", 10, zero_terminal_snr=True))
    Objective("u").check(make_schedule("stable", 10))
    Objective("v").check(make_schedule("stable", 10, zero_terminal_snr=True))
