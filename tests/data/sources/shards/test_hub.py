"""What Hugging Face `datasets` reads, from files of this machine: parquet files written by pyarrow, and folders."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ngldm.data.sources.shards.hub import HubShards, open_hub
from ngldm.data.sources.shards.records import ShardFault, Tally
from ngldm.io.errors import InputError


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, and nothing is written into the cache of the person who runs the tests."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_MODULES_CACHE", str(tmp_path / "modules"))


def options(source: Path, **changed: object) -> dict[str, object]:
    usual = {"source": str(source), "hub": None, "revision": None, "subset": None, "image": "image", "label": "label"}
    return {**usual, "train_split": "train", "test_split": None, **changed}


def parquet(shards, path: Path, first: int, count: int, **columns: list) -> Path:
    """A file as the hub has them: images as structs of bytes and path, class numbers; row groups of 4."""
    numbers = range(first, first + count)
    images = [{"bytes": shards.png(number), "path": f"{number}.png"} for number in numbers]
    table = {"image": images, "label": [number % 3 for number in numbers], **columns}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=4)
    return path


def all_of(shards: HubShards) -> list[tuple[bytes, object]]:
    found = []
    for number in range(len(shards.names)):
        found += [(record.content, record.label) for record in shards.records(number, Tally())]
    return found


def test_each_parquet_file_of_a_folder_is_a_shard(shards, tmp_path: Path) -> None:
    for number in range(3):
        parquet(shards, tmp_path / "set" / f"train-{number:05d}-of-00003.parquet", 10 * number, 10)
    parquet(shards, tmp_path / "set" / "test-00000-of-00001.parquet", 30, 5)
    found = open_hub(options(tmp_path / "set", test_split="test"))
    assert [len(part.names) for part in found.values()] == [3, 1]
    assert all_of(found["train"]) == [(shards.png(number), number % 3) for number in range(30)]
    assert all_of(found["test"]) == [(shards.png(number), number % 3) for number in range(30, 35)]


def test_a_shard_is_read_without_the_others_and_counted_alike_each_time(shards, tmp_path: Path) -> None:
    for number in range(2):
        parquet(shards, tmp_path / "set" / f"train-{number}.parquet", 10 * number, 10)
    part, tallies = open_hub(options(tmp_path / "set"))["train"], [Tally(), Tally(), Tally()]
    assert [record.content for record in part.records(1, tallies[0])] == [shards.png(n) for n in range(10, 20)]
    list(part.records(1, tallies[1]))
    list(part.records(0, tallies[2]))
    assert tallies[0].sha256 == tallies[1].sha256 != tallies[2].sha256
    assert tallies[0].size > sum(len(shards.png(number)) for number in range(10, 20))


def test_a_single_file_with_bytes_and_names_of_classes(shards, tmp_path: Path) -> None:
    images, names = [shards.png(number) for number in range(6)], [["cat", "dog"][number % 2] for number in range(6)]
    path = parquet(shards, tmp_path / "a.parquet", 0, 6, image=images, label=names)
    assert all_of(open_hub(options(path))["train"]) == list(zip(images, names, strict=True))
    assert [label for _, label in all_of(open_hub(options(path, label=None))["train"])] == [0] * 6


def test_a_folder_of_images_is_one_shard_with_its_folders_as_classes(shards, tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / "set" / "train" / ["a", "b"][number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shards.png(number))
    part = open_hub(options(tmp_path / "set"))["train"]
    assert len(part.names) == 1
    assert sorted(all_of(part)) == sorted((shards.png(number), number % 2) for number in range(6))


def test_a_row_that_names_a_file_of_this_machine_is_refused(shards, tmp_path: Path) -> None:
    """A table of another person could name any file. A folder's own files may be links."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(shards.png(0))
    rows = [{"bytes": None, "path": str(secret)}]
    schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()})
    pq.write_table(pa.table({"image": rows, "label": [0]}, schema=schema), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: row 0 names '.*secret.png', which is no file of this data set"):
        all_of(open_hub(options(tmp_path / "a.parquet"))["train"])
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "0.png").symlink_to(secret)  # by the owner of the folder
    folder = options(tmp_path / "set", label=None)
    assert all_of(open_hub(folder)["train"]) == [(shards.png(0), 0)]
    outside = replace(open_hub(folder)["train"], folder=tmp_path / "other")
    with pytest.raises(InputError, match=r"0.png', which is no file of this data set"):
        all_of(outside)


