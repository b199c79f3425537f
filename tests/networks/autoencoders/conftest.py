"""What the tests of all autoencoders share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import build_autoencoder


@pytest.fixture
def build() -> Callable[..., Autoencoder]:
    """An autoencoder with settings, for images of a shape, its weights drawn from a seed."""

    def make(config: dict[str, object], shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Autoencoder:
        torch.manual_seed(seed)
        return build_autoencoder(config, shape)

    return make


@pytest.fixture
def random_images() -> Callable[..., Tensor]:
    """Images (count, C, H, W), uniform in [-1, 1]."""

    def make(count: int, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Tensor:
        return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0

    return make
