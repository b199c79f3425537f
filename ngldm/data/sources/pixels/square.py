"""Image files of any size as square images of one size."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageOps

from ngldm.data.sources.pixels.reader import UnusableImage, read_image, to_pixels
from ngldm.data.sources.pixels.skips import Skip
from ngldm.io.images import UInt8Array


@dataclass(frozen=True)
class Settings:
    """How files become images.

    Attributes:
        size: side of the result in pixels: the shorter side is resized to it, antialiased, and the centre is cut out.
        channels: 1 (grey) or 3 (RGB).
        min_side: an image whose shorter side has fewer pixels is left out.
    """

    size: int
    channels: int
    min_side: int


class Decoded(NamedTuple):
    """A file, decoded.

    Attributes:
        image: (size, size, channels), or why there is none.
        digest: of the file's bytes.
        more_frames: whether it has further frames or pages.
    """

    image: UInt8Array | Skip
    digest: bytes
    more_frames: bool = False


def decode_content(content: bytes, name: str, settings: Settings) -> Decoded:
    """The bytes of an image file as a square image, or why there is none."""
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        picture = read_image(content, settings.min_side)
    except UnusableImage as error:
        return Decoded(Skip(name, error.reason, error.detail), digest)
    return Decoded(to_square(picture.image, settings), digest, picture.more_frames)


def to_square(image: Image.Image, settings: Settings) -> UInt8Array:
    """An image of mode L or RGB: shorter side to `size`, centre crop, as many channels as wanted."""
    image = image.convert("L" if settings.channels == 1 else "RGB")
    return to_pixels(ImageOps.fit(image, (settings.size, settings.size), Image.Resampling.LANCZOS))
