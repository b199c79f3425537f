"""A head beside a network that has none: what it adds, what it leaves alone, that it learns."""

import pytest
import torch
from torch import Tensor, nn

from ngldm.networks.head import HeadBeside
from ngldm.networks.registry import NetworkInput


class Plain(nn.Module):
    """A network that mixes channels, and depends on t."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.mix(x.movedim(1, -1)).movedim(-1, 1)
        return out + t.reshape(-1, *[1] * (x.ndim - 1)) / 100.0


@pytest.mark.parametrize("shape", [(3,), (3, 4, 6)])
@pytest.mark.parametrize(("kind", "further"), [("scalar", 1), ("element", 3)])
def test_it_adds_channels_that_give_the_network_no_gradient(shape, kind, further):
    torch.manual_seed(0)
    network = Plain(3)
    headed = HeadBeside(network, NetworkInput(shape, 100, kind))
    x, t = torch.randn(5, *shape), torch.arange(1, 6)
    assert torch.equal(headed(x, t)[:, 3:], torch.zeros(5, further, *shape[1:]))  # untrained
    for parameter in headed.stein_head.parameters():
        nn.init.normal_(parameter, std=0.3)
    out = headed(x, t)
    assert torch.equal(out[:, :3], network(x, t))
    assert out[:, 3:].std(0).min() > 0.0
    (out[:, :3].square().sum() + out[:, 3:].exp().sum()).backward()
    gradient = network.mix.weight.grad.clone()
    network.zero_grad()
    network(x, t).square().sum().backward()
    torch.testing.assert_close(network.mix.weight.grad, gradient)
    assert all(parameter.grad.abs().max() > 0.0 for parameter in headed.stein_head.parameters())


def test_it_learns_a_function_of_the_images_scale_and_of_time():
    """The logarithm of the mean square of x_t, times t / T, which is known."""
    torch.manual_seed(0)
    headed = HeadBeside(Plain(2), NetworkInput((2, 3, 3), 100, "scalar"))
    optimizer = torch.optim.Adam(headed.stein_head.parameters(), 1e-2)

    def batch() -> tuple[Tensor, Tensor]:
        scale, t = torch.rand(256, 1, 1, 1) * 3.0 + 0.2, torch.randint(1, 101, (256,))
        x = scale * torch.randn(256, 2, 3, 3)
        wanted = x.square().mean((1, 2, 3)).log() * t / 100
        return headed(x, t)[:, 2:].mean((1, 2, 3)) - wanted, wanted

    for _ in range(300):
        error, _ = batch()
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
    error, wanted = batch()
    assert error.square().mean() < 0.02 * wanted.var()
