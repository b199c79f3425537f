"""Random damage to every kind of file that is read: a reader gives a value or its own error, and nothing else.

NGLDM_FUZZ is the number of inputs for each kind; docs/reliability.md has the figures of a long run.
"""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ngldm.data.reference import read_statistics
from ngldm.data.sources.archives import unpack
from ngldm.data.sources.pixels.reader import UnusableImage, read_image
from ngldm.data.sources.points.tables import read_table
from ngldm.data.sources.shards.records import ShardFault, Tally
from ngldm.data.sources.shards.tars import TarShards
from ngldm.io.errors import InputError
from ngldm.io.files import parse_json
from ngldm.model import load_model
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.config.reading.text import read_yaml

ROOT = Path(__file__).parents[2]
INPUTS = int(os.environ.get("NGLDM_FUZZ", "30"))
OWN = (InputError, UnusableImage, ShardFault)
fuzzed = settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    derandomize=INPUTS <= 100,  # CI sees the same inputs each time
    suppress_health_check=list(HealthCheck),
)
INTERESTING = (b"\xff" * 8, bytes(8), b"-1", b"9" * 30, b"[" * 200, b"../", b"nan", b"1e999", b"\r\n", b"'", b"\x7f")


def damaged(seed: bytes) -> st.SearchStrategy[bytes]:
    """A file with some of its bytes changed, cut out, put in or repeated. One number draws all of it: that is fast."""
    return st.integers(0, 2**64 - 1).map(lambda number: damage(seed, Random(number)))


def damage(seed: bytes, draws: Random) -> bytes:
    content = bytearray(seed)
    for _ in range(draws.randint(0, 6)):
        place, length = draws.randint(0, len(content)), draws.randint(0, 40)
        kind = draws.choice(["flip", "cut", "put", "interesting", "end", "repeat"])
        if kind == "flip" and place < len(content):
            content[place] ^= draws.randint(1, 255)
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "put":
            content[place:place] = draws.randbytes(draws.randint(0, 20))
        elif kind == "interesting":
            word = draws.choice(INTERESTING)
            content[place : place + len(word)] = word
        elif kind == "end" and draws.random() < 0.3:
            del content[place:]
        elif kind == "repeat":
            content[place:place] = content[place : place + length] * draws.randint(1, 5)
    return bytes(content)


def tolerated(read: Callable[[], object]) -> None:
    with suppress(*OWN):
        read()


@cache
def picture(kind: str, mode: str) -> bytes:
    out = io.BytesIO()
    pixels = np.arange(12 * 9 * 4, dtype=np.uint8).reshape(12, 9, 4)
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


PICTURES = [
    ("PNG", "RGBA"),
    ("PNG", "P"),
    ("PNG", "L"),
    ("JPEG", "RGB"),
    ("JPEG", "CMYK"),
    ("GIF", "P"),
    ("BMP", "RGB"),
]
PICTURES += [("TIFF", "RGB"), ("TIFF", "L"), ("WEBP", "RGBA"), ("PPM", "RGB")]


@fuzzed
@given(content=st.sampled_from(PICTURES).flatmap(lambda kind: damaged(picture(*kind))))
def test_images(content: bytes) -> None:
    tolerated(lambda: read_image(content))


@cache
def archive(suffix: str) -> bytes:
    out = io.BytesIO()
    files = {"a/1.png": picture("PNG", "L"), "a/2.png": b"x" * 700, "b/\xe4.txt": b"3"}
    if suffix == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, content in files.items():
                bundle.writestr(name, content)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue() if suffix == "tar" else gzip.compress(out.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(data=st.data(), suffix=st.sampled_from(["zip", "tar", "tar.gz"]))
def test_archives(folder: Path, data: st.DataObject, suffix: str) -> None:
    path, out = folder / f"x.{suffix}", folder / "out"
    path.write_bytes(data.draw(damaged(archive(suffix))))
    out.mkdir(exist_ok=True)
    tolerated(lambda: unpack(path, out))
    strange = {item.name for item in folder.iterdir()} - {path.name, "out"}
    assert all(name.startswith(("x.", "table.", "model.")) for name in strange), "nothing leaves the folder"


@fuzzed
@given(data=st.data(), suffix=st.sampled_from(["tar", "tar.gz"]))
def test_shards(folder: Path, data: st.DataObject, suffix: str) -> None:
    path = folder / f"x.{suffix}"
    path.write_bytes(data.draw(damaged(archive(suffix))))
    tolerated(lambda: list(TarShards([str(path)], "png;txt", None).records(0, Tally())))


@cache
def table(suffix: str) -> bytes:
    import pyarrow
    from pyarrow import parquet

    out, numbers = io.BytesIO(), np.linspace(-1.0, 1.0, 60).reshape(20, 3)
    if suffix == "npy":
        np.save(out, numbers)
    elif suffix == "npz":
        np.savez(out, mu=numbers[0], sigma=np.eye(3))
    elif suffix == "csv":
        np.savetxt(out, numbers, delimiter=",", header="a,b,c", comments="")
    else:
        parquet.write_table(pyarrow.table({name: numbers[:, i] for i, name in enumerate("abc")}), out)
    return out.getvalue()


@fuzzed
@given(data=st.data(), suffix=st.sampled_from(["npy", "csv", "parquet", "npz"]))
def test_tables(folder: Path, data: st.DataObject, suffix: str) -> None:
    path = folder / f"table.{suffix}"
    path.write_bytes(data.draw(damaged(table(suffix))))
    tolerated(lambda: read_statistics(path) if suffix == "npz" else read_table(path))


@fuzzed
@given(content=damaged((ROOT / "params.yaml").read_bytes()))
def test_params(content: bytes) -> None:
    def read() -> None:
        settings = read_yaml(content, "params.yaml")
        if isinstance(settings, dict):
            parse_params(settings)

    tolerated(read)


@fuzzed
@given(
    content=damaged(b'{"mean": [0.5, -1e3], "counts": {"train": 3}, "name": "x", "deep": [[[null, true, "\\u00e4"]]]}')
)
def test_json(content: bytes) -> None:
    tolerated(lambda: parse_json(content, "x.json"))


@pytest.fixture
def bundle(make_model: Callable[..., Any], folder: Path) -> bytes:
    path = folder / "model.safetensors"
    make_model("laplace", "paper").save(path)
    return path.read_bytes()


def test_bundles(folder: Path, bundle: bytes) -> None:
    path, header = folder / "model.safetensors", 8 + int.from_bytes(bundle[:8], "little")

    @fuzzed
    @given(content=damaged(bundle[8:header]), fits=st.booleans(), tail=st.integers(0, 64))
    def run(content: bytes, fits: bool, tail: int) -> None:
        """The header is damaged: names, shapes and settings. Half of the files say its new length."""
        length = (len(content) if fits else header - 8).to_bytes(8, "little")
        path.write_bytes(length + content + bundle[header : len(bundle) - tail])
        tolerated(lambda: load_model(path))

    run()
