"""Tar shards: read, counted, and every kind of damage named."""

import gzip
import hashlib
from pathlib import Path

import pytest

from ngldm.data.sources.shards.records import ShardFault, Tally
from ngldm.data.sources.shards.tars import TarShards, expand
from ngldm.io.errors import InputError


def read(name: str | Path, image: str = "png", label: str | None = "cls") -> tuple[list, Tally]:
    tally = Tally()
    return list(TarShards([str(name)], image, label).records(0, tally)), tally


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_samples_come_in_order_with_their_labels(shards, tmp_path: Path, suffix: str) -> None:
    content = shards.tar(shards.samples(4, 30))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content if suffix == ".tar" else gzip.compress(content))
    records, tally = read(path)
    assert [record.content for record in records] == [shards.png(number) for number in range(4, 34)]
    assert [record.label for record in records] == [number % 3 for number in range(4, 34)]
    assert "a.t" in records[0].name
    assert "000004" in records[0].name
    assert (tally.size, tally.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_labels_are_names_or_none(shards, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(shards.tar({"0.png": shards.png(0), "0.txt": b" cat\n"}))
    assert read(path, label="txt")[0][0].label == "cat"
    assert read(path, label=None)[0][0].label == 0


@pytest.mark.parametrize("content", [b"\xff\xfe", b"9" * 5000, b"a" * 5000])
def test_a_label_that_is_no_short_text_is_named(shards, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(shards.tar({"0.png": shards.png(0), "0.cls": content}))
    with pytest.raises(InputError, match=r"dataset.label: .*a.tar: 0.cls is no number or name of a class"):
        read(path)


def test_the_first_suffix_that_is_there_is_the_image(shards, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(shards.tar({"0.PNG": shards.png(0), "0.seg.png": shards.png(1), "1.jpg": b"jpeg"}))
    assert [record.content for record in read(path, "jpg;png", None)[0]] == [shards.png(0), b"jpeg"]


@pytest.mark.parametrize(("image", "label", "option"), [("jpg", "cls", "image"), ("png", "txt", "label")])
def test_a_missing_column_is_named_with_those_there_are(shards, image: str, label: str, option: str) -> None:
    path = shards.write(3) / "train-000.tar"
    with pytest.raises(InputError, match=rf"dataset.{option}: no '(jpg|txt)' in sample 000000 of .*; it has cls, png"):
        read(path, image, label)


def cuts(shards) -> list[int]:
    """Where a tar file is cut: in a file, in a header, between two files, before the end mark, at the start."""
    return [10 * 1024 + 700, 10 * 1024 + 100, 10 * 1024, 512 * 4 * 20, 0]


@pytest.mark.parametrize("cut", range(5))
def test_a_truncated_shard_is_a_fault_wherever_it_is_cut(shards, cut: int) -> None:
    path = shards.write(20) / "train-000.tar"
    content = path.read_bytes()
    assert content[512 * 4 * 20 :].strip(b"\0") == b""  # an image and a class, each a header and a block
    path.write_bytes(content[: cuts(shards)[cut]])
    with pytest.raises(ShardFault, match=r"truncated|unexpected end|empty"):
        read(path)


@pytest.mark.parametrize("keep", [0.3, 0.999])
def test_a_truncated_gzip_is_a_fault(shards, tmp_path: Path, keep: float) -> None:
    content = gzip.compress(shards.tar(shards.samples(0, 30)))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ShardFault):
        read(path)


def test_what_is_no_tar_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ShardFault):
        read(path)


def test_shards_of_a_web_server_are_read_as_they_come(shards, server) -> None:
    server.files["a.tar"] = shards.tar(shards.samples(0, 25))
    records, tally = read(server.url + "a.tar")
    assert [record.content for record in records] == [shards.png(number) for number in range(25)]
    assert tally.size == len(server.files["a.tar"])
    assert server.asked == ["a.tar"]


@pytest.mark.parametrize("short", [700, 9000, 30_000])
def test_an_answer_that_is_cut_short_is_a_fault(shards, server, short: int) -> None:
    server.files["a.tar"], server.short = shards.tar(shards.samples(0, 25)), short
    with pytest.raises(ShardFault, match=r"truncated|unexpected end"):
        read(server.url + "a.tar")


def test_a_shard_that_cannot_be_reached_is_named_and_is_not_skipped(shards, server) -> None:
    with pytest.raises(InputError, match=r"nothing.tar cannot be downloaded .*404.*run the stage again"):
        read(server.url + "nothing.tar")
    with pytest.raises(InputError, match=r"127.0.0.1:9/a.tar cannot be downloaded .*refused"):
        read("http://127.0.0.1:9/a.tar")


def test_braces_are_expanded_below_the_source(shards) -> None:
    folder = shards.write(1, 1, 1)
    names = expand("dataset.shards", "train-{000..002}.tar", folder)
    assert names == [str(folder / f"train-{number:03d}.tar") for number in range(3)]
    assert expand("dataset.shards", str(folder / "train-001.tar"), Path("elsewhere")) == [names[1]]


def test_addresses_are_expanded_and_not_looked_for() -> None:
    names = expand("dataset.shards", "https://example.org/{a,b}-{0..1}.tar?key=1", Path())
    assert names == [f"https://example.org/{part}.tar?key=1" for part in ("a-0", "a-1", "b-0", "b-1")]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train-{000..004}.tar", r"dataset.shards: 2 of 5 shards do not exist, the first is .*train-003.tar"),
        ("train-{000..002.tar", r"dataset.shards: .* unbalanced braces"),
        ("train-{000..002}.zip", r"dataset.shards: .*train-000.zip is none of .tar"),
        ("pipe:curl x", r"dataset.shards: .*pipe:curl x is none of .tar"),
    ],
)
def test_patterns_that_mean_no_shards_are_refused(shards, pattern: str, message: str) -> None:
    folder = shards.write(1, 1, 1)
    with pytest.raises(InputError, match=message):
        expand("dataset.shards", pattern, folder)
