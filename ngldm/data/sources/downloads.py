"""CIFAR-10 and Fashion-MNIST: downloaded with checksums, read without pickles."""

import gzip
import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ngldm.data.dataset import Dataset, Start, write_arrays
from ngldm.data.sources.web import download, one_at_a_time, shown_address
from ngldm.io.errors import InputError
from ngldm.io.files import entry
from ngldm.io.images import UInt8Array

# Name and MD5 as published by the data sets' authors. CIFAR-10 in its binary form: the "python version" is pickles.
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR10 = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d13530")
FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST = {
    "train": ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train_labels": ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    "test": ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    "test_labels": ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
}
MAX_BYTES = 180_000_000  # of a file; the largest, CIFAR-10's, has 170 million
CIFAR10_SIDE, CIFAR10_RECORD = 32, 1 + 3 * 32 * 32


def fetch(url: str, name: str, md5: str, folder: Path) -> Path:
    """The file `url` + `name` in `folder`, downloaded unless it is there with the right checksum.

    A file appears under its name only whole and checked. Of an interrupted download the rest is loaded.

    Raises:
        InputError: no connection, or not the file that it should be.
    """
    path = folder / name
    if path.is_file() and _md5(path) == md5:
        return path
    with one_at_a_time(path):
        if not (path.is_file() and _md5(path) == md5):  # another process may have loaded it meanwhile
            _load(url, md5, path)
    return path


def _load(url: str, md5: str, path: Path) -> None:
    name, loaded = path.name, path.with_name(f".{path.name}.loaded")
    try:
        download("dataset.mirror", url + name, loaded, MAX_BYTES)
    except InputError as error:
        raise InputError(f"{error}; set dataset.mirror to another server, or put the file at {path}") from None
    if _md5(loaded) != md5:
        loaded.unlink()
        raise InputError(f"dataset.mirror: {shown_address(url + name)} gives another file: its MD5 is not {md5}")
    loaded.replace(path)


def _md5(path: Path) -> str:
    """The checksum that the authors publish, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _server(config: Mapping[str, object], usual: str) -> str:
    """The address to download from: the option `mirror`, if it is given."""
    return usual if config.get("mirror") is None else entry(config, "mirror", str)


def cifar10(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """50000 training and 10000 test images, 32x32 RGB, ten classes (Krizhevsky 2009)."""
    archive = fetch(_server(config, CIFAR10_URL), *CIFAR10, raw / "cifar10")
    names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    images: dict[str, UInt8Array] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    progress = start(6)
    try:
        with tarfile.open(archive) as tar:
            for split, files in names.items():
                parts = []
                for name in files:
                    parts.append(read_cifar10(_member(tar, name)))
                    progress(1)
                images[split] = np.concatenate([part for part, _ in parts])
                labels[split] = np.concatenate([part for _, part in parts])
    except (tarfile.TarError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{archive}: not the archive of CIFAR-10 ({error})") from error
    write_arrays(Dataset("cifar10", images["train"], images["test"], labels["train"], labels["test"]), folder)
    return "cifar10"


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(f"cifar-10-batches-bin/{name}")
    if file is None:
        raise KeyError(name)
    return file.read()


def read_cifar10(content: bytes) -> tuple[UInt8Array, NDArray[np.int64]]:
    """A batch file: records of a label and 3 x 32 x 32 values; images (N, 32, 32, 3) and labels (N,)."""
    if not content or len(content) % CIFAR10_RECORD:
        raise ValueError(f"a batch of {len(content)} bytes, records have {CIFAR10_RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_RECORD)
    images = records[:, 1:].reshape(-1, 3, CIFAR10_SIDE, CIFAR10_SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)


def fashion_mnist(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """60000 training and 10000 test images, 28x28 grey, ten classes (Xiao et al. 2017)."""
    url = _server(config, FASHION_MNIST_URL)
    content: dict[str, UInt8Array] = {}
    progress = start(len(FASHION_MNIST))
    for key, (name, md5) in FASHION_MNIST.items():
        path = fetch(url, name, md5, raw / "fashion_mnist")
        try:
            content[key] = read_idx(gzip.decompress(path.read_bytes()))
        except (OSError, EOFError, ValueError) as error:
            raise InputError(f"{path}: not a file of Fashion-MNIST ({error})") from error
        progress(1)
    images = {split: content[split][..., None] for split in ("train", "test")}
    labels = {f"{split}_labels": content[f"{split}_labels"].astype(np.int64) for split in ("train", "test")}
    dataset = Dataset("fashion_mnist", images["train"], images["test"], labels["train_labels"], labels["test_labels"])
    write_arrays(dataset, folder)
    return "fashion_mnist"


def read_idx(content: bytes) -> UInt8Array:
    """An IDX file of unsigned bytes: two zeros, type 8, number of dimensions, their sizes (big-endian), the values."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError("not an IDX file of unsigned bytes")
    header = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:header], ">u4").astype(int)
    return np.frombuffer(content, np.uint8, offset=header).reshape(tuple(shape))
