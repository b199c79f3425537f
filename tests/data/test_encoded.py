"""The files that are kept of an encoded shard."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ngldm.data.cache.statistics import LatentStatistics
from ngldm.data.encoded import EncodedShard
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file

LATENTS = np.random.default_rng(0).normal(size=(7, 2, 3, 3)).astype(np.float32)
STATISTICS = LatentStatistics(torch.tensor([0.5, -2.0]), torch.tensor([2.0, 4.0]))


def written(work: Path, latents: np.ndarray = LATENTS) -> EncodedShard:
    work.mkdir()
    shard = EncodedShard(work, 3)
    np.save(shard.raw, latents)
    shard.write_note({"rows": len(latents), "mean": [0.1, 1 / 3]})
    return shard


def test_latents_are_standardised_once_and_those_they_are_made_of_removed(tmp_path: Path) -> None:
    shard = written(tmp_path / "work")
    assert shard.is_whole()
    found = shard.standardise(STATISTICS, "float32")
    mean, std = (values.numpy()[:, None, None] for values in (STATISTICS.mean, STATISTICS.std))
    np.testing.assert_allclose(np.load(found.path), (LATENTS - mean) / std, rtol=1e-6)
    assert (found.rows, found.sha256) == (7, sha256_file(found.path))
    assert shard.is_whole()
    assert not shard.raw.exists()
    assert shard.standardise(STATISTICS, "float32") == found


def test_killed_before_the_note_knows_the_standardised_latents_they_are_made_again(tmp_path: Path) -> None:
    shard = written(tmp_path / "work")
    shard.target.parent.mkdir(parents=True)
    shard.target.write_bytes(b"half")
    assert shard.is_whole()
    assert np.load(shard.standardise(STATISTICS, "float16").path).dtype == np.float16


def test_a_number_of_the_note_that_has_changed_is_found(tmp_path: Path) -> None:
    shard = written(tmp_path / "work")
    note = tmp_path / "work" / "000003.json"
    note.write_text(note.read_text().replace("0.33", "0.34"))
    assert not shard.is_whole()
    with pytest.raises(InputError, match=r"000003.json: has changed since it was written"):
        shard.note()


def test_what_is_taken_is_put_back_whole(tmp_path: Path) -> None:
    shard, other = written(tmp_path / "work"), EncodedShard(tmp_path / "other", 3)
    other.put(shard.take())
    assert list((tmp_path / "work").iterdir()) == []
    assert other.is_whole()
    np.testing.assert_array_equal(np.load(other.raw), LATENTS)


def test_numbers_that_do_not_fit_the_type_are_refused(tmp_path: Path) -> None:
    shard = written(tmp_path / "work", LATENTS * 1e6)
    with pytest.raises(InputError, match=r"latents.dtype: float16 cannot hold"):
        shard.standardise(STATISTICS, "float16")
    assert not shard.target.exists()
    assert shard.is_whole()
