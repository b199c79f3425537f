"""Folders of images: layouts, colour modes, and every file that should not be there."""

import csv
import io
import os
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ngldm.data.dataset import Dataset
from ngldm.data.sources.image_folder import decode
from ngldm.data.sources.layout import describe_layout
from ngldm.data.sources.pixels.reader import flatten
from ngldm.data.sources.pixels.square import Settings, to_square
from ngldm.data.sources.registry import make_dataset
from ngldm.io.errors import InputError

RNG = np.random.default_rng(0)


def picture(height: int = 16, width: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: Path, array: np.ndarray | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if array is None else array).save(path, **options)
    return path


def load(source: Path, tmp_path: Path, **options: Any) -> Dataset:
    config = {"name": "image_folder", "source": str(source), "size": 8, "channels": 3, "min_side": 4}
    config |= {"test_size": None, "seed": 0, "on_error": "fail", **options}
    return make_dataset(config, tmp_path / "data" / "set", tmp_path / "raw")


def skipped(tmp_path: Path) -> list[tuple[str, str]]:
    with (tmp_path / "data" / "set" / "skipped.csv").open(newline="") as file:
        return [(row["name"], row["reason"]) for row in csv.DictReader(file)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, in train and test."""
    root = tmp_path / "images"
    for split, count in (("train", 3), ("test", 2)):
        for kind in ("cat", "dog"):
            for i in range(count):
                write(root / split / kind / f"{i}.png")
    return root


def test_splits_and_classes_are_folders(folder, tmp_path):
    data = load(folder, tmp_path)
    assert (data.name, data.train.shape, data.test.shape) == ("images", (6, 8, 8, 3), (4, 8, 8, 3))
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert skipped(tmp_path) == []


def test_pixels_are_kept_where_the_size_fits(folder, tmp_path):
    data = load(folder, tmp_path, size=16)
    for index, name in enumerate(["cat/0", "cat/1", "cat/2", "dog/0", "dog/1", "dog/2"]):
        np.testing.assert_array_equal(data.train[index], np.asarray(Image.open(folder / "train" / f"{name}.png")))


def test_without_split_folders_the_split_is_random_and_seeded(tmp_path):
    for i in range(12):
        write(tmp_path / "flat" / f"{i}.png")
    data = load(tmp_path / "flat", tmp_path, test_size=4)
    assert (len(data.train), len(data.test), data.num_classes) == (8, 4, 1)
    assert len({bytes(image) for image in np.concatenate([data.train, data.test])}) == 12
    again = load(tmp_path / "flat", tmp_path, test_size=4)
    np.testing.assert_array_equal(again.test, data.test)
    assert not np.array_equal(load(tmp_path / "flat", tmp_path, test_size=4, seed=1).test, data.test)


@pytest.mark.parametrize("test_size", [None, 1, 11])
def test_a_random_split_needs_its_size(test_size, tmp_path):
    for i in range(12):
        write(tmp_path / "flat" / f"{i}.png")
    with pytest.raises(InputError, match=rf"dataset\.test_size: {test_size}; .*12 images"):
        load(tmp_path / "flat", tmp_path, test_size=test_size)


@pytest.mark.parametrize("wrap", ["", "outer/"])
def test_an_archive_is_as_good_as_its_folder(wrap, folder, tmp_path):
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar:
        for path in sorted(folder.rglob("*.png")):
            tar.add(path, wrap + path.relative_to(folder).as_posix())
    expected = load(folder, tmp_path)
    train = np.array(expected.train)
    data = load(tmp_path / "images.tar.gz", tmp_path)
    np.testing.assert_array_equal(data.train, train)
    assert data.name == "images"
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["set"]  # nothing unpacked stays


def test_resize_is_antialiased_and_cropped_to_the_centre():
    stripes = np.zeros((64, 128, 3), np.uint8)
    stripes[:, 32:96:2] = 255  # in the middle square; to the left and right of it black
    stripes[:, :32] = stripes[:, 96:] = 7
    small = to_square(flatten(Image.fromarray(stripes)), Settings(16, 3, 1))
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 127).max() <= 20  # every second column averaged, none picked


def test_upright_by_exif():
    array = np.zeros((8, 8, 3), np.uint8)
    array[0] = 255
    image = Image.fromarray(array)
    image.getexif()[0x0112] = 6  # the camera was turned: the top row belongs to the right
    upright = to_square(flatten(image), Settings(8, 3, 1))
    assert upright[:, -1].min() == 255
    assert upright[:, :-1].max() == 0


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (8, 8), 100), (100, 100, 100)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (8, 8), (50, 255)), (50, 50, 50)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.fromarray(np.full((8, 8), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 32896, np.uint16)), (128, 128, 128)),
        (Image.new("RGB", (8, 8), (1, 2, 3)).quantize(), (1, 2, 3)),
    ],
    ids=["grey", "bits", "transparent", "opaque", "grey_alpha", "cmyk", "white16", "grey16", "palette"],
)
def test_every_mode_becomes_rgb(image, expected):
    assert (to_square(flatten(image), Settings(8, 3, 1)) == np.array(expected)).all()


def test_grey_is_one_channel():
    grey = to_square(flatten(Image.new("RGB", (8, 8), (255, 255, 255))), Settings(8, 1, 1))
    assert grey.shape == (8, 8, 1)
    assert (grey == 255).all()


def big_png(path: Path, side: int = 10_000) -> Path:
    """A PNG that says it has 100 megapixels, without the work of making them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def spoil(folder: Path, kind: str) -> str:
    """Put a bad file into the folder; its name."""
    name = "train/cat/bad.png"
    path = folder / name
    if kind == "text":
        path.write_text("no image at all")
    elif kind == "cut":
        content = write(path, picture(64, 64)).read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.touch()
    elif kind == "pixel":
        write(path, picture(1, 1))
    elif kind == "huge":
        big_png(path)
    elif kind == "exif":
        broken_exif(path)
    elif kind == "link":
        outside = write(folder.parent / "outside.png")
        path.symlink_to(outside)
    elif kind == "loose":
        path.symlink_to("nowhere.png")
    return name


def broken_exif(path: Path) -> Path:
    """A JPEG whose EXIF asks for a turn and has a text for the width: turning it raises struct.error."""
    entries = struct.pack("<HHIIHHIII", 0x0112, 3, 1, 6, 0x0100, 2, 2, 0x4141, 0)
    exif = b"Exif\x00\x00II*\x00" + struct.pack("<IH", 8, 2) + entries
    content = io.BytesIO()
    Image.fromarray(picture()).save(content, "JPEG", exif=exif)
    path.write_bytes(content.getvalue())
    return path


BAD = {
    "exif": "damaged",
    "text": "damaged",
    "cut": "damaged",
    "empty": "damaged",
    "pixel": "too_small",
    "huge": "too_large",
    "link": "link",
    "loose": "link",
}


@pytest.mark.parametrize(("kind", "reason"), BAD.items())
def test_a_bad_file_stops_the_work_or_is_reported(kind, reason, folder, tmp_path):
    name = spoil(folder, kind)
    with pytest.raises(InputError, match=rf"{name}: {reason} .*on_error: skip"):
        load(folder, tmp_path)
    assert not list((tmp_path / "data").iterdir())
    data = load(folder, tmp_path, on_error="skip")
    assert len(data.train) == 6
    assert skipped(tmp_path) == [(name, reason)]


def test_a_file_that_cannot_be_read_is_reported(folder, tmp_path, monkeypatch):
    read = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self.as_posix().endswith("train/cat/1.png"):
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"cat/1\.png: damaged \(cannot be read \(Permission denied\)\)"):
        load(folder, tmp_path)
    assert len(load(folder, tmp_path, on_error="skip").train) == 5
    assert skipped(tmp_path) == [("train/cat/1.png", "damaged")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["exif.jpg", "palette.png", "a.webp"])
