"""The head that learns K_bar: which noises get one, where its loss is minimal, and that the rest learns as before."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.diffusion.stein_head import SteinHead
from ngldm.io.errors import InputError
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise
from ngldm.noise.law import draw_with_stein

SCHEDULE = make_schedule("linear", 50)
SMALL = UNetSettings(widths=(8, 8), blocks_per_level=1, attention_levels=())


def diffusion(noise: str, head: str = "none", **options: object) -> Diffusion:
    return Diffusion.make(make_noise(noise), SCHEDULE, stein_head=head, **options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("noise", "asked", "kind"),
    [
        ("laplace", "element", "element"),
        ("uniform", "element", "element"),
        ("laplace", "none", "none"),
        ("gaussian", "element", "none"),
        ("exponential", "element", "none"),
        ("gamma", "scalar", "none"),
    ],
)
def test_a_noise_gets_the_head_that_it_needs(noise: str, asked: str, kind: str) -> None:
    assert diffusion(noise, asked).stein_head.kind == kind


@pytest.mark.parametrize(
    ("noise", "asked", "options", "words"),
    [
        ("laplace", "pixel", {}, "unknown diffusion.stein_head 'pixel'; choose one of: element, none, scalar"),
        ("bernoulli", "element", {}, "no K is known for the noise 'bernoulli'; use none"),
        ("laplace", "scalar", {}, "use element"),
        ("laplace", "element", {"forward": "markov"}, "diffusion.forward marginal"),
    ],
)
def test_heads_that_cannot_learn_are_refused(noise: str, asked: str, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        diffusion(noise, asked, **options)


@pytest.mark.parametrize("noise", ["laplace", "uniform", "student_t", "gumbel"])
def test_the_loss_is_minimal_at_the_conditional_mean(noise: str) -> None:
    """One eps_hat, many K: the best K_hat is their mean, for bounded and heavy-tailed K alike."""
    head = SteinHead(make_noise(noise), "element")
    _, k = draw_with_stein(head.law, (4000, 1), generator())
    eps_hat, raw = torch.full((4000, 1), 0.7), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = head.loss(k, eps_hat, raw.expand(4000, 1)).mean() * 100.0
        loss.backward()
        return loss

    optimiser.step(closure)
    found = head.k_bar(eps_hat[:1], raw.detach().expand(1, 1))
    assert found is not None
    assert float(found) == pytest.approx(float(k.double().mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("noise", "n", "k"),
    [
        ("laplace", 0.7, (1 + math.sqrt(2.0) * 0.7) / 2),
        ("uniform", 0.7, (3 - 0.49) / 2),
        ("student_t", 0.7, (3 + 0.49) / 4),
    ],
)
def test_an_untrained_head_gives_k_at_the_predicted_noise(noise: str, n: float, k: float) -> None:
    head, eps = SteinHead(make_noise(noise), "element"), torch.full((2, 1, 3, 3), n)
    network = UNet(1, SMALL, 50, "element")
    prediction, raw = head.split(network(eps, torch.tensor([3, 4])), eps)
    assert prediction.shape == eps.shape
    torch.testing.assert_close(head.k_bar(eps, raw), torch.full_like(eps, k))


@pytest.mark.parametrize(("noise", "kind"), [("student_t", "element"), ("multivariate_t", "scalar")])
def test_a_prediction_far_out_gives_a_finite_k_and_loss(noise: str, kind: str) -> None:
    """K of t noise grows as n^2: at 10^25 it is beyond float32."""
    head, eps = SteinHead(make_noise(noise), kind), torch.full((2, 1, 3, 3), 1e25)
    raw = torch.full_like(eps, 8.0).requires_grad_()
    found = head.k_bar(eps, raw)
    assert found is not None
    assert found.isfinite().all()
    loss = head.loss(torch.ones_like(eps), eps, raw)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("noise", ["multivariate_t", "multivariate_laplace", "radial"])
def test_k_of_pure_noise_is_the_kernel(noise: str) -> None:
    """Where a_t = 0 and b_t = 1, eps_hat = x_t = n and K_bar = K(n): whatever the output is, if n has one scale."""
    head = SteinHead(make_noise(noise), "scalar")
    n, k = draw_with_stein(head.law, (200, 4), generator())
    reach = head.reach(n, torch.zeros(200, 1), torch.ones(200, 1))
    raw = torch.zeros(200, 1) if noise == "radial" else 9.0 * torch.randn(200, 1, generator=generator())
    found = head.k_bar(n, raw, reach)
    assert found is not None
    torch.testing.assert_close(found, k.clamp(min=0.1 if noise == "radial" else 0.01), rtol=1e-3, atol=0.0)


PLACES = torch.tensor([[-1.5, 0.4], [0.3, -0.6], [1.1, 1.0]], dtype=torch.float64)
DF = 3.0


def noised_places(signal: float, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """x_t of three atoms and t noise of unit variance, E[n | x_t] and E[K | x_t] by sums."""
    noise, rng = math.sqrt(1.0 - signal**2), np.random.default_rng(0)
    law = stats.multivariate_t(shape=np.eye(2) * (DF - 2.0) / DF, df=DF)
    x = signal * PLACES[rng.integers(3, size=count)].numpy() + noise * law.rvs(count, random_state=rng)
    n = (x[:, None] - signal * PLACES.numpy()) / noise
    weights = law.pdf(n)[..., None] / law.pdf(n).sum(1)[:, None, None]
    k = (weights * ((DF - 2.0 + (n**2).sum(2, keepdims=True)) / DF)).sum(1)
    return torch.from_numpy(x), torch.from_numpy((weights * n).sum(1)), torch.from_numpy(k)


@pytest.mark.parametrize("signal", [0.01, 0.3, 0.8, 0.99])
def test_a_shared_scale_can_have_every_k_bar_that_occurs_and_little_more_far_out(signal: float) -> None:
    head = SteinHead(make_noise("multivariate_t", {"df": DF}), "scalar")
    x, eps, k = noised_places(signal, 20_000)
    reach = head.reach(x, torch.tensor(signal), torch.tensor(math.sqrt(1.0 - signal**2)))
    lowest, highest = (head.k_bar(eps, torch.full_like(k, raw), reach) for raw in (-50.0, 50.0))
    assert lowest is not None
    assert highest is not None
    assert (lowest <= 1.0001 * k).all()
    assert (k <= 1.0001 * highest).all()
    far = x.norm(dim=1) > 40.0 * signal
    assert far.any() == (signal < 0.5)
    assert (highest / lowest)[far].le(1.3).all()


def test_without_a_head_nothing_changes() -> None:
    """The same draws and the same loss, whatever the law knows; a network that makes more is refused."""
    x0 = torch.randn(8, 1, 4, 4, generator=generator(1))
    for noise in ("laplace", "exponential", "bernoulli"):
        losses = [
            diffusion(noise).loss(lambda x, t: 0.3 * x, x0, generator()),
            0.0 * x0.flatten(1).mean(1),
        ]
        draw = generator()
        t = torch.randint(1, 51, (8,), generator=draw)
        eps = make_noise(noise).sample(x0.shape, draw)
        abar = SCHEDULE.alphas_cumprod[t].float().reshape(-1, 1, 1, 1)
        x_t = abar.sqrt() * x0 + (1.0 - abar).sqrt() * eps
        losses[1] = (0.3 * x_t - eps).square().flatten(1).mean(1)
        torch.testing.assert_close(losses[0], losses[1])
    with pytest.raises(InputError, match="returned shape"):
        diffusion("laplace").loss(lambda x, t: torch.cat([x, x], 1), x0, generator())


@pytest.mark.parametrize("objective", ["eps", "x0", "v"])
def test_the_body_of_the_network_learns_the_same_with_a_head(objective: str) -> None:
    """The same gradients of all weights that both networks have; the head's are not 0."""
    gradients = {}
    x0 = torch.randn(8, 1, 4, 4, generator=generator(1))
    for kind in ("none", "element"):
        torch.manual_seed(0)
        network = UNet(1, SMALL, 50, kind)
        for name, parameter in network.named_parameters():
            if not parameter.any() and not name.startswith("stein_head"):
                torch.nn.init.constant_(parameter, 0.01)
        diffusion("laplace", kind, objective=objective).loss(network, x0, generator()).mean().backward()
        gradients[kind] = {name: p.grad for name, p in network.named_parameters()}
    for name, gradient in gradients["none"].items():
        torch.testing.assert_close(gradients["element"][name], gradient)
    assert gradients["element"]["stein_head.out.weight"].abs().max() > 0.0


