"""Rows in shards against the same rows in one array."""

import json
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.cache.sharded import RowFile, ShardedRows, open_shards, write_index
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file

COUNTS = (5, 1, 12, 3, 3)
WHOLE = np.random.default_rng(0).normal(size=(sum(COUNTS), 2, 3)).astype(np.float32)


def write(folder: Path, dtype: str = "float32") -> np.ndarray:
    """Shards of COUNTS rows and their index; the array that they make together."""
    folder.mkdir()
    whole, files = WHOLE.astype(dtype), []
    for number, part in enumerate(np.split(whole, np.cumsum(COUNTS)[:-1])):
        np.save(folder / f"{number:05d}.npy", part)
        path = folder / f"{number:05d}.npy"
        files.append(RowFile(path, len(part), sha256_file(path)))
    write_index(folder, files, (2, 3), dtype)
    return whole.astype(np.float32)


@pytest.fixture(params=["float32", "float16"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ShardedRows, np.ndarray]:
    whole = write(tmp_path / "train", request.param)
    return open_shards(tmp_path / "train", "the stage `latents`"), whole


def test_shape_and_length_are_those_of_the_array(both) -> None:
    rows, whole = both
    assert (len(rows), rows.shape, rows.ndim) == (len(whole), whole.shape, whole.ndim)


@pytest.mark.parametrize("part", [slice(None), slice(3, 8), slice(0, 5), slice(5, 6), slice(-4, None), slice(1, 20, 3)])
def test_slices_are_those_of_the_array(both, part: slice) -> None:
    rows, whole = both
    assert rows[part].dtype == np.float32
    np.testing.assert_array_equal(rows[part], whole[part])


def test_rows_come_in_the_order_asked_for_also_more_than_once(both) -> None:
    rows, whole = both
    for numbers in ([20, 0, 5, 4, 4, 17, 6, 7, 8], [3], list(range(20, -1, -1))):
        np.testing.assert_array_equal(rows[np.array(numbers)], whole[numbers])


def test_no_row_is_asked_for(both) -> None:
    assert both[0][np.array([], dtype=np.int64)].shape == (0, 2, 3)


def edit(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


def exchange(folder: Path, first: str, second: str) -> None:
    contents = [(folder / name).read_bytes() for name in (second, first)]
    for name, content in zip((first, second), contents, strict=True):
        (folder / name).write_bytes(content)


DAMAGES = {
    "a bit of a number": lambda folder: edit(folder / "00003.npy", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]),
    "zeros": lambda folder: edit(folder / "00003.npy", lambda b: b[:-36] + bytes(36)),
    "rows in another order": lambda folder: np.save(folder / "00003.npy", np.load(folder / "00003.npy")[::-1]),
    "a shard of another run": lambda folder: np.save(folder / "00003.npy", 1 + np.load(folder / "00003.npy")),
    "two shards exchanged": lambda folder: exchange(folder, "00003.npy", "00004.npy"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_changed_shard_is_refused_when_it_is_first_read_and_the_others_are_read(
    tmp_path: Path, dtype: str, damage: str
) -> None:
    whole = write(tmp_path / "train", dtype)
    DAMAGES[damage](tmp_path / "train")
    rows = open_shards(tmp_path / "train", "the stage `latents`")
    np.testing.assert_array_equal(rows[0:18], whole[0:18])
    for part in (slice(16, 20), np.array([0, 18])):
        with pytest.raises(InputError, match=r"00003.npy: has changed since it was written: train.json .*`latents`"):
            rows[part]
    with pytest.raises(InputError, match=r"00003.npy: has changed"):
        rows.check()
    np.testing.assert_array_equal(rows[5:18], whole[5:18])


def test_whole_shards_are_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train")
    rows, seen = open_shards(tmp_path / "train", "the stage `latents`"), []
    hashed = "ngldm.data.cache.sharded.sha256_file"
    monkeypatch.setattr(hashed, lambda path: (seen.append(path.name), sha256_file(path))[1])
    rows[4:6]
    assert sorted(seen) == ["00000.npy", "00001.npy"]
    rows.check()
    rows[:]
    assert sorted(seen) == [f"{number:05d}.npy" for number in range(len(COUNTS))]


def test_the_index_has_the_hash_of_each_shard(tmp_path: Path) -> None:
    write(tmp_path / "train")
    shards = json.loads((tmp_path / "train.json").read_text())["shards"]
    assert [shard["rows"] for shard in shards] == list(COUNTS)
    assert [shard["sha256"] for shard in shards] == [sha256_file(tmp_path / "train" / s["file"]) for s in shards]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "00002.npy").unlink(), r"00002.npy: no such file .*stage `latents`"),
        (lambda folder: np.save(folder / "00001.npy", WHOLE[:2]), r"00001.npy: shape \(2, 2, 3\), must be \(1, 2, 3\)"),
        (lambda folder: np.save(folder / "00001.npy", WHOLE[:1].astype("f8")), r"00001.npy: holds float64"),
        (lambda folder: (folder / "00000.npy").write_bytes(b"abc"), r"00000.npy: not a complete .npy"),
        (lambda folder: folder.with_suffix(".json").write_text('{"dtype": "float32"}'), r"train.json: must hold"),
        (
            lambda folder: change(folder, dtype="int8"),
            r"unknown dtype in .*train.json 'int8'; choose one of: float16, float32",
        ),
        (lambda folder: edit(folder / "00002.npy", lambda b: b[:-1]), r"00002.npy: not a complete .npy"),
        (
            lambda folder: edit(folder / "00002.npy", lambda b: b + b),
            r"00002.npy: longer than its header says, by \d+ bytes",
        ),
        (
            lambda folder: edit(folder / "00002.npy", lambda b: b + b"1"),
            r"00002.npy: longer than its header says, by 1 bytes",
        ),
        (lambda folder: exchange(folder, "00001.npy", "00000.npy"), r"00000.npy: shape \(1, 2, 3\), must be"),
        (lambda folder: change(folder, shards=[{"file": "00000.npy", "rows": 5}]), r"train.json: sha256: None"),
        (lambda folder: change(folder, shards=[]), r"train.json: shards must be a list"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage, message: str) -> None:
    write(tmp_path / "train")
    damage(tmp_path / "train")
    with pytest.raises(InputError, match=message):
        open_shards(tmp_path / "train", "the stage `latents`")


def change(folder: Path, **values: object) -> None:
    path = folder.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_shard_that_is_cut_short_while_it_is_read_is_no_silent_zero(tmp_path: Path) -> None:
    write(tmp_path / "train")
    rows = open_shards(tmp_path / "train", "the stage `latents`")
    rows.check()
    path = tmp_path / "train" / "00002.npy"
    path.write_bytes(path.read_bytes()[:-24])
    with pytest.raises(ValueError, match="reshape"):
        rows[np.array([17])]
