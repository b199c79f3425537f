"""What a network is made for."""

import pytest

from ngldm.io.errors import InputError
from ngldm.networks.registry import NetworkInput


def test_a_network_for_other_items_is_refused_by_its_kind() -> None:
    images, points = NetworkInput((4, 8, 6)), NetworkInput((3,))
    assert (images.channels, images.require_images("dit")) == (4, (4, 8, 6))
    assert (points.channels, points.require_points("mlp")) == (3, 3)
    with pytest.raises(InputError, match=r"network\.kind: 'dit' is for images; points have 'mlp'"):
        points.require_images("dit")
    with pytest.raises(InputError, match=r"network\.kind: 'mlp' is for points; images have 'unet'"):
        images.require_points("mlp")
