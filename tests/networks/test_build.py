"""All kinds of networks alike: shapes, heads, gradients, averaged weights; own kinds; what is refused."""

import pytest
import torch
from torch import Tensor, nn

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.networks.build import NETWORKS, build_network
from ngldm.networks.names import AUTO
from ngldm.networks.names import NETWORKS as NAMES
from ngldm.networks.registry import NetworkInput
from ngldm.noise import make_noise
from ngldm.training.ema import EMA

OPTIONS = {
    "unet": {"widths": [8, 8], "blocks_per_level": 1, "attention_levels": [1], "attention_head_dim": 8},
    "mlp": {"width": 16, "depth": 2},
    "dit": {"width": 16, "depth": 2, "head_dim": 8},
    "diffusers_unet2d": {
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    },
}
T = 50


def shape_of(kind: str) -> tuple[int, ...]:
    return (3,) if kind == "mlp" else (2, 6, 4)


def make(kind: str, head: str = "none") -> nn.Module:
    """A network none of whose weights is zero."""
    torch.manual_seed(0)
    network = build_network(kind, OPTIONS[kind], NetworkInput(shape_of(kind), T, head))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_the_names_are_those_that_are_registered():
    assert {*NAMES} - {AUTO} == {*NETWORKS.names()} == {*OPTIONS}


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("head", ["none", "scalar", "element"])
def test_every_network_predicts_in_the_shape_of_x_with_and_without_a_head(kind, head):
    """Preconditioned by EDM's formulas, and trained by the loss: each weight has a gradient."""
    network, shape = make(kind, head), shape_of(kind)
    x, t = torch.randn(3, *shape), torch.tensor([1, 7, T])
    further = {"none": 0, "scalar": 1, "element": shape[0]}[head]
    assert network(x, t).shape == (3, shape[0] + further, *shape[1:])
    laws = {"none": "laplace", "scalar": "multivariate_t", "element": "laplace"}
    diffusion = Diffusion.make(
        make_noise(laws[head]), make_schedule("cosine", T), objective="x0", stein_head=head, preconditioning="edm"
    )
    diffusion.loss(network, x, torch.Generator().manual_seed(0)).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_network_depends_on_x_and_t_and_on_no_other_item(kind):
    network, shape = make(kind), shape_of(kind)
    x, t = torch.randn(3, *shape), torch.tensor([2, 20, 40])
    with torch.no_grad():
        out = network(x, t)
        torch.testing.assert_close(network(x[1:2], t[1:2]), out[1:2])
        assert (network(x, t + 5) - out).abs().max() > 1e-5
        assert (network(x + 0.5, t) - out).abs().max() > 1e-3


@pytest.mark.parametrize("kind", OPTIONS)
def test_averaged_weights_are_a_copy_that_follows_the_network(kind):
    """With decay 0 the average is the network itself."""
    network, shape = make(kind, "element"), shape_of(kind)
    ema = EMA(network, 0.0)
    x, t = torch.randn(2, *shape), torch.tensor([3, 30])
    with torch.no_grad():
        before = ema.model(x, t)
        for parameter in network.parameters():
            parameter.mul_(1.1)
        assert torch.equal(ema.model(x, t), before)
        ema.update(network)
        torch.testing.assert_close(ema.model(x, t), network(x, t))


@pytest.fixture
def own(monkeypatch):
    """A registry that forgets what a test registers."""
    monkeypatch.setattr(NETWORKS, "entries", dict(NETWORKS.entries))
    return NETWORKS.register


class Scaled(nn.Module):
    """x, times a weight and t."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return (self.factor * x * t.reshape(-1, *[1] * (x.ndim - 1))).to(x.dtype)


@pytest.mark.parametrize("shape", [(2,), (3, 5, 4)])
def test_a_network_of_ones_own_gets_its_options_and_a_head(own, shape):
    @own("scaled")
    def scaled(made_for: NetworkInput, factor: float = 2.0) -> nn.Module:
        assert made_for.shape == shape
        return Scaled(factor)

    x, t = torch.randn(4, *shape), torch.tensor([1, 2, 3, 4])
    times = t.reshape(-1, *[1] * len(shape))
    torch.testing.assert_close(build_network("scaled", {}, NetworkInput(shape))(x, t), 2.0 * x * times)
    headed = build_network("scaled", {"factor": -1.0}, NetworkInput(shape, 10, "element"))
    torch.testing.assert_close(headed(x, t), torch.cat([-x * times, torch.zeros_like(x)], dim=1))
    assert {parameter.dtype for parameter in headed.parameters()} == {torch.float32}


def test_a_network_with_a_head_of_its_own_gets_no_other(own):
    @own("with_head")
    def with_head(made_for: NetworkInput) -> nn.Module:
        network = Scaled(1.0)
        network.stein_head = nn.Identity()
        return network

    assert isinstance(build_network("with_head", {}, NetworkInput((2,), 10, "element")), Scaled)


@pytest.mark.parametrize(
    ("kind", "options", "shape", "message"),
    [
        ("vit", {}, (1, 4, 4), "unknown network.kind 'vit'; choose one of: diffusers_unet2d, dit, mlp, unet"),
        (3, {}, (1, 4, 4), "network.kind: 3 is not a name"),
        ("dit", {"widths": [8]}, (1, 4, 4), "network 'dit' has no parameter 'widths'; it has: patch_size, width"),
        ("dit", {"depth": 0}, (1, 4, 4), "dit.depth: 0 must lie between 1 and 1000"),
        ("unet", {"later": 1}, (1, 4, 4), "network 'unet' has no parameter 'later'"),
        ("dit", {}, (3,), "network.kind: 'dit' is for images"),
        ("unet", {}, (3,), "network.kind: 'unet' is for images"),
        ("diffusers_unet2d", {}, (3,), "network.kind: 'diffusers_unet2d' is for images"),
        ("mlp", {}, (1, 4, 4), "network.kind: 'mlp' is for points"),
    ],
)
def test_what_does_not_fit_is_named(kind, options, shape, message):
    with pytest.raises(InputError, match=message):
        build_network(kind, options, NetworkInput(shape))