@pytest.mark.parametrize(
    "path",
    [
        "file://{secret}::{own}",
        "local://{secret}::{own}",
        "zip://a.png::file://{secret}::{own}",
        "simplecache::{own}",
        "file://{secret}",
        "http://127.0.0.1:1/../../{own}",
        "data:,hello",
        "{own}/../../secret.png",
    ],
)
def test_a_row_cannot_name_a_file_elsewhere_by_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """fsspec opens the first of several addresses, and the folder's name can be part of any of them."""
    from datasets import IterableDataset

    folder, secret = tmp_path / "set", tmp_path / "secret.png"
    folder.mkdir()
    secret.write_bytes(b"secret")
    monkeypatch.chdir(folder)
    named = {"path": path.format(secret=secret, own=folder / "train.jsonl"), "bytes": None}
    rows = IterableDataset.from_generator(lambda: iter([{"image": named}]))
    for own in (folder, Path(), None):
        with pytest.raises(InputError, match=r"row 0 names .*, which is no file of this data set"):
            all_of(HubShards(["set"], "image", None, rows, own))


def test_a_folder_may_be_given_from_here(shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "0.png").write_bytes(shards.png(0))
    monkeypatch.chdir(tmp_path)
    assert all_of(open_hub(options(Path("set"), label=None))["train"]) == [(shards.png(0), 0)]


def archive(shards, path: Path) -> bytes:
    """A zip file of three images."""
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as files:
        for number in range(3):
            files.writestr(f"a/{number}.png", shards.png(number))
    return path.read_bytes()


def test_images_in_a_zip_file_are_read_and_its_damage_is_a_fault_of_the_shard(
    shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set" / "train.zip"
    content = archive(shards, path)
    part = open_hub(options(tmp_path / "set", label=None))["train"]
    assert sorted(all_of(part)) == sorted((shards.png(number), 0) for number in range(3))
    with monkeypatch.context() as patch:
        patch.setattr("ngldm.data.sources.shards.hub.MAX_IMAGE_FILE", len(shards.png(0)) - 1)
        with pytest.raises(ShardFault, match="too many for an image file"):
            all_of(part)
    place = content.index(shards.png(0)) + 60
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(ShardFault, match="CRC"):
        all_of(open_hub(options(tmp_path / "set", label=None))["train"])
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        InputError, match=r"^dataset.source: .* cannot be read by `datasets` \(File is not a zip file\)"
    ):
        open_hub(options(tmp_path / "set", label=None))


def test_a_file_without_rows_is_an_empty_shard(shards, tmp_path: Path) -> None:
    parquet(shards, tmp_path / "set" / "train-0.parquet", 0, 4)
    empty = pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())})
    pq.write_table(empty, tmp_path / "set" / "train-1.parquet")
    part = open_hub(options(tmp_path / "set"))["train"]
    assert [len(list(part.records(number, Tally()))) for number in range(2)] == [4, 0]


@pytest.mark.parametrize("name", ["a b/c", "a/b/c", "/x", "/data/flowers"])
def test_a_name_that_no_data_set_of_the_hub_has(port: int, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"^dataset.hub: '{name}' is no name of a data set"):
        open_hub(options(tmp_path, hub=name, revision="0123456789" * 4))


