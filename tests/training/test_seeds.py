"""What is random at a step: a seed for each purpose, and batches that follow from seed and step alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ngldm.training.seeds import batch_indices, stream_seed

sizes = st.integers(1, 40)
batch_sizes = st.integers(1, 90)  # larger than the data, too
seeds = st.integers(0, 2**31)


def test_stream_seeds_differ_by_seed_purpose_and_step_and_fit_32_bits() -> None:
    purposes = [(seed, name, step) for seed in (0, 1, 17) for name in ("step", "dropout", "epoch") for step in range(9)]
    seeds = {stream_seed(*purpose) for purpose in purposes}
    assert len(seeds) == len(purposes)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert stream_seed(0, "step", 17) == stream_seed(0, "step", 17)


@given(sizes, batch_sizes, seeds, st.integers(1, 12))
@settings(deadline=None)
def test_batches_lie_end_to_end_and_each_epoch_is_a_permutation(size: int, batch: int, seed: int, count: int) -> None:
    batches = [batch_indices(size, batch, seed, step) for step in range(count)]
    assert all(len(indices) == batch for indices in batches)
    stream = np.concatenate(batches)
    for start in range(0, len(stream), size):
        epoch = stream[start : start + size]
        expected = np.arange(size) if len(epoch) == size else np.unique(epoch)
        np.testing.assert_array_equal(np.sort(epoch), expected)


@given(sizes, batch_sizes, seeds, st.integers(0, 50))
@settings(deadline=None)
def test_a_batch_follows_from_its_step_alone(size: int, batch: int, seed: int, step: int) -> None:
    first = batch_indices(size, batch, seed, step)
    batch_indices(size + 1, batch, seed + 1, step + 7)
    np.testing.assert_array_equal(batch_indices(size, batch, seed, step), first)


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    orders = {tuple(batch_indices(50, 50, seed, step)) for seed in (0, 1) for step in (0, 1, 2)}
    assert len(orders) == 6
    assert tuple(range(50)) not in orders