def test_a_head_learns_k_bar_of_normal_data() -> None:
    """x_0 standard normal and Laplace noise, at one t: K_bar(x) against quadrature with scipy's density.

    The network is a table over x, so that only the loss is tested.
    """
    process, t = diffusion("laplace", "element", objective="x0"), 25
    abar = float(SCHEDULE.alphas_cumprod[t])
    a, b = math.sqrt(abar), math.sqrt(1.0 - abar)
    n, k = draw_with_stein(process.noise, (400_000, 1), generator())
    x = a * torch.randn(400_000, 1, generator=generator(1)) + b * n
    for low in (-1.5, -0.5, 0.0, 1.0):
        inside = (x > low) & (x < low + 0.2)
        u = torch.linspace(-12.0, 12.0, 24001, dtype=torch.float64).numpy()
        at = (low + 0.1 - b * u) / a
        weights = stats.laplace(scale=math.sqrt(0.5)).pdf(u) * stats.norm.pdf(at)
        expected = float((weights * (1.0 + math.sqrt(2.0) * abs(u)) / 2.0).sum() / weights.sum())
        chosen = k[inside].reshape(-1, 1)
        raw = torch.full_like(chosen, math.log(expected / 0.5)).requires_grad_()  # the prior at eps_hat = 0 is 1 / 2
        process.stein_head.loss(chosen, torch.zeros_like(chosen), raw).mean().backward()
        # d loss / d raw is 0.01 (1 - K / K_hat): its mean is 0 where K_hat is K_bar
        error = 4.0 * float((chosen / expected).std()) / len(chosen) ** 0.5 + 0.005
        assert abs(float(raw.grad.sum()) / 0.01) < error
