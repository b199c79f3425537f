"""Downloads from a server of our own: checksums, mirrors, cut files, and what is kept."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngldm.data.sources import downloads
from ngldm.data.sources.registry import make_dataset
from ngldm.io.errors import InputError

RNG = np.random.default_rng(0)


def cifar_batch(count: int = 4) -> tuple[bytes, np.ndarray, np.ndarray]:
    images = RNG.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % 10
    rows = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)]
    return b"".join(rows), images, labels


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(
        b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def publish_cifar(server: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    batches = {name: cifar_batch() for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]}
    content = tar_of({name: batch[0] for name, batch in batches.items()})
    monkeypatch.setattr(downloads, "CIFAR10", ("cifar.tar.gz", hashlib.md5(content).hexdigest()))
    server.files["cifar.tar.gz"] = content
    train = [batch[1] for name, batch in batches.items() if name != "test_batch.bin"]
    return np.concatenate(train), batches["test_batch.bin"][1]


def load(name: str, server: Any, tmp_path: Path) -> Any:
    return make_dataset({"name": name, "mirror": server.url}, tmp_path / "set", tmp_path / "raw")


def test_cifar10_is_fetched_once_checked_and_decoded(server, tmp_path, monkeypatch):
    train, test = publish_cifar(server, monkeypatch)
    first = 0  # torchvision asks once for redirects, once for the file
    for _ in range(2):
        data = load("cifar10", server, tmp_path)
        np.testing.assert_array_equal(data.train, train)
        np.testing.assert_array_equal(data.test, test)
        assert data.train_labels.tolist() == [0, 1, 2, 3] * 5
        first = first or len(server.asked)
    assert 0 < len(server.asked) == first


def test_fashion_mnist_is_decoded(server, tmp_path, monkeypatch):
    arrays = {
        "train": RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "train_labels": np.arange(6, dtype=np.uint8),
        "test": RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8),
        "test_labels": np.arange(3, dtype=np.uint8),
    }
    server.files = {f"{key}.gz": idx(array) for key, array in arrays.items()}
    sums = {key: (f"{key}.gz", hashlib.md5(server.files[f"{key}.gz"]).hexdigest()) for key in arrays}
    monkeypatch.setattr(downloads, "FASHION_MNIST", sums)
    data = load("fashion_mnist", server, tmp_path)
    assert data.image_shape == (1, 28, 28)
    np.testing.assert_array_equal(data.train[..., 0], arrays["train"])
    assert data.test_labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("short", [1, 100])
def test_a_cut_download_is_refused_and_started_again(short, server, tmp_path, monkeypatch):
    train, _ = publish_cifar(server, monkeypatch)
    server.short = short
    with pytest.raises(InputError, match=r"dataset\.mirror: "):
        load("cifar10", server, tmp_path)
    assert not (tmp_path / "set").exists()
    kept = [path.name for path in (tmp_path / "raw" / "cifar10").iterdir()]
    assert kept == [".cifar.tar.gz.loaded.part"], "what has come is kept, under a name that no reader takes"
    server.short = 0
    np.testing.assert_array_equal(load("cifar10", server, tmp_path).train, train)


def test_another_checksum_is_refused(server, tmp_path, monkeypatch):
    publish_cifar(server, monkeypatch)
    monkeypatch.setattr(downloads, "CIFAR10", ("cifar.tar.gz", "0" * 32))
    with pytest.raises(InputError, match="MD5 is not 0000"):
        load("cifar10", server, tmp_path)
    assert not (tmp_path / "set").exists()


def test_a_damaged_file_in_the_folder_is_fetched_anew(server, tmp_path, monkeypatch):
    publish_cifar(server, monkeypatch)
    (tmp_path / "raw" / "cifar10").mkdir(parents=True)
    (tmp_path / "raw" / "cifar10" / "cifar.tar.gz").write_bytes(b"half")
    load("cifar10", server, tmp_path)
    assert set(server.asked) == {"cifar.tar.gz"}


def test_no_server_is_an_error_that_says_what_to_do(server, tmp_path):
    with pytest.raises(InputError, match=r"cannot be downloaded.*dataset\.mirror.*put the file at"):
        load("cifar10", server, tmp_path)  # the server is there, the file is not


@pytest.mark.parametrize(
    "content",
    [b"no archive", tar_of({}), tar_of({f"data_batch_{i}.bin": b"x" for i in range(1, 6)})],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_the_right_checksum_of_the_wrong_content_is_refused(content, server, tmp_path, monkeypatch):
    server.files["cifar.tar.gz"] = content
    monkeypatch.setattr(downloads, "CIFAR10", ("cifar.tar.gz", hashlib.md5(content).hexdigest()))
    with pytest.raises(InputError, match="not the archive of CIFAR-10"):
        load("cifar10", server, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0\0\x09\1\0\0\0\1x", b"\0\0\x08\1\0\0\0\2x"])
def test_idx_files_of_another_form_are_refused(content):
    with pytest.raises(ValueError, match=r"IDX|reshape|buffer"):
        downloads.read_idx(content)


def test_the_authors_files_are_those_of_torchvision():
    """The checksums that torchvision has for the same files; CIFAR-10's is of the binary archive, which it has not."""
    from torchvision.datasets import FashionMNIST

    theirs = {(name, md5) for name, md5 in FashionMNIST.resources}
    assert set(downloads.FASHION_MNIST.values()) == theirs
    assert downloads.FASHION_MNIST_URL in FashionMNIST.mirrors
