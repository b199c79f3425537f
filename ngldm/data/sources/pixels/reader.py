"""The reader of image files, for data sets and for `ngldm fid`.

It returns the first frame, upright, with 8 bits per channel, on a white background.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ngldm.io.images import UInt8Array
from ngldm.io.limits import MAX_IMAGE_FILE

# Formats that Pillow decodes without a call to another program, and their suffixes.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
ANIMATED = (
    "GIF",
    "PNG",
    "WEBP",
    "TIFF",
)  # not JPEG: the other frames of a phone's JPEG (MPO) are previews and depth maps
MAX_PIXELS = 50_000_000  # of one image; decoding needs at least three bytes per pixel
TIFF_BITS, TIFF_PHOTOMETRIC = 258, 262  # tags; photometric 0 means that the smallest value is white
PNG_SIDE_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # they do not change the pixels that we read
GREY_STEP = {"1": 255, "L;2": 85, "L;4": 17}  # factor from a PNG's grey value with 1, 2 or 4 bits to Pillow's 8 bits


class UnusableImage(Exception):
    """The file is not a usable image.

    Attributes:
        reason: damaged, too_large or too_small.
        detail: what exactly is wrong, in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason} ({detail})")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        image: in mode L or RGB.
        more_frames: whether the file has more frames or pages. They are not used.
    """

    image: Image.Image
    more_frames: bool


def image_bytes(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UnusableImage: it cannot be read, or is larger than an image file can be.
    """
    try:
        if (size := path.stat().st_size) > MAX_IMAGE_FILE:
            raise UnusableImage("too_large", f"{size} bytes, at most {MAX_IMAGE_FILE}")
        return path.read_bytes()
    except OSError as error:
        raise UnusableImage("damaged", f"cannot be read ({error.strerror or error})") from error


def read_image(content: bytes, min_side: int = 1) -> Picture:
    """Decode an image file's bytes.

    Args:
        content: the bytes of the file.
        min_side: the smallest allowed length of the shorter side, in pixels.

    Raises:
        UnusableImage: the image has none of the FORMATS, is damaged, or has too few or too many pixels.
    """
    try:
        return _decode(content, min_side)
    except UnusableImage as error:
        pixels = _png_pixels(content)  # Pillow refuses a PNG if its texts are too long or damaged
        if error.reason != "damaged" or pixels == content:
            raise
        return _decode(pixels, min_side)


def _decode(content: bytes, min_side: int) -> Picture:
    try:
        with Image.open(BytesIO(content), formats=list(FORMATS)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:  # checked before decoding, to limit memory
                raise UnusableImage("too_large", f"{width}x{height} pixels, at most {MAX_PIXELS}")
            if min(width, height) < min_side:
                raise UnusableImage("too_small", f"{width}x{height} pixels, the shorter side must have {min_side}")
            more_frames = _has_more_frames(image)
            return Picture(flatten(image), more_frames)
    except (UnusableImage, MemoryError):  # too little memory does not mean that the file is damaged
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImage("too_large", f"more than {MAX_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise UnusableImage("damaged", f"not a complete image in one of the formats {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's parsers raise many types: struct.error, SyntaxError, KeyError, ...
        raise UnusableImage("damaged", str(error) or type(error).__name__) from error


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1
    except Exception:  # a later frame is damaged; the first can still be good
        return True


def _png_pixels(content: bytes) -> bytes:
    """A PNG without its texts and its colour profile. Other formats are returned unchanged."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    kept, start = [content[:8]], 8
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4])
        if content[start + 4 : start + 8] not in PNG_SIDE_CHUNKS:
            kept.append(content[start:end])
        start = end
    return b"".join(kept)


def flatten(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit grey (mode L) or RGB.

    The image is turned upright according to its EXIF data. Transparent parts become white.

    Raises:
        UnusableImage: the pixels are floats or 32-bit integers. For these, the value of white is not defined.
    """
    tags = getattr(image, "tag_v2", {})
    tile = getattr(image, "tile", None)
    rawmode = tile[0][3] if tile else ""
    clear = image.info.get("transparency")
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise UnusableImage("damaged", "pixels are floats or have 32 bits, so the value of white is not defined")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        white = 2 ** int(tags.get(TIFF_BITS, (16,))[0]) - 1
        return _grey_of_16_bits(image, white, clear, inverted=tags.get(TIFF_PHOTOMETRIC) == 0)
    if image.mode in ("1", "L") and isinstance(clear, int):
        step = GREY_STEP.get(rawmode, 1) if isinstance(rawmode, str) else 1
        grey = np.array(image.convert("L"))
        grey[grey == clear * step] = 255
        return Image.fromarray(grey)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _grey_of_16_bits(image: Image.Image, white: int, clear: object, inverted: bool) -> Image.Image:
    """Scale 16-bit grey to 8 bits. Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    table = np.rint(np.arange(white + 1) * (255.0 / white)).astype(np.uint8)
    grey = table[values.clip(0, white)]
    if inverted:
        grey = 255 - grey
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)


def to_pixels(image: Image.Image) -> UInt8Array:
    """The pixels: (H, W, 1) for a grey image, (H, W, 3) for an RGB image."""
    array = np.asarray(image, dtype=np.uint8)
    return array if array.ndim == 3 else array[..., None]
