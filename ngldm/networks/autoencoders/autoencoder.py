"""What every autoencoder offers, and the one whose latents are the images themselves."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.networks.autoencoders.transforms import inverse_transform, transform


class Autoencoder(nn.Module):
    """A network with `encode`, `decode` and `loss`.

    Attributes:
        latent_shape: (c, h, w); for points (d,).
        settings: what `build_autoencoder` made it from; saved with the weights.
        options: those that were found when it was made, to be saved; None if they are those that were given.
        pretrained: whether its weights come with it, in a precision of their own, and are not trained.
        weights_sha256: of the file of the weights of a pretrained one.
    """

    latent_shape: tuple[int, ...]
    options: Mapping[str, object] | None = None
    pretrained: bool = False
    weights_sha256: str | None = None
    settings: Mapping[str, object]

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to latents (B, c, h, w)."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, c, h, w) to images (B, C, H, W), nominally in [-1, 1] but not clipped."""
        raise TypeError(f"{type(self).__name__} does not decode")

    def carried(self) -> dict[str, Tensor]:
        """The tensors that our files hold of it."""
        return dict(self.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors that a file holds.

        Raises:
            RuntimeError: they are not those of this autoencoder.
        """
        self.load_state_dict(tensors)

    def loss(self, x: Tensor, generator: torch.Generator | None = None, part: slice | None = None) -> Tensor:
        """The training loss of a batch of images, a scalar.

        Args:
            generator: draws what a kind needs at random.
            part: the images x[part] whose loss is wanted; None is all. The draws are those for all images.
        """
        own = x if part is None else x[part]
        return F.mse_loss(self.decode(self.encode(own)), own)


class IdentityAutoencoder(Autoencoder):
    """Images as their own latents: diffusion in pixel space, to compare with. The only kind for points.

    Args:
        item_shape: (C, H, W), or (d,) of points.
        points: `kind` of `ngldm.networks.autoencoders.transforms.transform`; images have none.
    """

    def __init__(self, item_shape: tuple[int, ...], points: str = "none") -> None:
        super().__init__()
        self.latent_shape, self.kind = item_shape, points

    def encode(self, x: Tensor) -> Tensor:
        return transform(self.kind, x)

    def decode(self, z: Tensor) -> Tensor:
        return inverse_transform(self.kind, z)
