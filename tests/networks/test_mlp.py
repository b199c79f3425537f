"""The MLP: shapes, what it depends on, and that it learns a function of x and t."""

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.networks.mlp import MLP, MLPSettings


@pytest.mark.parametrize("dim", [1, 2, 17])
def test_output_has_the_shape_of_the_input_and_starts_at_zero(dim):
    x = torch.randn(5, dim)
    assert torch.equal(MLP(dim)(x, torch.arange(1, 6)), torch.zeros(5, dim))


def test_it_learns_a_function_of_points_and_time():
    """The target depends on both, so neither can be ignored."""
    torch.manual_seed(0)
    network = MLP(2, MLPSettings(width=64, depth=2), num_train_timesteps=100)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(300):
        x, t = torch.randn(256, 2), torch.randint(1, 101, (256,))
        loss = (network(x, t) - target(x, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, t = torch.randn(1000, 2), torch.randint(1, 101, (1000,))
    assert (network(x, t) - target(x, t)).square().mean() < 0.02 * target(x, t).var()


def target(x, t):
    return torch.stack([x[:, 0] * t / 100, x[:, 1].sin() - (t / 50).cos()], dim=1)


def test_settings_set_the_size():
    """Weights and biases, counted by hand: in, time, hidden layers, out."""
    count = sum(p.numel() for p in MLP(3, MLPSettings(width=10, depth=2)).parameters())
    assert count == (3 * 10 + 10) + (16 * 10 + 10) + 2 * (10 * 10 + 10) + (10 * 3 + 3)


@pytest.mark.parametrize(("kind", "further"), [("scalar", 1), ("element", 3)])
def test_a_head_adds_columns_that_give_the_rest_no_gradient(kind, further):
    """The output's own columns, and the gradients of the body, are those of the same MLP without a head."""
    x, t = torch.randn(5, 3), torch.arange(1, 6)
    plain, headed = MLP(3, MLPSettings(8, 2)), MLP(3, MLPSettings(8, 2), stein_head=kind)
    for parameter in headed.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    own = {key: value for key, value in headed.state_dict().items() if not key.startswith("stein_head")}
    plain.load_state_dict(own)
    out = headed(x, t)
    assert out.shape == (5, 3 + further)
    torch.testing.assert_close(out[:, :3], plain(x, t))
    assert out[:, 3:].std(0).min() > 0.0
    (out[:, :3].square().sum() + out[:, 3:].exp().sum()).backward()
    plain(x, t).square().sum().backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(headed.get_parameter(name).grad, parameter.grad)
    assert headed.stein_head.out.weight.grad.abs().max() > 0.0


def test_an_untrained_head_is_zero():
    out = MLP(3, stein_head="scalar")(torch.randn(5, 3), torch.arange(1, 6))
    assert torch.equal(out, torch.zeros(5, 4))


@pytest.mark.parametrize("settings", [{"width": 0}, {"depth": 0}, {"width": 2.5}])
def test_bad_sizes_are_refused(settings):
    with pytest.raises(InputError, match=rf"mlp.{next(iter(settings))}"):
        MLPSettings(**settings)
