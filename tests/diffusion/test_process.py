"""A diffusion in one object: its loss against the formula written out, and what it refuses."""

from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io import device
from ngldm.io.errors import InputError
from ngldm.noise import make_noise

T = 40
SCHEDULE = make_schedule("cosine", T)
NOISE = make_noise("exponential")
X0 = torch.randn(16, 2, 3, generator=torch.Generator().manual_seed(7))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_the_loss_is_the_squared_error_of_the_target_at_x_t(target: str) -> None:
    """t and eps are drawn again from the same generator, x_t and the target written out in float64."""
    seen: list[Tensor] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        seen.extend((x, t))
        return 0.5 * x

    loss = Diffusion.make(NOISE, SCHEDULE, objective=target).loss(network, X0, seeded())
    generator = seeded()
    t = torch.randint(1, T + 1, (16,), generator=generator)
    eps, x0 = NOISE.sample(X0.shape, generator).double(), X0.double()
    abar = SCHEDULE.alphas_cumprod[t][:, None, None]
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    wanted = {"eps": eps, "x0": x0, "v": abar.sqrt() * eps - (1 - abar).sqrt() * x0}[target]
    assert torch.equal(seen[1], t)
    torch.testing.assert_close(seen[0].double(), x_t, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss.double(), (0.5 * x_t - wanted).square().mean((1, 2)), rtol=1e-5, atol=1e-6)
    assert loss.dtype == torch.float32


