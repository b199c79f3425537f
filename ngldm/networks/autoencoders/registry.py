"""The registry of autoencoders: a kind and its options in, an `Autoencoder` out.

An autoencoder of your own is a function with the decorator `register`. Its first argument is the shape of the items,
(C, H, W) of images or (d,) of points; the others are its options. It returns an `Autoencoder`.
"""

from ngldm.io.errors import InputError
from ngldm.io.registry import Registry
from ngldm.networks.autoencoders.autoencoder import Autoencoder

AUTOENCODERS: Registry[Autoencoder] = Registry("autoencoder", "ngldm.autoencoders", Autoencoder)
register = AUTOENCODERS.register


def require_images(kind: str, item_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape as (C, H, W).

    Raises:
        InputError: the items are points.
    """
    if len(item_shape) != 3:
        raise InputError(f"autoencoder.kind: {kind!r} is for images; points need 'identity'")
    channels, height, width = item_shape
    return channels, height, width
