"""The KL autoencoder: both parts of its loss against torch.distributions, and the sizes that it takes."""

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.kl import KLAutoencoder

KL = {"kind": "kl", "latent_channels": 3, "levels": 1, "width": 8, "kl_weight": 1e-3}


@pytest.fixture
def weighted(build) -> Callable[[float], KLAutoencoder]:
    """The same weights for every `kl_weight`, in double precision."""

    def make(weight: float) -> KLAutoencoder:
        model = build(KL | {"kl_weight": weight}).double()
        assert isinstance(model, KLAutoencoder)
        return model

    return make


@pytest.mark.parametrize("weight", [1e-3, 1.0, 50.0])
def test_kl_part_of_the_loss_is_the_divergence_per_image_dimension(weight, weighted, random_images):
    """The losses with this weight and with none differ by it alone: same posterior, same draw."""
    x = random_images(4).double()
    mean, logvar = weighted(weight).posterior(x)
    divergence = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum() / x.numel()
    assert divergence > 1e-3
    with_it, without = (weighted(w).loss(x, torch.Generator().manual_seed(0)) for w in (weight, 0.0))
    torch.testing.assert_close(with_it - without, weight * divergence)


def test_reconstruction_part_decodes_a_draw_from_the_posterior(weighted, random_images):
    model, x = weighted(0.0), random_images(4).double()
    mean, logvar = model.posterior(x)
    torch.manual_seed(7)
    draw = Normal(mean, (0.5 * logvar).exp()).sample()
    loss = model.loss(x, torch.Generator().manual_seed(7))
    torch.testing.assert_close(loss, (model.decode(draw) - x).square().mean())


def test_kl_loss_is_reproducible_through_its_generator_alone(build, random_images):
    model, x = build(KL), random_images(4)
    losses = []
    for global_seed, seed in [(0, 5), (1, 5), (1, 6)]:
        torch.manual_seed(global_seed)
        losses.append(model.loss(x, torch.Generator().manual_seed(seed)).item())
    assert losses[0] == losses[1]
    assert losses[1] != losses[2]


def test_kl_encode_is_the_posterior_mean_and_draws_nothing(build, random_images):
    model, x = build(KL), random_images(4)
    torch.manual_seed(0)
    first = model.encode(x)
    torch.manual_seed(1)
    assert torch.equal(model.encode(x), first)
    assert torch.equal(model.posterior(x)[0], first)


@pytest.mark.parametrize("bias", [1e4, -1e4])
def test_extreme_log_variances_keep_the_loss_finite(bias, build, random_images):
    model = build(KL)
    assert isinstance(model, KLAutoencoder)
    with torch.no_grad():
        model.encoder[-1].bias[3:] = bias
    assert torch.isfinite(model.loss(random_images(2)))


@pytest.mark.parametrize(("shape", "levels"), [((1, 8, 7), 1), ((1, 7, 8), 1), ((1, 8, 6), 2), ((1, 8, 8), 4)])
def test_kl_refuses_sides_that_are_not_multiples(shape, levels, build):
    with pytest.raises(InputError, match=rf"levels: {levels} .*{shape[1]}x{shape[2]}.*= {2**levels}"):
        build(KL | {"levels": levels}, shape)


@pytest.mark.parametrize("levels", [0, -1])
def test_kl_refuses_to_halve_less_than_once(levels, build):
    with pytest.raises(InputError, match=rf"autoencoder\.levels: {levels} "):
        build(KL | {"levels": levels})
