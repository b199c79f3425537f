"""What is random at a step: a seed for each purpose, and batches that follow from seed and step alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ngldm.training.seeds import HELD, batch_indices, batch_sides, scattered, stream_seed

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


def test_sides_are_equally_likely_and_differ_from_step_to_step() -> None:
    """Counts of 64000 fair coins, and of the pairs of neighbours and of steps, by the binomial test."""
    drawn = np.stack([batch_sides(64, 2, 0, step) for step in range(1000)])
    for heads in (drawn, drawn[:, 1:] ^ drawn[:, :-1], drawn[1:] ^ drawn[:-1]):
        assert set(np.unique(heads)) == {0, 1}
        assert stats.binomtest(int(heads.sum()), heads.size).pvalue > 1e-4
    np.testing.assert_array_equal(batch_sides(64, 2, 0, 7), drawn[7])
    assert (batch_sides(64, 2, 1, 7) != drawn[7]).any()


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


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000, 2**16 + 1])
def test_a_computed_permutation_has_each_number_once(size: int) -> None:
    whole = scattered(np.arange(size), size, 3, 1)
    np.testing.assert_array_equal(np.sort(whole), np.arange(size))
    some = np.random.default_rng(0).integers(0, size, 20)
    np.testing.assert_array_equal(scattered(some, size, 3, 1), whole[some])


def test_a_computed_permutation_looks_random() -> None:
    """Uniform in every part, neighbours independent, fixed points as many as chance gives; epochs unlike each other."""
    size = 70_001
    first, second = (scattered(np.arange(size), size, 0, epoch) for epoch in (0, 1))
    for part in np.array_split(first, 7):
        assert stats.kstest(part / size, "uniform").pvalue > 1e-4
    for a, b in ((first[:-1], first[1:]), (first, np.arange(size)), (first, second)):
        assert abs(stats.spearmanr(a, b).statistic) < 5.0 / size**0.5
        table = np.histogram2d(a, b, bins=16)[0]
        assert stats.chi2_contingency(table).pvalue > 1e-4
    assert (first == np.arange(size)).sum() <= 8  # Poisson with mean 1: above 8 with probability 1e-6
    assert (first == second).sum() <= 8


def test_batches_of_a_large_set_lie_end_to_end_and_epochs_are_whole() -> None:
    size, batch = HELD + 7, 40_000
    stream = np.concatenate([batch_indices(size, batch, 5, step) for step in range(7)])
    np.testing.assert_array_equal(np.sort(stream[:size]), np.arange(size))
    assert len(np.unique(stream[size:])) == len(stream) - size
