"""Files that are made to harm: small ones that mean gigabytes, endless ones, deep ones. Each is refused with a line.

The memory of this process is bounded while a test runs: what tries to take it fails at once.
"""

import io
import json
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ngldm.data.reference import read_statistics
from ngldm.data.sources.archives import unpack
from ngldm.data.sources.pixels.reader import UnusableImage, image_bytes, read_image
from ngldm.data.sources.points.tables import read_table
from ngldm.data.sources.shards.records import ShardFault, Tally
from ngldm.data.sources.shards.tars import TarShards, expand
from ngldm.io.errors import InputError
from ngldm.io.files import parse_json, read_json
from ngldm.io.limits import MAX_IMAGE_FILE
from ngldm.io.tensors import load_tensors
from ngldm.model import load_model

pytestmark = pytest.mark.usefixtures("in_time")
GIB = 2**30
ROOM = 3 * GIB  # of memory, beyond what the process has


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def sparse_tar(path: Path, size: int, name: str = "a.png") -> Path:
    """An archive of 20 KiB in which one file is a hole of `size` bytes (GNU's format of 2003)."""
    member = tarfile.TarInfo(name)
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": name, "GNU.sparse.size": str(size)}
    member.pax_headers = {**headers, "GNU.sparse.numblocks": "0", "GNU.sparse.map": f"{size},0"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    with path.open("ab") as file:
        file.write(bytes(20_480 - path.stat().st_size % 20_480))
    return path


def bomb_zip(path: Path, size: int) -> Path:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle,
        bundle.open("a.png", "w", force_zip64=True) as file,
    ):
        for _ in range(size // 2**24):
            file.write(bytes(2**24))
    return path


@pytest.mark.parametrize("size", [8 * GIB, 10**15])
def test_a_sparse_tar_is_refused_before_it_is_read(tmp_path: Path, size: int) -> None:
    archive = sparse_tar(tmp_path / "x.tar", size)
    assert archive.stat().st_size <= 20_480
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"NGLDM_MAX_(RATIO|UNPACKED)|bytes free"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_shard_with_a_sparse_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    shards = TarShards([str(sparse_tar(tmp_path / "x.tar", 8 * GIB))], "png", None)
    with pytest.raises(ShardFault, match=f"above {MAX_IMAGE_FILE}"):
        list(shards.records(0, Tally()))


def test_a_bomb_by_ratio_is_refused_and_the_limit_can_be_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngldm.io.limits.FREE_BYTES", 2**20)  # else the test would write 256 MiB
    archive = bomb_zip(tmp_path / "x.zip", 2**26)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="NGLDM_MAX_RATIO"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setenv("NGLDM_MAX_RATIO", "2000")
    assert unpack(archive, tmp_path / "out") == 1


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path, out = tmp_path / f"x.{suffix}", tmp_path / "out"
    out.mkdir()
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as bundle:
            for number in range(11):
                bundle.writestr(f"{number}.png", b"x")
    else:
        with tarfile.open(path, "w") as tar:
            for number in range(11):
                tar.addfile(tarfile.TarInfo(f"{number}.png"), io.BytesIO())
    monkeypatch.setenv("NGLDM_MAX_MEMBERS", "10")
    with pytest.raises(InputError, match="NGLDM_MAX_MEMBERS"):
        unpack(path, out)


@pytest.mark.parametrize(
    "pattern", ["{0..999999999999}.tar", "{0..99999}{0..99999}.tar", "{a,{0..9}{0..99999999}}.tar"]
)
def test_a_pattern_of_endlessly_many_shards_is_refused(tmp_path: Path, pattern: str) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(InputError, match=r"dataset.shards: .*NGLDM_MAX_MEMBERS"):
        expand("dataset.shards", pattern, tmp_path)


def png(width: int, height: int, content: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 1), (60_000, 1000), (1, 60_000_000)])
def test_an_image_of_very_many_pixels_is_refused(width: int, height: int) -> None:
    with pytest.raises(UnusableImage, match="too_large"):
        read_image(png(width, height))


