"""The paper's autoencoder: a resize to begin with, the mean squared error, and the sizes that it takes."""

import pytest
import torch
from torch.nn import functional as F

from ngldm.io.errors import InputError

PAPER = {"kind": "paper", "latent_channels": 2, "latent_size": 6, "width": 8}


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_paper_starts_as_a_bicubic_resize(channels, build):
    """Nearly. Extra latent channels are zero; too few lose the image's last ones."""
    model = build({**PAPER, "latent_channels": channels, "latent_size": 12}, (3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    shared = min(3, channels)
    small = F.interpolate(x[:, :shared], 12, mode="bicubic", align_corners=False)
    z = model.encode(x)
    torch.testing.assert_close(z[:, :shared], small, rtol=0, atol=0.02)
    assert not (z[:, shared:].abs() > 0.02).any()
    back = F.interpolate(small, 16, mode="bicubic", align_corners=False)
    torch.testing.assert_close(model.decode(z)[:, :shared], back, rtol=0, atol=0.06)


def test_paper_loss_is_the_mean_squared_error(build, random_images):
    model, x = build(PAPER), random_images(4)
    expected = (model.decode(model.encode(x)) - x).square().mean()
    torch.testing.assert_close(model.loss(x), expected)


@pytest.mark.parametrize("size", [8, 9, 10, 7, 5, 0, -2])
def test_paper_refuses_a_latent_that_unpadded_convolutions_do_not_reach(size, build):
    """The image's size itself, larger by an odd and an even number, an odd difference, nothing left."""
    with pytest.raises(InputError, match=rf"latent_size: {size} does not fit images of 8x8"):
        build(PAPER | {"latent_size": size})


@pytest.mark.parametrize("shape", [(1, 8, 10), (1, 10, 8)])
def test_paper_refuses_images_that_are_not_square(shape, build):
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[2]}.*square"):
        build(PAPER, shape)
