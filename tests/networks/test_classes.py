"""Classes as an input: every network takes them, and without them none has another weight or output than before."""

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.networks.build import build_network
from ngldm.networks.registry import NETWORKS, NetworkInput, register

OPTIONS = {
    "unet": {"widths": [8, 16], "blocks_per_level": 1, "attention_levels": [1], "attention_head_dim": 8},
    "dit": {"patch_size": 2, "width": 16, "depth": 1, "head_dim": 8},
    "mlp": {"width": 8, "depth": 1},
    "diffusers_unet2d": {
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4,
    },
}


def made(kind: str, num_classes: int, head: str = "none"):
    shape = (2,) if kind == "mlp" else (2, 6, 6)
    torch.manual_seed(0)
    network = build_network(kind, OPTIONS[kind], NetworkInput(shape, 10, head, num_classes)).eval()
    torch.manual_seed(1)
    for name, parameter in network.named_parameters():  # last layers start at zero
        if not parameter.any() and "class" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return network, torch.randn(4, *shape), torch.tensor([1, 5, 9, 10])


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_output_depends_on_the_class_of_its_own_image(kind):
    network, x, t = made(kind, 3)
    plain, changed = network(x, t, torch.tensor([0, 1, 2, 0])), network(x, t, torch.tensor([0, 1, 1, 0]))
    different = [not torch.equal(a, b) for a, b in zip(plain, changed, strict=True)]
    assert different == [False, False, True, False]


@pytest.mark.parametrize("head", ["none", "scalar"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_no_labels_mean_no_class(kind, head):
    network, x, t = made(kind, 3, head)
    assert torch.equal(network(x, t), network(x, t, torch.full((4,), 3)))
    assert not torch.equal(network(x, t), network(x, t, torch.full((4,), 2)))


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_other_weights_start_the_same_with_classes_and_without(kind):
    """So that two trainings, with and without classes, can be compared."""
    torch.manual_seed(0)
    shape = (2,) if kind == "mlp" else (2, 6, 6)
    plain = build_network(kind, OPTIONS[kind], NetworkInput(shape, 10)).state_dict()
    torch.manual_seed(0)
    classes = build_network(kind, OPTIONS[kind], NetworkInput(shape, 10, num_classes=3)).state_dict()
    added = classes.keys() - plain.keys()
    assert len(added) == 1
    assert classes[added.pop()].shape[0] == 4
    if kind != "diffusers_unet2d":  # diffusers makes its embedding before other layers
        assert all(torch.equal(plain[key], classes[key]) for key in plain)


@pytest.mark.parametrize("kind", ["unet", "dit", "mlp"])
def test_labels_for_a_network_without_classes_are_refused(kind):
    network, x, t = made(kind, 0)
    with pytest.raises(InputError, match="no classes"):
        network(x, t, torch.zeros(4, dtype=torch.long))


def test_a_network_of_yours_that_takes_no_classes_is_refused_by_name(monkeypatch):
    class Plain(torch.nn.Module):
        def forward(self, x, t):
            return x

    monkeypatch.setattr(NETWORKS, "entries", dict(NETWORKS.entries))
    register("plain")(lambda made_for: Plain())
    build_network("plain", {}, NetworkInput((2,), 10))
    with pytest.raises(InputError, match=r"network\.num_classes.*'plain'"):
        build_network("plain", {}, NetworkInput((2,), 10, num_classes=3))
