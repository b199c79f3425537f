"""The bounded sample: those with the smallest keys, whatever the order in which they came."""

import numpy as np
import pytest

from ngldm.data.sources.sample import PixelSample

KEYS = np.random.default_rng(0).random(60)


def image(number: int) -> np.ndarray:
    return np.full((2, 3, 1), number, np.uint8)


def offer(sample: PixelSample, numbers, shard: int, keep: bool = True) -> None:
    for number in numbers:
        if sample.wants(KEYS[number]):
            sample.add(KEYS[number], (shard, int(number)), image(number), int(number))
    sample.commit() if keep else sample.forget()


@pytest.mark.parametrize("capacity", [1, 7, 59, 60, 200, None])
def test_the_smallest_keys_are_kept(tmp_path, capacity: int | None) -> None:
    with PixelSample(tmp_path / "pixels", (2, 3, 1), capacity) as sample:
        for shard, numbers in enumerate(np.split(np.arange(60), [10, 11, 40])):
            offer(sample, numbers, shard)
        kept = sample.by_key()
        assert [one.label for one in kept] == KEYS.argsort()[:capacity].tolist()
        labels = sample.write(kept, tmp_path / "out.npy")
    assert labels == sorted(one.label for one in kept)  # as they passed by
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), [image(number) for number in labels])
    assert not (tmp_path / "pixels").exists()


def test_images_of_a_shard_that_is_forgotten_leave_no_trace(tmp_path) -> None:
    with PixelSample(tmp_path / "pixels", (2, 3, 1), 12) as sample:
        offer(sample, range(20), 0)
        offer(sample, range(20, 40), 1, keep=False)
        offer(sample, range(40, 60), 2)
        numbers = np.r_[0:20, 40:60]
        kept = sample.by_key()
        assert [one.label for one in kept] == numbers[KEYS[numbers].argsort()[:12]].tolist()
        assert sample.write(kept, tmp_path / "out.npy") == sorted(one.label for one in kept)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy")[:, 0, 0, 0], sorted(one.label for one in kept))


def test_the_file_grows_with_the_capacity_and_not_with_the_images(tmp_path) -> None:
    with PixelSample(tmp_path / "pixels", (2, 3, 1), 5) as sample:
        for shard in range(6):
            offer(sample, range(10 * shard, 10 * shard + 10), shard)
        sample.file.flush()
        assert (tmp_path / "pixels").stat().st_size <= (5 + 10) * 6
