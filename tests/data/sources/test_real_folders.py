"""Folders as people have them, through `download` and the reader of `ngldm fid`: right classes and counts, or one line.

Every picture's red tells which class it shows, so that a label is checked against the pixels, not against a name.
"""

import csv
import io
import os
import tarfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ngldm.data.sources.layout import describe_layout
from ngldm.data.sources.registry import make_dataset
from ngldm.io.errors import InputError
from ngldm.pipeline.cli.fid import read_batches

RED = {"cat": 30, "dog": 90, "bird": 150, "café": 210, "": 180}
RNG = np.random.default_rng(3)
CAFE_MAC = unicodedata.normalize("NFD", "café")  # as macOS spells it: e and an accent


def picture(kind: str = "", size: tuple[int, int] = (24, 20)) -> Image.Image:
    array = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    array[..., 0] = RED[kind] + RNG.integers(-8, 9, size)
    return Image.fromarray(array)


def write(path: Path, kind: str = "", image: Image.Image | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture(kind)).save(path, **options)
    return path


def classes(root: Path, count: int, kinds: tuple[str, ...] = ("cat", "dog"), suffix: str = "png") -> Path:
    for kind in kinds:
        for i in range(count):
            write(root / kind / f"{i}.{suffix}", kind)
    return root


def splits(root: Path, train: str = "train", test: str = "test", kinds: tuple[str, ...] = ("cat", "dog")) -> Path:
    classes(root / train, 3, kinds)
    classes(root / test, 2, kinds)
    return root