def test_a_file_that_is_no_image_because_of_its_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(4 * GIB)
    with pytest.raises(UnusableImage, match="too_large"):
        image_bytes(path)


def test_fid_holds_few_large_images_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty images of 49 million pixels are small files, and 7 GiB as one batch. Here all is 100 times smaller."""
    from ngldm.pipeline.cli.fid import read_batches

    monkeypatch.setattr("ngldm.data.sources.pixels.reader.MAX_PIXELS", 500_000)
    Image.new("L", (700, 700)).save(tmp_path / "0.png")
    for number in range(1, 4):
        (tmp_path / f"{number}.png").write_bytes((tmp_path / "0.png").read_bytes())
    count, batches = read_batches(tmp_path, 50)
    assert count == 4
    assert [len(batch) for batch in batches] == [1, 1, 1, 1]


def npy(shape: str, data: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


NPY = {
    "a million million rows": npy("(1000000000000, 3)"), "more than numbers go": npy(f"({2**70}, 3)"),
    "negative": npy("(-1, 3)"), "objects": npy("(3, 3)", descr="'|O'"), "no tuple": npy("3"), "empty": b"",
    "half a header": npy("(3, 3)")[:40], "deep": npy("(" * 5000 + ")" * 5000), "code": npy("(__import__('os'),)"),
    "structured": npy("(3,)", bytes(48), descr="[('a', '<f8'), ('b', '<f8')]"),
    "text": npy("(2, 2)", bytes(80), "'<U5'"),
}  # fmt: skip


@pytest.mark.parametrize("name", NPY)
def test_a_table_whose_header_lies_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(NPY[name])
    with pytest.raises(InputError, match=r"x\.npy"):
        read_table(path)


def test_a_parquet_file_of_very_many_equal_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"x": np.zeros(2_000_000)}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    monkeypatch.setenv("NGLDM_MAX_CELLS", "1000000")
    with pytest.raises(InputError, match="NGLDM_MAX_CELLS"):
        read_table(path)


def test_statistics_that_unpack_to_gigabytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngldm.io.limits.FREE_BYTES", 2**20)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("mu.npy", npy("(4096,)", bytes(4096 * 8)))
        with bundle.open("sigma.npy", "w", force_zip64=True) as file:
            file.write(npy("(4096, 4096)"))
            for _ in range(8):
                file.write(bytes(2**24))
    assert path.stat().st_size < 2**20
    with pytest.raises(InputError, match=r"NGLDM_MAX_RATIO"):
        read_statistics(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, "9" * 5000, "", "{", "nul"])
def test_deep_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="here: "):
        parse_json(text, "here")


@pytest.fixture
def bundle(make_model: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """A model file whose settings a function has changed; its weights stay."""

    def make(change: Callable[[dict[str, Any]], object], kind: str = "kl") -> Path:
        path = tmp_path / "model.safetensors"
        make_model("laplace", kind).save(path)
        tensors, state = load_tensors(path)
        change(state)
        save_file(tensors, path, metadata={"state": json.dumps(state)})
        return path

    return make


def put(*keys: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(state: dict[str, Any]) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


DEEP: object = 1
for _ in range(60):
    DEEP = [DEEP]
ASKS: list[tuple[tuple[str, ...], object]] = [
    *((("unet", "widths"), own) for own in ([10**6] * 4, [8] * 10**4, [60_000, 60_000], [], [0], "8", [8.5], None)),
    *((("unet", "blocks_per_level"), blocks) for blocks in (10**6, 100, 0, -1, "2", None, 1e3)),
    *((("schedule", "num_train_timesteps"), steps) for steps in (10**12, 10**6 + 1, 0, "30", None, 1e9)),
    *((("autoencoder", "width"), width) for width in (10**6, 60_000, 0, "8", None)),
    *((("autoencoder", "levels"), levels) for levels in (10**6, -1, "1", None)),
    *((("autoencoder", "latent_channels"), channels) for channels in (10**9, 0)),
    *((("image_shape",), shape) for shape in ([3, 10**6, 10**6], [3, 30_000, 30_000], [3, 0, 8], [3, 8], None, "388")),
    (("noise",), {"name": "averaged", "params": {"n": 10**6}}),
    (("noise",), {"name": "averaged", "params": {"n": 10**12}}),
    (("noise",), {"name": "averaged", "params": {"base": DEEP}}), (("noise",), {"name": DEEP, "params": {}}),
    (("noise",), {"name": "laplace", "params": "x"}), (("noise",), None), (("noise",), {}), (("unet",), None),
    (("noise",), {"name": "averaged", "params": {"n": 1000, "base": {"distribution": "averaged", "n": 1000}}}),
    (("autoencoder", "kind"), "../x"), (("autoencoder",), []), (("schedule",), 3), (("diffusion",), None),
    (("schedule", "name"), ["cosine"]), (("diffusion", "objective"), {}), (("format",), "ngldm-bundle-99"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "value"), ASKS, ids=[f"{'.'.join(k)}-{str(v)[:30]}" for k, v in ASKS])
def test_a_model_file_that_asks_for_absurd_sizes_is_refused(bundle, keys: tuple[str, ...], value: object) -> None:
    path = bundle(put(*keys, value=value))
    with pytest.raises(InputError) as refused:
        load_model(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 2000


def test_an_honest_model_file_is_taken(bundle) -> None:
    for kind in ("kl", "identity", "paper"):
        assert load_model(bundle(lambda state: None, kind)).parameter_count > 0


@pytest.mark.parametrize("text", ["", "[", "null", "3", "[" * 100_000, '"x"', json.dumps(DEEP)])
def test_a_model_file_with_other_metadata_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"state": text})
    with pytest.raises(InputError, match="no readable state"):
        load_model(path)


def test_a_safetensors_file_whose_header_lies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    for content in (struct.pack("<Q", len(header)) + header, struct.pack("<Q", 2**62), b"\xff" * 100, b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a whole safetensors file"):
            load_model(path)


@pytest.fixture
def served(make_model: Callable[..., Any]) -> Any:
    from ngldm.pipeline.tracking.served_model import ServedModel
    from ngldm.sampling.generator import Generator

    model = ServedModel()
    model.generator = Generator(make_model("laplace"))
    return model


def ask(served: Any, n: object, seed: object = 0, **options: object) -> Any:
    return served.predict(None, {"n": n, "seed": [seed] * len(n)}, options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "seed", "options", "words"),
    [
        ([10**9], 0, {}, "images in one request"),
        ([1] * 1001, 0, {}, "rows in one request"),
        ([600, 600], 0, {}, "1200 images in one request"),
        ([0], 0, {}, "n: 0 must be at least 1"),
        ([float("nan")], 0, {}, "n: nan is not a whole number"),
        ([1.5], 0, {}, "n: 1.5 is not"),
        (["1"], 0, {}, "n: '1' is not"),
        ([None], 0, {}, "n: None is not"),
        ([1], -1, {}, "seed: -1"),
        ([1], float("inf"), {}, "seed: inf is not"),
        ([1], 0, {"method": "ddim", "num_inference_steps": 10**12}, "num_inference_steps"),
        ([1000], 0, {"method": "ddim", "num_inference_steps": 10**5}, "steps of images in one request"),
        ([1], 0, {"method": "ddim", "num_inference_steps": 3, "start_noise": f"averaged:{10**12}"}, "start_noise"),
    ],
)
def test_a_request_is_bounded(served: Any, n: list[object], seed: object, options: dict[str, Any], words: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=words):
        ask(served, n, seed, **options)


def test_a_request_ends_in_time(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    assert len(ask(served, [2.0], method="ddim", num_inference_steps=3)) == 2
    clock = iter(range(0, 10**6, 400))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with pytest.raises(MlflowException, match="not done after 600 s"):
        ask(served, [2], method="ddim", num_inference_steps=3)
