"""What every autoencoder offers, and the identity."""

import pytest
import torch

from ngldm.networks.autoencoders.autoencoder import Autoencoder, IdentityAutoencoder


def test_identity_is_exact(random_images):
    model, x = IdentityAutoencoder((1, 8, 8)), random_images(3)
    assert torch.equal(model.encode(x), x)
    assert torch.equal(model.decode(x), x)
    assert model.loss(x) == 0.0


@pytest.mark.parametrize("method", ["encode", "decode", "loss"])
def test_the_base_class_alone_cannot_be_used(method):
    with pytest.raises(TypeError, match="Autoencoder does not"):
        getattr(Autoencoder(), method)(torch.zeros(1))