def data(path: Path) -> dict[str, bytes]:
    """The files of a folder, as members of an archive."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class Expected:
    """Of a case: images of each class in train and test (or in both, for a random split), what is left out and why,
    how many images `ngldm fid` reads, and words of the errors where there is no answer."""

    counts: dict[str, tuple[int, int]] | dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    fid: int | str = 0
    error: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    says: str = ""


CASES: dict[str, tuple[Callable[[Path], Path], Expected]] = {}
BOTH = {"cat": (3, 2), "dog": (3, 2)}
RANDOM = {"test_size": 2}


def case(**expected: Any) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def register(build: Callable[[Path], Path]) -> Callable[[Path], Path]:
        CASES[build.__name__] = (build, Expected(**expected))
        return build

    return register


@case(counts={"": 8}, left_out={"hidden": 2, "format": 3}, fid=8, options=RANDOM, says="classes: none")
def phone_photos(root):
    for i in range(6):
        exif = Image.Exif()
        exif[0x0112] = 1 + i
        write(root / f"IMG_{i:04}.JPG", quality=95, exif=exif)
    write(root / "PXL_1.MP.jpg", quality=95)
    write(root / "MVIMG_2.jpeg", image=picture(), format="MPO", save_all=True, append_images=[picture("cat")])
    for name in ("IMG_0007.HEIC", "IMG_0001.MOV", "IMG_0001.AAE", ".nomedia", "Thumbs.db"):
        (root / name).write_bytes(b"\0\0\0\x18ftypheic")
    return root


@case(counts={"": 6}, fid=6, options={**RANDOM, "channels": 1})
def scans_of_16_bits(root):
    for i in range(6):
        values = (RED[""] + RNG.integers(-8, 9, (32, 24))).astype(np.uint16) * 257
        write(root / f"Scan {i}.tif", image=Image.fromarray(values))
    return root


@case(counts=BOTH, left_out={"hidden": 3}, fid="it has splits")
def zipped_on_a_mac(root):
    splits(root / "in" / "pets")
    members = data(root / "in") | {"pets/.DS_Store": b"\0\0\0\1Bud1"}
    members |= {f"__MACOSX/pets/train/cat/._{i}.png": b"\0\5\x16\7" for i in range(3)}
    members |= {"__MACOSX/._pets": b"\0\5\x16\7", "pets/train/cat/._0.png": b"\0\5\x16\7"}
    with zipfile.ZipFile(root / "pets.zip", "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return root / "pets.zip"


def zip_with_bytes(path: Path, kind: str, members: dict[str, bytes]) -> Path:
    """A zip without the flag for UTF-8, whose folder `café` is written with the bytes `kind`, as old tools do."""
    stand_in = "c" * len(kind.encode("latin-1"))
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name.replace("café", stand_in), content)
    path.write_bytes(path.read_bytes().replace(stand_in.encode() + b"/", kind.encode("latin-1") + b"/"))
    return path


@case(counts={"café": 4, "dog": 4}, fid=8, options=RANDOM)
def zipped_on_a_mac_with_accents(root):
    """macOS writes UTF-8, the accent apart from its letter, and does not set the flag that says so."""
    members = data(classes(root / "in", 4, ("café", "dog")))
    return zip_with_bytes(root / "a.zip", CAFE_MAC.encode().decode("latin-1"), members)


@case(counts={"café": 4, "dog": 4}, fid=8, options=RANDOM)
def zipped_on_windows_with_its_code_page(root):
    return zip_with_bytes(root / "a.zip", "caf\x82", data(classes(root / "in", 4, ("café", "dog"))))


@case(counts=BOTH, fid="it has splits")
def zipped_on_windows_with_backslashes(root):
    splits(root / "in")
    with zipfile.ZipFile(root / "a.zip", "w") as bundle:
        for folder in ("train\\", "train\\cat\\", "train\\dog\\", "test\\"):
            bundle.writestr(folder, b"")
        for name, content in data(root / "in").items():
            bundle.writestr(name.replace("/", "\\"), content)
    return root / "a.zip"


@case(counts=BOTH, left_out={"hidden": 10}, fid="it has splits")
def tar_with_hard_links(root):
    """GNU tar writes a file with two names once, the second name as a link to the first."""
    splits(root / "in")
    with tarfile.open(root / "a.tar.gz", "w:gz") as tar:
        for name, content in data(root / "in").items():
            member = tarfile.TarInfo(f"store/.{name.replace('/', '_')}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, member.name
            tar.addfile(link)
    return root / "a.tar.gz"


@case(counts=BOTH, left_out={"format": 2, "hidden": 2}, fid="it has splits", says="all images are in ")
def nested_top_folders_beside_a_licence(root):
    splits(root / "pets-main" / "images")
    (root / "LICENSE").write_text("MIT")
    (root / "pets-main" / "README.md").write_text("#")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    return root


@case(counts=BOTH, fid="it has splits", says="test is val/ (4)")
def train_and_val(root):
    return splits(root, "train", "val")


@case(counts=BOTH, fid="it has splits")
def train_and_valid_in_capitals(root):
    return splits(root, "Train", "VALID")


@case(counts=BOTH, fid="it has splits")
def train_and_validation(root):
    return splits(root, "TRAIN", "Validation")


@case(counts=BOTH, fid="it has splits")
def training_and_testing(root):
    return splits(root, "Training", "Testing")


@case(counts=BOTH, left_out={"validation": 4}, fid="it has splits")
def train_dev_and_test(root):
    classes(root / "dev", 2)
    return splits(root)


@case(counts={"cat": 5, "dog": 5}, fid=10, options=RANDOM, says="all images are in train/")
def train_alone(root):
    classes(root / "train", 5)
    return root


@case(counts={"cat": (3, 2), "dog": (3, 2)}, fid="it has splits")
def splits_around_a_folder_of_images(root):
    classes(root / "train" / "images", 3)
    classes(root / "test" / "images", 2)
    return root


@case(error="grid.png: stray (not in train/ or test/)", fid="it has splits")
def a_grid_beside_the_splits(root):
    write(root / "grid.png")
    return splits(root)


@case(counts=BOTH, left_out={"stray": 1}, options={"on_error": "skip"}, fid="it has splits")
def a_grid_beside_the_splits_left_out(root):
    return a_grid_beside_the_splits(root)


@case(error="cover.jpg: stray (in no class folder", fid="1 images are next to folders", options=RANDOM)
def a_cover_beside_the_classes(root):
    write(root / "cover.jpg")
    return classes(root, 4)


@case(error="the splits are inside the classes", fid="the splits are inside the classes")
def splits_inside_the_classes(root):
    for kind in ("cat", "dog"):
        for split in ("train", "test"):
            for i in range(3):
                write(root / kind / split / f"{i}.png", kind)
    return root


@case(error="test/ without train/", fid="test/ without train/")
def a_test_folder_beside_classes(root):
    write(root / "test" / "0.png")
    return classes(root, 3)


@case(error="train/ with folders in it, without test/", fid="train/ with folders in it")
def train_beside_another_folder(root):
    classes(root / "train", 3)
    classes(root / "extra", 3)
    return root


@case(error="train/ are folders of one split", fid="are folders of one split")
def two_folders_of_one_split(root):
    classes(root / "Train", 3)
    return splits(root)


@case(counts={"cat": 5, "dog": 5}, left_out={"hidden": 6}, fid=10, options=RANDOM)
def folders_of_tools(root):
    classes(root, 5)
    for name in (".ipynb_checkpoints", "@eaDir", ".git", ".thumbnails"):
        write(root / name / "0.png")
    write(root / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png")
    (root / "dog" / "desktop.ini").write_text("[x]")
    return root


@case(counts={"": 6}, fid=6, options=RANDOM, says="only the first is used: 2")
def exports_of_all_kinds(root):
    """Palette with transparency, 1 bit, grey and alpha, CMYK, animation, pages, mixed sizes."""
    red = Image.new("RGB", (20, 30), (RED[""], 0, 0))
    write(root / "a.gif", image=red, save_all=True, append_images=[Image.new("RGB", (20, 30), "white")], loop=0)
    write(root / "b.png", image=red.quantize(4), transparency=3)
    write(root / "c.jpg", image=picture("", (640, 480)).convert("CMYK"), quality=95)
    write(root / "d.tiff", image=picture("", (9, 80)), save_all=True, append_images=[picture("cat")])
    write(root / "e.png", image=Image.new("LA", (16, 16), (RED[""], 255)))
    write(root / "f.webp", image=picture("", (100, 101)), lossless=True)
    return root


@case(counts={"": 4}, fid=4, options={**RANDOM, "channels": 1})
def faxes_of_one_bit(root):
    for i in range(4):
        bits = (RNG.random((64, 64)) < RED[""] / 255) * np.uint8(255)
        write(root / f"{i}.tif", image=Image.fromarray(bits).convert("1"), compression="group4")
    return root


@case(counts={"cat": 4, "dog": 4}, left_out={"empty": 2}, fid=8, options=RANDOM)
def empty_class_folders(root):
    (root / "bird").mkdir(parents=True)
    (root / "fish" / "small").mkdir(parents=True)
    return classes(root, 4)


@case(error="dataset.test_size: 2; the folder has no train/", fid="1 images, at least 2", options=RANDOM)
def one_image(root):
    write(root / "only.png")
    return root


@case(error="no image (.jpg", fid="no image")
def no_image(root):
    for name in ("a.heic", "b.heic", "list.txt"):
        (root / name).write_bytes(b"x")
    return root


@case(counts={"café": 6, "bird": 4}, fid=10, options=RANDOM)
def one_class_in_two_spellings(root):
    """A folder merged from a Mac and a PC holds two folders that look the same."""
    for i in range(3):
        write(root / "café" / f"{i}.png", "café")
        write(root / CAFE_MAC / f"{i} ñ 猫.png", "café")
    return classes(root, 4, ("bird",))


@case(counts={"cat": 4, "dog": 4}, fid=8, options=RANDOM)
def deep_folders(root):
    for kind in ("cat", "dog"):
        for i in range(4):
            write(root / kind / "2024" / f"{i:02}" / "raw" / f"{i}.PNG", kind)
    return root


@case(counts={"cat": (3, 2), "dog": (3, 2)}, left_out={"duplicate": 10}, fid="it has splits")
def class_folders_that_are_links_inside(root):
    for split, count in (("train", 3), ("test", 2)):
        classes(root / "store" / split[::-1], count)
        (root / split).mkdir()
        for kind in ("cat", "dog"):
            (root / split / kind).symlink_to(Path("..", "store", split[::-1], kind))
    return root


@case(counts={"cat": 4, "dog": 4}, left_out={"hidden": 1}, fid=8, options=RANDOM)
def links_into_a_hidden_store(root):
    classes(root / ".store", 4)
    for kind in ("cat", "dog"):
        (root / kind).symlink_to(root / ".store" / kind)
    return root


@case(counts={"cat": 4, "dog": 4}, left_out={"duplicate": 4}, fid=8, options=RANDOM)
def a_second_name_of_a_class(root):
    classes(root, 4)
    (root / "latest").symlink_to("dog")
    return root


@case(error="loop: link (leads to .., a folder that contains the link)", fid=8, options=RANDOM)
def a_link_back(root):
    classes(root, 4)
    (root / "cat" / "loop").symlink_to("..")
    return root


@case(error="6 links that lead out", fid=6, options=RANDOM)
def all_files_are_links_outside(root):
    (root / "snapshot").mkdir(parents=True)
    for i in range(6):
        (root / "snapshot" / f"{i}.png").symlink_to(write(root / "blobs" / f"{i}.png"))
    return root / "snapshot"


@case(error="links that lead out", fid="no image")
def all_links_lead_nowhere(root):
    for i in range(6):
        (root / f"{i}.png").symlink_to("../gone.png")
    return root


@case(error="cat/zero.png: damaged", fid="zero.png: not an image", options=RANDOM)
def a_file_of_no_bytes(root):
    classes(root, 4)
    (root / "cat" / "zero.png").touch()
    return root


@case(
    counts={"cat": 4, "dog": 4},
    left_out={"damaged": 3, "too_small": 1, "link": 1, "format": 1},
    fid="not an image",
    options={"test_size": 4, "on_error": "skip"},
    says="left out, damaged: 3 (cat 1, dog 2)",
)
def everything_wrong_at_once(root):
    classes(root, 4)
    (root / "cat" / "zero.png").touch()
    (root / "dog" / "page.jpg").write_text("<html>")
    whole = (root / "dog" / "1.png").read_bytes()
    (root / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    write(root / "dog" / "dot.png", image=Image.new("RGB", (1, 1)))
    (root / "cat" / "out.png").symlink_to(write(root.parent / "outside.png"))
    (root / "cat" / "list.txt").write_text("x")
    return root


@case(counts={"cat": 4, "dog": 4}, left_out={"damaged": 1}, fid="not an image", options={**RANDOM, "on_error": "skip"})
def names_that_are_not_utf8(root):
    classes(root, 4)
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/caf\xe9.png")).write_text("broken")
    return root


@case(counts={"cat": 3, "dog": 5}, left_out={"format": 16}, fid=8, options=RANDOM)
def images_with_labels_beside_them(root):
    """As detectors are trained: a text for each image, in a folder of its own."""
    for kind, count in (("cat", 3), ("dog", 5)):
        for i in range(count):
            write(root / "images" / kind / f"{i}.jpg", kind, quality=95)
            for suffix in ("txt", "json"):
                (root / "labels" / f"{kind}{i}.{suffix}").parent.mkdir(exist_ok=True)
                (root / "labels" / f"{kind}{i}.{suffix}").write_text("0 .5 .5 .1 .1")
    return root


@case(counts={"cat": 4, "dog": 4}, left_out={"duplicate": 2}, fid=10, options=RANDOM)
def copies(root):
    classes(root, 4)
    for i in range(2):
        (root / "cat" / f"{i} (1).png").write_bytes((root / "cat" / f"{i}.png").read_bytes())
    return root


def download(source: Path, tmp_path: Path, options: dict[str, Any]) -> Path:
    config = {"name": "image_folder", "source": str(source), "size": 8, "channels": 3, "min_side": 4}
    config |= {"test_size": None, "seed": 0, "on_error": "fail", **options}
    make_dataset(config, tmp_path / "data" / "set", tmp_path / "raw")
    return tmp_path / "data" / "set"


def labels_by_colour(folder: Path, names: list[str]) -> dict[str, tuple[int, int]]:
    """Counts of each class, after a check that every label's images have that class's red."""
    counts = {}
    for split in ("train", "test"):
        images, labels = np.load(folder / f"{split}.npy"), np.load(folder / f"{split}_labels.npy")
        assert len(images) == len(labels)
        for image, label in zip(images, labels, strict=True):
            assert abs(image[..., 0].mean() - RED[names[label]]) < 22, names[label]
        counts[split] = Counter(names[label] for label in labels)
    return {name: (counts["train"][name], counts["test"][name]) for name in names}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my folder").mkdir()
    return tmp_path / "my folder"


@pytest.mark.parametrize("name", CASES)
def test_download_gets_it_right_or_says_why_not(name, folder, tmp_path):
    build, expected = CASES[name]
    source = build(folder)
    if expected.error:
        with pytest.raises(InputError) as caught:
            download(source, tmp_path, expected.options)
        assert expected.error in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    made = download(source, tmp_path, expected.options)
    found = labels_by_colour(made, sorted(expected.counts))
    if expected.options.get("test_size"):
        assert {kind: sum(counts) for kind, counts in found.items()} == expected.counts
        drawn = sum(test for _, test in found.values())
        assert expected.options["test_size"] - len(expected.left_out) <= drawn <= expected.options["test_size"]
    else:
        assert found == expected.counts
    with (made / "skipped.csv").open(newline="", encoding="utf-8") as file:
        assert Counter(row["reason"] for row in csv.DictReader(file)) == expected.left_out
    told = "\n".join(describe_layout(made))
    told.encode()  # can be printed
    assert expected.says in told
    for kind, counts in found.items():
        assert f"{kind} {counts[0]} + {counts[1]}" in told or not kind
    for reason, count in expected.left_out.items():
        assert f"left out, {reason}: {count}" in told


@pytest.mark.parametrize("name", CASES)
def test_fid_counts_the_same_images_or_says_why_not(name, folder):
    build, expected = CASES[name]
    source = build(folder)
    if source.is_file():
        with pytest.raises(InputError, match="unpack it"):
            read_batches(source, 4)
        return
    if isinstance(expected.fid, str):
        with pytest.raises(InputError) as caught:
            list(read_batches(source, 4)[1])
        assert expected.fid in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    count, batches = read_batches(source, 4)
    assert count == sum(map(len, batches)) == expected.fid
