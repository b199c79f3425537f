"""Every image's random numbers are its own, whatever the seeds: the states' distinctness and their independence."""

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.sampling.seeds import image_generators, image_keys, image_seeds, twister_words

LAST = 2**63 - 1
CLOSE = [base + k for base in (0, 2**32, 2**63 - 300) for k in range(100)]
# Those that are alike to 32 bits, and those that overlapped when image i of seed s had the seed 10000019 s + i.
FAR = [k * 52828 for k in range(1, 1001)] + [k * 2**32 for k in range(2, 702)]


def words_of(generator: torch.Generator) -> np.ndarray:
    """The twister's 624 words in torch's state: uint64 each, after the seed, two ints and the position."""
    return generator.get_state().numpy()[24 : 24 + 8 * 624].view(np.uint64)


def keys_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    array = np.array(pairs, dtype=np.uint64)
    return image_keys(array[:, 0], array[:, 1])


def test_a_hundred_million_pairs_have_keys_of_their_own() -> None:
    """2000 seeds, 50000 images each. Already the first 64 of the 128 bits differ: 0.8 GB to sort, some 7 s."""
    seeds, indices = sorted({*CLOSE, *FAR}), np.arange(50_000, dtype=np.uint64)
    assert len(seeds) == 2000
    halves = np.empty((len(seeds), len(indices)), dtype=np.uint64)
    for row, seed in zip(halves, seeds, strict=True):
        row[:] = image_keys(np.full_like(indices, seed), indices)[:, 0]
    halves.reshape(-1).sort()
    assert not (halves.reshape(-1)[1:] == halves.reshape(-1)[:-1]).any()


def test_the_numbers_of_an_image_are_those_of_its_key() -> None:
    """numpy's Mersenne twister, given the words, draws what torch's generator draws."""
    pairs = [(0, 0), (0, 1), (2**32, 0), (LAST, 10**7)]
    for generator, words in zip(image_generators(pairs), twister_words(keys_of(pairs)), strict=True):
        np.testing.assert_array_equal(words_of(generator), words)
        theirs = np.random.RandomState()
        theirs.set_state(("MT19937", words, 624))
        ours = torch.randint(2**16, (1500,), generator=generator)  # more than one round of the state
        np.testing.assert_array_equal(ours.numpy(), theirs.randint(0, 2**32, 1500, dtype=np.uint32) % 2**16)


def test_the_states_layout_is_that_of_torch() -> None:
    """torch's own seeding by Knuth's recurrence, which Matsumoto and Nishimura (2002) give, seen through our layout."""
    for seed in (0, 5489, 2**31 + 7):
        expected = [seed]
        for i in range(1, 624):
            expected.append((1812433253 * (expected[-1] ^ (expected[-1] >> 30)) + i) % 2**32)
        np.testing.assert_array_equal(words_of(torch.Generator().manual_seed(seed)), expected)


def test_no_two_keys_share_a_part_of_their_states() -> None:
    """Of 4000 neighbouring images, at every one of the 312 positions of 64 bits."""
    pairs = [(seed, index) for seed in (0, 1, 2**32, LAST) for index in range(1000)]
    blocks = twister_words(keys_of(pairs)).view(np.uint64)
    assert len(np.unique(blocks)) == blocks.size


@pytest.mark.parametrize("by", ["index", "seed", "seed times 2^32", "seed times 52828"])
def test_neighbours_are_independent(by: str) -> None:
    """First draws of 20000 neighbours: uniform (KS), uncorrelated at lags 1 to 4 and with their second draws."""
    n = 20_000
    step = {"seed": 1, "seed times 2^32": 2**32, "seed times 52828": 52828}.get(by, 0)
    pairs = [(0, k) for k in range(n)] if by == "index" else [(k * step % LAST, 7) for k in range(n)]
    draws = np.stack([torch.rand(2, generator=g, dtype=torch.float64).numpy() for g in image_generators(pairs)])
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(draws[:, 1], "uniform").pvalue > 1e-3
    others = [(draws[lag:, 0], draws[:-lag, 0]) for lag in (1, 2, 3, 4)] + [(draws[:, 0], draws[:, 1])]
    for x, y in others:
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(n)


def test_each_bit_of_a_pair_moves_half_of_the_state() -> None:
    """Strict avalanche: of 19968 bits 9984 on average, with a deviation of 71."""
    for bit in range(63):
        for other in ((1 << bit, 0), (0, 1 << bit)):
            both = twister_words(keys_of([(0, 0), other]))
            moved = int(np.bitwise_count(both[0] ^ both[1]).sum())
            assert abs(moved - 9984) < 6 * 71


def test_an_image_does_not_depend_on_the_others() -> None:
    alone = image_generators([(3, 5)])[0]
    among = image_generators(image_seeds(3, 0, 9))[5]
    assert torch.equal(torch.randn(700, generator=alone), torch.randn(700, generator=among))
    assert image_generators([]) == []


def test_seed_2_to_the_32_is_not_seed_0() -> None:
    first, second = (torch.randn(8, generator=image_generators([(seed, 0)])[0]) for seed in (0, 2**32))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1, 0, 1), "seed: -1 must lie between 0 and 9223372036854775807"),
        ((2**63, 0, 1), "seed: 9223372036854775808 must lie between 0 and 9223372036854775807"),
        ((0, -1, 1), "images -1 to 0 must have numbers between 0 and"),
        ((0, 2**63, 2**63 + 1), "images 9223372036854775808 to"),
    ],
)
def test_what_lies_outside_is_named(arguments: tuple[int, int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        image_seeds(*arguments)
    assert image_seeds(LAST, LAST, LAST + 1) == [(LAST, LAST)]