def test_any_module_is_a_network_and_gets_its_gradient() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(0.0))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.factor * x

    network, diffusion = Scale(), Diffusion.make(make_noise("laplace"), SCHEDULE)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        loss = diffusion.loss(network, X0, seeded()).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_without_a_generator_it_draws_from_torchs_own() -> None:
    diffusion = Diffusion.make(NOISE, SCHEDULE)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(diffusion.loss(lambda x, t: x, X0))
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"forward": "chain"}, "diffusion.forward 'chain'"),
        ({"objective": "score"}, "diffusion.objective 'score'"),
        ({"weighting": "snr"}, "diffusion.weighting 'snr'"),
        ({"gamma": -1.0}, "diffusion.gamma: -1.0"),
        ({"gamma": 5.0}, "diffusion.gamma: 5.0 has no effect with diffusion.weighting 'none'"),
    ],
)
def test_bad_settings_are_named(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Diffusion.make(NOISE, SCHEDULE, **options)


def test_eps_cannot_be_learned_where_nothing_is_left_of_x0() -> None:
    schedule = make_schedule("linear", zero_terminal_snr=True)
    with pytest.raises(InputError, match=r"'eps' cannot be used with schedule\.zero_terminal_snr"):
        Diffusion.make(NOISE, schedule)
    assert Diffusion.make(NOISE, schedule, objective="v").objective.target == "v"


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Diffusion.make(NOISE, SCHEDULE).noise = make_noise("laplace")  # type: ignore[misc]


@pytest.mark.parametrize("output", [(4, 1), (1, 2), (2,), (), (4, 2, 1)])
def test_an_output_that_would_be_broadcast_is_refused(output: tuple[int, ...]) -> None:
    diffusion = Diffusion.make(make_noise("laplace"), make_schedule("cosine", 20))
    with pytest.raises(InputError, match="network: returned shape"):
        diffusion.loss(lambda x, t: torch.zeros(output), torch.zeros(4, 2))


def test_data_may_be_one_number_per_item() -> None:
    diffusion = Diffusion.make(make_noise("laplace"), make_schedule("cosine", 20), objective="x0")
    loss = diffusion.loss(lambda x, t: torch.zeros_like(x), torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(loss, torch.tensor([1.0, 4.0, 9.0]))


def test_a_name_instead_of_a_noise_or_a_schedule_is_refused() -> None:
    with pytest.raises(InputError, match=r"^noise: 'laplace' is a name; make it with ngldm\.make_noise\('laplace'\)$"):
        Diffusion.make("laplace", make_schedule("linear", 10))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^schedule: 'linear' is a name"):
        Diffusion.make(make_noise("laplace"), "linear")  # type: ignore[arg-type]


# --- the root loss


def constant_loss(loss: str, at: Tensor) -> tuple[Tensor, Tensor]:
    """The mean loss of a network that always predicts `at` (2,), for data of three points, and its gradient."""
    points = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    at = at.clone().requires_grad_()
    process = Diffusion.make(NOISE, SCHEDULE, objective="x0", loss=loss)
    mean = process.loss(lambda x, t: at.expand(3, 2), points, seeded()).mean()
    mean.backward()
    assert at.grad is not None
    return mean.detach(), at.grad


def test_the_root_loss_is_least_at_the_spatial_median_and_the_squared_loss_at_the_mean() -> None:
    """Fermat's point of the triangle (-1, 0), (1, 0), (0, h): (0, 1 / sqrt(3)), from which all sides look alike."""
    median, mean = torch.tensor([0.0, 3**-0.5]), torch.tensor([0.0, 1.0])
    least, slope = constant_loss("root", median)
    # the distances are 2 / sqrt(3), twice, and 3 - 1 / sqrt(3); divided by sqrt(2), the root of the number of elements
    assert float(least) == pytest.approx((4 / 3**0.5 + 3 - 3**-0.5) / 3 / 2**0.5, rel=1e-6)
    torch.testing.assert_close(slope, torch.zeros(2), rtol=0, atol=1e-6)
    assert constant_loss("root", mean)[1][1] > 0.05  # towards the median
    torch.testing.assert_close(constant_loss("squared", mean)[1], torch.zeros(2), rtol=0, atol=1e-6)
    assert constant_loss("squared", median)[1][1] < -0.2


@pytest.mark.parametrize("options", [{}, {"weighting": "min_snr"}, {"preconditioning": "edm"}])
def test_the_root_loss_is_the_root_of_the_squared_loss_of_each_image(options: dict) -> None:
    squared, root = (
        Diffusion.make(NOISE, SCHEDULE, objective="x0", loss=loss, **options).loss(lambda x, t: 0.5 * x, X0, seeded())
        for loss in ("squared", "root")
    )
    torch.testing.assert_close(root, squared.sqrt())


def test_the_root_loss_of_a_perfect_prediction_has_a_finite_gradient() -> None:
    shift = torch.zeros(1, requires_grad=True)
    process = Diffusion.make(NOISE, SCHEDULE, objective="x0", loss="root")
    process.loss(lambda x, t: X0 + shift, X0, seeded()).sum().backward()
    assert shift.grad is not None
    assert shift.grad.isfinite().all()


def test_the_root_loss_of_stable_noise_does_not_grow_with_the_largest_draw_squared() -> None:
    """E |n| is finite for alpha > 1, E |n|^2 is not: a loss of 10^6 images is near that of 10^3, squared it is not."""
    process = [
        Diffusion.make(make_noise("isotropic_stable", {"alpha": 1.5}), SCHEDULE, objective="eps", loss=loss)
        for loss in ("root", "squared")
    ]
    root, squared = (
        [float(p.loss(lambda x, t: torch.zeros_like(x), torch.zeros(n, 1), seeded()).mean()) for n in (10**3, 10**6)]
        for p in process
    )
    assert root[1] < 1.5 * root[0]
    assert squared[1] > 10 * squared[0]


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown diffusion\.loss 'huber'; choose one of: root, squared"):
        Diffusion.make(NOISE, SCHEDULE, loss="huber")


class NoFloat64(TorchDispatchMode):
    """As Apple's GPU does, refuses float64 on the device `meta`, whose tensors have a shape and no numbers."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and tensor.device.type == "meta" and tensor.dtype == torch.float64:
                raise TypeError(f"{function}: no float64 on this device")
        return out


PINK = {"distribution": "power_law", "beta": 1.0}


@pytest.mark.parametrize(
    ("noise", "params", "head"),
    [
        ("gaussian", {}, "none"),
        ("laplace", {}, "none"),
        ("student_t", {}, "none"),
        ("gumbel", {}, "element"),
        ("multivariate_t", {}, "scalar"),
        ("multivariate_laplace", {}, "scalar"),
        ("radial", {"radius": {"distribution": "gamma"}}, "none"),
        ("power_law", {"beta": 1.0}, "none"),
        ("annealed", {"first": PINK, "second": {"distribution": "gaussian"}}, "none"),
        ("choice", {"laws": [PINK, {"distribution": "multivariate_t"}], "weights": [0.5, 0.5]}, "none"),
    ],
)
def test_a_device_without_float64_gets_none(noise, params, head, monkeypatch):
    """The loss and its gradient, with the generator that a training has there."""
    monkeypatch.setattr(device, "has_float64", lambda device: device.type != "meta")
    monkeypatch.setattr(Tensor, "cpu", lambda x: torch.ones(x.shape, dtype=x.dtype))  # `meta` has no numbers to copy
    diffusion = Diffusion.make(make_noise(noise, params), SCHEDULE, stein_head=head)
    x0 = torch.empty(4, 2, 8, 8, device="meta")
    network = nn.Conv2d(2, 2 if head == "none" else 4, 1, device="meta")
    with NoFloat64():
        loss = diffusion.loss(lambda x, t: network(x), x0, device.random_generator(x0.device, 0))
        loss.mean().backward()
    assert loss.shape == (4,)
    assert network.weight.grad is not None
