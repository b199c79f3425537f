"""The reader of image files: files made byte by byte after their format's specification, and what they must show."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ngldm.data.sources.image_folder import decode
from ngldm.data.sources.pixels.reader import FORMATS, SUFFIXES, UnusableImage, read_image, to_pixels
from ngldm.data.sources.pixels.square import Settings
from ngldm.pipeline.cli.fid import read_batches

RNG = np.random.default_rng(17)
SIDE = 8


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(header: bytes, rows: bytes, *before: bytes, after: bytes = b"") -> bytes:
    body = chunk(b"IHDR", header) + b"".join(before) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + after + chunk(b"IEND", b"")


def grey_png(values: np.ndarray, bits: int, *before: bytes, after: bytes = b"") -> bytes:
    """Grey values of 1, 2, 4, 8 or 16 bits (PNG specification 7.2 and 9.2: packed from the left, filter 0)."""
    height, width = values.shape
    rows = b""
    for row in values:
        packed = "".join(f"{value:0{bits}b}" for value in row)
        packed = packed.ljust(-(-len(packed) // 8) * 8, "0")
        rows += b"\0" + bytes(int(packed[i : i + 8], 2) for i in range(0, len(packed), 8))
    return png(struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0), rows, *before, after=after)


def grey_tiff(values: np.ndarray, order: str = "<", bits: int = 16, photometric: int = 1, kind: int = 1) -> bytes:
    """An uncompressed grey TIFF of one strip (TIFF 6.0, section 4); kind is the sample format."""
    height, width = values.shape
    data = values.astype({16: f"{order}u2", 32: f"{order}{'f4' if kind == 3 else 'u4'}"}[bits]).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, kind)]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)


def pixels(content: bytes) -> np.ndarray:
    return to_pixels(read_image(content).image)[..., 0].astype(int)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_png_of_any_depth_is_scaled_to_8_bits(bits):
    values = RNG.integers(0, 2**bits, (SIDE, SIDE))
    expected = values * 255 / (2**bits - 1)
    assert np.abs(pixels(grey_png(values, bits)) - expected).max() <= 0.5


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_white_and_no_other(bits):
    """tRNS holds a value of the image's own depth (PNG specification 11.3.2.1)."""
    values = RNG.integers(0, 2**bits, (SIDE, SIDE))
    clear = int(values[3, 3])
    expected = np.where(values == clear, 255, values * 255 / (2**bits - 1))
    content = grey_png(values, bits, chunk(b"tRNS", struct.pack(">H", clear)))
    assert np.abs(pixels(content) - expected).max() <= 0.5


def test_the_transparent_colour_of_a_png_is_white_and_no_other():
    colours = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    clear = chunk(b"tRNS", struct.pack(">3H", *colours[1, 2]))
    image = to_pixels(read_image(png(struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0), rows, clear)).image)
    expected = colours.copy()
    expected[1, 2] = 255
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_scan_as_tiff_of_16_bits_keeps_its_greys(order, photometric):
    """Photometric 0: the smallest value is white (TIFF 6.0, page 37). Pillow knows no such file in big-endian order."""
    if (order, photometric) == (">", 0):
        with pytest.raises(UnusableImage):
            read_image(grey_tiff(np.zeros((SIDE, SIDE)), order, photometric=photometric))
        return
    values = RNG.integers(0, 2**16, (SIDE, SIDE))
    expected = values / 257 if photometric else 255 - values / 257
    assert np.abs(pixels(grey_tiff(values, order, photometric=photometric)) - expected).max() <= 0.5


@pytest.mark.parametrize("kind", [1, 3])
def test_values_without_a_white_are_refused(kind):
    with pytest.raises(UnusableImage, match="value of white is not defined"):
        read_image(grey_tiff(RNG.random((SIDE, SIDE)), bits=32, kind=kind))


LONG = b"k\0" + b"a" * 3_000_000
SIDE_CHUNKS = {
    "zTXt": chunk(b"zTXt", b"k\0\0" + zlib.compress(LONG)),
    "iTXt": chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(LONG)),
    "many tEXt": chunk(b"tEXt", LONG) * 25,
    "iCCP": chunk(b"iCCP", b"k\0\0" + zlib.compress(LONG)),
    "checksum": chunk(b"tEXt", b"k\0hello")[:-1] + b"\0",
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", SIDE_CHUNKS)
def test_a_pngs_texts_say_nothing_of_its_pixels(kind, place):
    values = RNG.integers(0, 256, (SIDE, SIDE))
    before, after = ((SIDE_CHUNKS[kind],), b"") if place == "before" else ((), SIDE_CHUNKS[kind])
    np.testing.assert_array_equal(pixels(grey_png(values, 8, *before, after=after)), values)


FRAME = b"\2\2\x4c\1\0;"  # the smallest picture data of a GIF, and its end