def test_images_as_datasets_itself_writes_them(shards, tmp_path: Path) -> None:
    """Its files say in their schema that a column holds images."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageColumn

    features = Features({"image": ImageColumn(), "label": Value("int64")})
    pictures = [Image.open(io.BytesIO(shards.png(number))) for number in range(5)]
    Dataset.from_dict({"image": pictures, "label": list(range(5))}, features).to_parquet(tmp_path / "a.parquet")
    found = all_of(open_hub(options(tmp_path / "a.parquet"))["train"])
    assert [label for _, label in found] == list(range(5))
    for number, (content, _) in enumerate(found):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), shards.pixels(number)[..., 0])


@pytest.mark.parametrize(("option", "column"), [("image", "picture"), ("label", "class")])
def test_a_missing_column_is_named_with_those_there_are(shards, tmp_path: Path, option: str, column: str) -> None:
    path = parquet(shards, tmp_path / "a.parquet", 0, 4)
    part = open_hub(options(path, **{option: column}))["train"]
    with pytest.raises(InputError, match=rf"dataset.{option}: no column '{column}' in .*; it has image, label"):
        all_of(part)


def test_columns_that_hold_something_else_are_refused(shards, tmp_path: Path) -> None:
    path = parquet(shards, tmp_path / "a.parquet", 0, 4, width=[1, 2, 3, 4], share=[0.5, 1.5, 2.5, None])
    with pytest.raises(InputError, match=r"dataset.image: column 'width' in .*row 0 holds int, not image files"):
        all_of(open_hub(options(path, image="width"))["train"])
    with pytest.raises(InputError, match=r"dataset.label: 0.5 in .*row 0 is neither a whole number nor a name"):
        all_of(open_hub(options(path, label="share"))["train"])


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_truncated_parquet_file_is_a_fault_of_its_shard_alone(shards, tmp_path: Path, damaged: int) -> None:
    files = [parquet(shards, tmp_path / "set" / f"train-{number}.parquet", 10 * number, 10) for number in range(2)]
    files[damaged].write_bytes(files[damaged].read_bytes()[:-100])
    part = open_hub(options(tmp_path / "set"))["train"]
    assert part.names[damaged].endswith(files[damaged].name)
    with pytest.raises(ShardFault, match="magic bytes"):
        list(part.records(damaged, Tally()))
    assert len(list(part.records(1 - damaged, Tally()))) == 10


@pytest.mark.parametrize("key", ["train_split", "test_split"])
def test_a_missing_split_is_named_with_those_there_are(shards, tmp_path: Path, key: str) -> None:
    parquet(shards, tmp_path / "set" / "train-0.parquet", 0, 4)
    with pytest.raises(InputError, match=rf"dataset.{key}: .* has no split 'dev'; it has train"):
        open_hub(options(tmp_path / "set", **{key: "dev"}))


def test_a_source_without_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for source in (tmp_path / "set", tmp_path / "none", tmp_path / "none.parquet"):
        with pytest.raises(InputError, match=rf"dataset.source: {source} cannot be read by `datasets`"):
            open_hub(options(source))


OFFLINE = """
import json, sys
from ngldm.data.sources.shards.hub import open_hub
open_hub(json.loads(sys.argv[1]))
"""


def test_without_a_connection_the_message_says_what_to_do(tmp_path: Path) -> None:
    """In a process of its own, as a user has it: `datasets` reads the environment when it is imported."""
    config = options(tmp_path, hub="someone/flowers", revision="0123456789" * 4)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", OFFLINE, json.dumps(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "dataset.hub: 'someone/flowers' cannot be loaded" in last
    assert f"hf download --repo-type dataset someone/flowers --revision {'0123456789' * 4}" in last
    assert "give it as dataset.source, with dataset.hub=null" in last


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Of the hub's address, at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", f"http://127.0.0.1:{number}")
    return number


def answer_with(port: int, status: int | None) -> None:
    """A server at the port, which answers one request with a status; None closes the connection instead."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if status:
                self.send_response(status)
                self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    threading.Thread(target=HTTPServer(("127.0.0.1", port), Answer).handle_request, daemon=True).start()


def opened(shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, HubShards]:
    """A data set of the hub, whose builder is one of this machine."""
    import datasets

    path = parquet(shards, tmp_path / "train-0.parquet", 0, 4)
    builder = datasets.load_dataset_builder("parquet", data_files={"train": str(path)})
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *names, **options: builder)
    return open_hub(options(tmp_path, hub="someone/flowers", revision="0123456789" * 4))


def test_no_connection_is_said_within_seconds(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(InputError, match=r"dataset.hub: 'someone/flowers' cannot be loaded \(.*refused"):
        open_hub(options(tmp_path, hub="someone/flowers", revision="0123456789" * 4))
    assert len(waited) == 2, "three tries"
    assert sum(waited) < 10.0


def test_a_connection_that_comes_back_is_waited_for(
    port: int, shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: answer_with(port, 200))
    assert list(opened(shards, tmp_path, monkeypatch)) == ["train"]


@pytest.mark.parametrize("status", [200, 401, 404, 503, None])
def test_what_a_server_answers_is_left_to_datasets(
    port: int, status: int | None, shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a connection that breaks off: it is slow or bad, but there is one."""
    answer_with(port, status)
    assert list(opened(shards, tmp_path, monkeypatch)) == ["train"]


def test_what_datasets_splits_itself_is_read_part_by_part(shards, tmp_path: Path) -> None:
    """Its own builder of tar files: not parquet, three parts."""
    shards.write(4, 5, 3)
    part = open_hub(options(shards.folder, image="png", label="cls"))["train"]
    assert [name.rsplit(" ", 1)[1] for name in part.names] == [f"train[{number}]" for number in range(3)]
    assert all_of(part) == [(shards.png(number), number % 3) for number in range(12)]
    assert [record.content for record in part.records(1, Tally())] == [shards.png(number) for number in range(4, 9)]


def test_name_revision_and_subset_go_to_the_hub(shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    path = parquet(shards, tmp_path / "train-0.parquet", 0, 4)
    asked, builder = [], datasets.load_dataset_builder("parquet", data_files={"train": str(path)})
    monkeypatch.setattr(
        datasets, "load_dataset_builder", lambda *names, **options: asked.append((names, options)) or builder
    )
    commit = "0123456789" * 4
    found = open_hub(options(tmp_path, hub="someone/flowers", revision=commit, subset="small"))["train"]
    assert asked == [(("someone/flowers", "small"), {"revision": commit})]
    assert len(all_of(found)) == 4
