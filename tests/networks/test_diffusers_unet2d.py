"""diffusers' UNet2DModel as a network: its numbers, its timesteps, sizes that its halvings do not divide."""

import pytest
import torch
from diffusers import UNet2DModel
from torch.nn import functional as F

from ngldm.io.errors import InputError
from ngldm.networks.diffusers_unet2d import DiffusersUNet2D, unet2d_config

CONFIG = {
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}


def test_it_gives_what_the_model_itself_gives_at_its_own_timesteps():
    """diffusers' first timestep is 0, ours 1."""
    torch.manual_seed(0)
    ours = DiffusersUNet2D((3, 8, 8), CONFIG)
    theirs = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **CONFIG)
    theirs.load_state_dict(ours.unet.state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(ours(x, torch.tensor([1, 1000])), theirs(x, torch.tensor([0, 999])).sample)


def test_sides_that_the_halvings_do_not_divide_are_padded():
    torch.manual_seed(0)
    network = DiffusersUNet2D((1, 7, 5), CONFIG)
    x, t = torch.randn(2, 1, 7, 5), torch.tensor([4, 9])
    padded = network.unet(F.pad(x, (0, 1, 0, 1)), t - 1).sample
    assert torch.equal(network(x, t), padded[..., :7, :5])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"widths": [8]}, "network 'diffusers_unet2d' has no parameter 'widths'; it has: .*block_out_channels"),
        ({"in_channels": 3}, r"network\.options\.in_channels: follows from the latents; leave it out"),
        ({"num_class_embeds": 10}, r"network\.options\.num_class_embeds: follows from network\.num_classes"),
    ],
)
def test_a_key_that_is_not_allowed_is_named(config, message):
    with pytest.raises(InputError, match=message):
        unet2d_config(**config)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"norm_num_groups": 3}, "network 'diffusers_unet2d' does not accept"),
        ({"norm_num_groups": 0}, "network 'diffusers_unet2d' does not accept"),
        ({"block_out_channels": [8]}, "network 'diffusers_unet2d' does not accept"),
        ({"down_block_types": ["X", "Y"]}, "network 'diffusers_unet2d' does not accept"),
        ({"time_embedding_type": "x"}, "network 'diffusers_unet2d' does not accept"),
        ({"block_out_channels": 8}, "block_out_channels: 8 must be a list"),
        ({"block_out_channels": ["a", "b"]}, "block_out_channels: 'a' is not a whole number"),
        ({"block_out_channels": [10**9, 10**9]}, "block_out_channels: 1000000000 must lie between"),
        ({"block_out_channels": [8] * 60}, "block_out_channels: 60 levels"),
        ({"layers_per_block": 10**9}, "layers_per_block: 1000000000 must lie between 1 and 100"),
        ({"layers_per_block": 0}, "layers_per_block: 0"),
        ({"layers_per_block": "1"}, "layers_per_block: '1' is not a whole number"),
        ({"attention_head_dim": 10**12}, "attention_head_dim: 1000000000000"),
        ({"dropout": float("nan")}, "dropout: nan must be at least 0 and below 1"),
        ({"norm_eps": "x"}, "norm_eps: 'x' is not a number"),
        ({"norm_eps": float("inf")}, "norm_eps: inf"),
    ],
)
def test_what_the_model_would_refuse_or_never_end_with_is_refused_as_a_setting(changed, message):
    """So the stage before all, `ngldm params` and dvc's composition name it, and not the training after an hour."""
    with pytest.raises(InputError, match=message):
        unet2d_config(**{**CONFIG, **changed})


def test_the_check_draws_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert unet2d_config(**CONFIG) == CONFIG
    assert torch.equal(torch.rand(2), expected)