def test_files_with_changed_bytes_are_images_or_reported(kind, tmp_path):
    """Whatever 300 seeded changes of a header or body do, `decode` answers."""
    path, rng = tmp_path / kind, np.random.default_rng(5)
    image = Image.fromarray(picture(32, 32))
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    (image.quantize(16) if kind.startswith("palette") else image).save(path, exif=exif)
    content, found = path.read_bytes(), set()
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            changed[int(rng.integers(0, min(len(changed), int(rng.choice([120, 10**6])))))] = int(rng.integers(256))
        path.write_bytes(bytes(changed)[: int(rng.choice([len(changed), rng.integers(1, len(changed))]))])
        result, *_ = decode(path, kind, Settings(8, 3, 1))
        found.add(result.reason if hasattr(result, "reason") else result.shape)
    assert {"damaged", (8, 8, 3)} <= found <= {"damaged", "too_large", "too_small", (8, 8, 3)}


def test_a_palettes_transparent_colour_becomes_white(tmp_path):
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (0, 4, 8, 8))
    palette.save(tmp_path / "a.png", transparency=0)
    image, *_ = decode(tmp_path / "a.png", "a.png", Settings(8, 3, 1))
    assert image[:3].min() == 255
    assert (image[5:] == (0, 0, 255)).all()


