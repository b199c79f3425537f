"""The transforms of points against their formulas, and that they are undone."""

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.networks.autoencoders.names import TRANSFORMS
from ngldm.networks.autoencoders.transforms import inverse_transform, transform

POINTS = torch.cat([10.0 ** torch.linspace(-6, 6, 40)[:, None] * torch.randn(40, 3), torch.zeros(1, 3)]).double()


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_every_transform_is_undone(kind):
    torch.testing.assert_close(inverse_transform(kind, transform(kind, POINTS)), POINTS, rtol=1e-9, atol=1e-12)


def test_soft_log_is_its_formula():
    x = POINTS.numpy()
    np.testing.assert_allclose(transform("soft_log", POINTS), np.sign(x) * np.log1p(np.abs(x)), rtol=1e-12)


def test_soft_log_of_the_radius_keeps_directions():
    changed = transform("soft_log_radius", POINTS)
    np.testing.assert_allclose(changed.norm(dim=1), np.log1p(np.linalg.norm(POINTS, axis=1)), rtol=1e-12)
    cosine = torch.nn.functional.cosine_similarity(changed[:-1], POINTS[:-1])
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    assert changed[-1].eq(0).all()


def test_the_identity_autoencoder_applies_it():
    model = build_autoencoder({"kind": "identity", "transform": "soft_log"}, (3,))
    assert model.latent_shape == (3,)
    assert torch.equal(model.encode(POINTS), transform("soft_log", POINTS))
    torch.testing.assert_close(model.decode(model.encode(POINTS)), POINTS)


def test_unknown_transforms_and_other_kinds_are_refused():
    with pytest.raises(InputError, match="unknown transform 'log'"):
        transform("log", POINTS)
    settings = {"kind": "kl", "latent_channels": 2, "levels": 1, "width": 8, "kl_weight": 1e-4}
    with pytest.raises(InputError, match=r"autoencoder\.kind: 'kl' is for images; points need 'identity'"):
        build_autoencoder(settings, (3,))
