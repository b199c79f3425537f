"""Everything random at step k of a training: seeds of generators, and batches. They depend on seed and step alone."""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

HELD = 2**18  # items whose permutation is held in memory, 2 MB; of more it is computed where it is asked for
ROUNDS = 8  # of the Feistel network


def stream_seed(seed: int, *names: object) -> int:
    """A seed for one purpose, for example (0, "step", 17): a hash, of which torch's CPU generator takes 32 bits.

    Among the steps of a long training some have the same seed: 10 pairs of 300000. They differ in their batch and in
    the network's weights, so a training loses nothing. Generated images would (`ngldm.sampling.seeds`).
    """
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def batch_indices(size: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Indices of the batch of `step` (from 0). Epochs are shuffled. A batch can span two: no item is left out."""
    first = step * batch_size
    parts, need = [], batch_size
    while need:
        epoch, offset = divmod(first, size)
        places = np.arange(offset, min(offset + need, size))
        parts.append(_permutation(size, seed, epoch)[places] if size <= HELD else scattered(places, size, seed, epoch))
        first, need = first + len(places), need - len(places)
    return np.concatenate(parts)


def batch_sides(batch_size: int, sides: int, seed: int, step: int) -> NDArray[np.int64]:
    """For each place in the batch of `step` (from 0) a side, 0 to `sides` - 1, all equally likely."""
    return np.random.default_rng(stream_seed(seed, "side", step)).integers(sides, size=batch_size)


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng(stream_seed(seed, "epoch", epoch)).permutation(size)


def scattered(places: NDArray[np.int64], size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The elements at `places` of a pseudo-random permutation of 0 to size - 1, without the permutation in memory.

    A Feistel network (Luby and Rackoff 1988) permutes the numbers of an even count of bits; a result of `size` or more
    is permuted again until it is smaller, which leaves a permutation (cycle walking, Black and Rogaway 2002). There are
    at most four times as many such numbers as items, so few rounds are needed.
    """
    half = np.uint64(((size - 1).bit_length() + 1) // 2)
    low = (np.uint64(1) << half) - np.uint64(1)
    keys = np.random.default_rng(stream_seed(seed, "epoch", epoch)).integers(0, 2**63, ROUNDS, dtype=np.uint64)
    found = places.astype(np.uint64)
    todo = np.arange(len(found))
    while len(todo):
        left, right = found[todo] >> half, found[todo] & low
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & low)
        found[todo] = left << half | right
        todo = todo[found[todo] >= size]
    return found.astype(np.int64)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of 64 bits each: the finaliser of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