def broken() -> dict[str, tuple[bytes, str]]:
    """Files that are no usable image, and the reason."""
    values = RNG.integers(0, 256, (64, 64))
    whole = grey_png(values, 8)
    jpeg, huge = io.BytesIO(), struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    Image.fromarray(values.astype(np.uint8)).save(jpeg, "JPEG")
    return {
        "chunk name": (grey_png(values, 8, chunk(b"\x00\x01\x02\x03", b"x")), "damaged"),
        "no pixels": (whole[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)), "damaged"),
        "cut": (whole[: len(whole) // 2], "damaged"),
        "signature": (whole[:8], "damaged"),
        "empty": (b"", "damaged"),
        "text": (b"no image at all", "damaged"),
        "web page": (b"<!DOCTYPE html><html><body>404</body></html>", "damaged"),
        "cut jpeg": (jpeg.getvalue()[: len(jpeg.getvalue()) // 2], "damaged"),
        "bomb": (png(huge, b""), "too_large"),
        "gif bomb": (
            b"GIF89a" + struct.pack("<HHBBBcHHHHB", 65_000, 65_000, 0, 0, 0, b",", 0, 0, 65_000, 65_000, 0) + FRAME,
            "too_large",
        ),
        "bmp bomb": (
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
            "too_large",
        ),
        "100 megapixels": (png(struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0), b""), "too_large"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "damaged"),
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("kind", "reason"), [(kind, reason) for kind, (_, reason) in broken().items()])
def test_what_is_no_image_is_named_by_both_readers(kind, reason, tmp_path):
    content, _ = broken()[kind]
    with pytest.raises(UnusableImage) as caught:
        read_image(content)
    assert caught.value.reason == reason
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content)
    _, batches = read_batches(tmp_path, 8)
    with pytest.raises(ValueError, match=rf"a\.png: not an image that can be scored: {reason}"):
        list(batches)


def test_a_bomb_is_refused_also_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnusableImage, match="too_large"):
            read_image(broken()["100 megapixels"][0])


TURNS = {  # of the stored array, after the EXIF standard's table of where row 0 and column 0 are
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("png", np.uint8), ("png", np.uint16), ("webp", np.uint8), ("tiff", np.uint8), ("tiff", np.uint16)],
)
def test_phone_photos_are_upright(orientation, suffix, dtype):
    stored = RNG.integers(0, 256, (SIDE, 2 * SIDE)).astype(dtype) * (257 if dtype == np.uint16 else 1)
    image = Image.fromarray(stored.astype(dtype))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    lossless = {"lossless": True} if suffix == "webp" else {}
    image.save(file, suffix, exif=exif, **lossless)
    expected = TURNS[orientation](stored // (257 if dtype == np.uint16 else 1))
    np.testing.assert_array_equal(pixels(file.getvalue()), expected)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_first_frame_is_used_and_that_is_said(form, count):
    frames = [Image.fromarray(np.full((SIDE, SIDE), 60 * i + 20, np.uint8)) for i in range(count)]
    file = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(file, form, save_all=True, append_images=frames[1:], **options)
    picture = read_image(file.getvalue())
    assert (to_pixels(picture.image) == 20).all()
    assert picture.more_frames == (count > 1)


def test_a_phones_preview_in_a_jpeg_is_no_second_frame():
    file = io.BytesIO()
    photo, preview = Image.new("RGB", (SIDE, SIDE), "white"), Image.new("RGB", (SIDE, SIDE), "black")
    photo.save(file, "MPO", save_all=True, append_images=[preview])
    picture = read_image(file.getvalue())
    assert (to_pixels(picture.image) == 255).all()
    assert not picture.more_frames


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_is_read_alike_for_training_and_for_scoring(suffix, upper, tmp_path):
    form = next(form for form, suffixes in FORMATS.items() if suffix in suffixes)
    array = RNG.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    for name in "ab":
        Image.fromarray(array).save(tmp_path / f"{name}{suffix.upper() if upper else suffix}", form)
    count, batches = read_batches(tmp_path, 8)
    assert count == 2
    path = next(tmp_path.iterdir())
    mine = decode(path, path.name, Settings(SIDE, 3, 1)).image
    np.testing.assert_array_equal(next(iter(batches))[0], mine)
    assert np.abs(mine[..., 0].astype(int) - array).mean() < 30  # JPEG and WebP lose a little


def test_ordinary_images_are_read_as_by_pytorch_fid(tmp_path):
    """RGB, grey and palette images of pytorch-fid's suffixes: the same pixels, so the same score."""
    from pytorch_fid.fid_score import IMAGE_EXTENSIONS, ImagePathDataset

    for suffix in IMAGE_EXTENSIONS:
        image = Image.fromarray(RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        image.save(tmp_path / f"rgb.{suffix}")
        if suffix not in ("ppm", "pgm"):
            image.convert("L").save(tmp_path / f"grey.{suffix}")
        if suffix in ("png", "bmp", "tif"):
            image.quantize(16).save(tmp_path / f"palette.{suffix}")
    files = sorted(tmp_path.iterdir(), key=lambda path: path.name)
    _, batches = read_batches(tmp_path, 8)
    ours = np.concatenate(list(batches))
    theirs = ImagePathDataset(files)
    assert len(ours) == len(files) == len(theirs) >= 19
    for index in range(len(files)):
        np.testing.assert_array_equal(ours[index], np.asarray(theirs[index]))


def test_scoring_follows_links_to_images_elsewhere(tmp_path):
    """A subset made of links is a set, as pytorch-fid takes it."""
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    for i in range(3):
        path = Path(tmp_path, "all", f"{i}.png")
        path.write_bytes(grey_png(RNG.integers(0, 256, (SIDE, SIDE)), 8))
        (tmp_path / "some" / path.name).symlink_to(path)
    assert read_batches(tmp_path / "some", 8)[0] == 3
