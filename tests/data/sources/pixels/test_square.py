"""Images of any size become square ones, against Pillow's own resizing of the cut-out middle."""

import io

import numpy as np
import pytest
from PIL import Image

from ngldm.data.sources.pixels.skips import Skip
from ngldm.data.sources.pixels.square import Settings, decode_content, to_square

RNG = np.random.default_rng(0)


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(20, 12), (12, 20), (12, 12)])
def test_the_middle_is_cut_out_and_scaled(width: int, height: int) -> None:
    whole = Image.fromarray(RNG.integers(0, 256, (height, width), dtype=np.uint8))
    left, top = (width - 12) // 2, (height - 12) // 2
    middle = whole.resize((6, 6), Image.Resampling.LANCZOS, box=(left, top, left + 12, top + 12))
    np.testing.assert_array_equal(to_square(whole, Settings(6, 1, 1))[..., 0], np.asarray(middle))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_the_right_size_stay_as_they_are(channels: int) -> None:
    pixels = RNG.integers(0, 256, (9, 9, channels), dtype=np.uint8)
    content = encoded(Image.fromarray(pixels[..., 0] if channels == 1 else pixels))
    found = decode_content(content, "a", Settings(9, channels, 1))
    np.testing.assert_array_equal(found.image, pixels)
    assert not found.more_frames
    assert found.digest != decode_content(encoded(Image.new("L", (9, 9))), "b", Settings(9, channels, 1)).digest


@pytest.mark.parametrize(("content", "reason"), [(b"", "damaged"), (encoded(Image.new("L", (3, 9))), "too_small")])
def test_why_there_is_no_image(content: bytes, reason: str) -> None:
    found = decode_content(content, "a.png", Settings(8, 1, 4)).image
    assert isinstance(found, Skip)
    assert (found.name, found.reason) == ("a.png", reason)