def test_a_cmyk_jpeg_has_its_colours(tmp_path):
    """Written as Adobe does, inverted, which Pillow undoes; a reader that does not gives the complement."""
    for cmyk, rgb in (
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
    ):
        Image.new("CMYK", (16, 16), cmyk).save(tmp_path / "a.jpg", quality=95)
        with Image.open(tmp_path / "a.jpg") as written:
            assert written.mode == "CMYK"
        image, *_ = decode(tmp_path / "a.jpg", "a.jpg", Settings(8, 3, 1))
        assert np.abs(image.astype(int) - rgb).max() <= 4


def test_a_link_to_a_folder_outside_is_reported_not_followed(folder, tmp_path):
    write(tmp_path / "elsewhere" / "x.png")
    (folder / "train" / "bird").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    data = load(folder, tmp_path, on_error="skip")
    assert len(data.train) == 6
    assert skipped(tmp_path) == [("train/bird", "link")]


def test_duplicates_are_kept_once_also_across_the_splits(folder, tmp_path):
    content = (folder / "train" / "cat" / "0.png").read_bytes()
    for name in ("train/dog/copy.png", "test/cat/copy.png"):
        (folder / name).write_bytes(content)
    data = load(folder, tmp_path)
    assert (len(data.train), len(data.test)) == (6, 4)
    assert skipped(tmp_path) == [("train/dog/copy.png", "duplicate"), ("test/cat/copy.png", "duplicate")]


def test_reasons_are_counted_for_the_summary(folder, tmp_path):
    content = (folder / "train" / "cat" / "0.png").read_bytes()
    (folder / "train" / "cat" / "again.png").write_bytes(content)
    (folder / "train" / "dog" / "again.png").write_bytes(content)
    spoil(folder, "text")
    load(folder, tmp_path, on_error="skip")
    told = "\n".join(describe_layout(tmp_path / "data" / "set"))
    assert "left out, damaged: 1 (cat 1)" in told
    assert "left out, duplicate: 2 (cat 1, dog 1)" in told
    assert describe_layout(tmp_path) == []


def test_hidden_and_other_files_are_not_looked_at(folder, tmp_path):
    (folder / "notes.txt").write_text("x")
    (folder / "train" / "cat" / "._0.png").write_text("what a Mac leaves behind")
    assert len(load(folder, tmp_path).train) == 6


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image \(\.jpg.*empty"):
        load(tmp_path / "empty", tmp_path)
    with pytest.raises(InputError, match=r"no such file or folder.*nowhere"):
        load(tmp_path / "nowhere", tmp_path)
    (tmp_path / "x.rar").touch()
    with pytest.raises(InputError, match=r"x\.rar is neither"):
        load(tmp_path / "x.rar", tmp_path)


def test_too_few_usable_images_are_counted(folder, tmp_path):
    for name in ("cat/0", "cat/1", "dog/0"):
        (folder / "test" / f"{name}.png").write_text("broken")
    with pytest.raises(InputError, match=r"1 usable images for the test split.*3 skipped"):
        load(folder, tmp_path, on_error="skip")


def test_jpeg_and_webp_are_read(tmp_path):
    flat = np.full((16, 16, 3), 90, np.uint8)
    for suffix in ("jpg", "jpeg", "webp", "png", "JPG"):
        path = write(tmp_path / f"a.{suffix}", flat)
        image, *_ = decode(path, path.name, Settings(8, 3, 4))
        assert isinstance(image, np.ndarray)
        assert np.abs(image.astype(int) - 90).max() <= 2


def test_order_follows_the_names_not_the_file_system(folder, tmp_path):
    before = np.array(load(folder, tmp_path).train)
    for path in sorted(folder.rglob("*.png"), reverse=True):  # made anew in another order
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    os.utime(folder)
    np.testing.assert_array_equal(load(folder, tmp_path).train, before)
