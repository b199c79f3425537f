"""Which items an autoencoder is for."""

import pytest

from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.registry import require_images


def test_points_are_refused() -> None:
    assert require_images("kl", (3, 8, 6)) == (3, 8, 6)
    with pytest.raises(InputError, match=r"autoencoder\.kind: 'kl' is for images; points need 'identity'"):
        require_images("kl", (3,))
