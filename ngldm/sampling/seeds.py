"""An image's own random numbers: a generator whose whole state follows from the set's seed and the image's number.

torch's CPU generator, a Mersenne twister, keeps 32 bits of the seed that it is given: seed 2^32 would mean seed 0, and
among some 80000 images two would be equal. Here the state itself, 624 words, is computed from 128 bits.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ngldm.io.errors import InputError, require_whole
from ngldm.sampling.names import MAX_SEED

ImageSeed = tuple[int, int]  # the set's seed and the image's number
UInt64Array = NDArray[np.uint64]

STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: the increment of splitmix64
WORDS = 624  # of 32 bits: the twister's state
HEADER = 24  # bytes of torch's state before the words, of which each takes 8


def require_seeds(seed: int, first: int, last: int) -> int:
    """Check what `image_seeds` gets, without a list of all images. Returns the set's seed.

    Raises:
        InputError: `seed` or a number is not 0 to `MAX_SEED`.
    """
    if not 0 <= first <= last <= MAX_SEED + 1:
        raise InputError(f"first: images {first} to {last - 1} must have numbers between 0 and {MAX_SEED}")
    return require_whole("seed", seed, 0, MAX_SEED)


def image_seeds(seed: int, first: int, last: int) -> list[ImageSeed]:
    """The own seeds of images number `first` to `last - 1` of a set's seed.

    Raises:
        InputError: as `require_seeds`.
    """
    seed = require_seeds(seed, first, last)
    return [(seed, index) for index in range(first, last)]


def _mixed(z: UInt64Array) -> UInt64Array:
    """splitmix64's output function (Steele, Lea and Flood 2014): one to one, each bit depends on all."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def image_keys(seeds: UInt64Array, indices: UInt64Array) -> UInt64Array:
    """(N, 2): 128 bits for each pair of a seed and an image's number.

    Four rounds of a Feistel network, which is one to one: two pairs never have the same key.
    """
    left, right = seeds, indices
    for step in range(4):
        left, right = right, left ^ _mixed(right + np.uint64(step * STEP % 2**64))
    return np.stack([left, right], axis=-1)


def twister_words(keys: UInt64Array) -> NDArray[np.uint32]:
    """(N, 624) states of a Mersenne twister from (N, 2) keys: a stream of splitmix64 from each half of a key.

    Two keys never have the same state, since the mixing is one to one.
    """
    counter = np.arange(1, WORDS // 4 + 1, dtype=np.uint64) * np.uint64(STEP)
    mixed = _mixed(keys[:, None, :] + counter[:, None])
    return mixed.astype("<u8").view("<u4").reshape(len(keys), WORDS)


def image_generators(seeds: Sequence[ImageSeed]) -> list[torch.Generator]:
    """A generator on the CPU for each image."""
    pairs = np.array(seeds, dtype=np.uint64).reshape(-1, 2)
    template = torch.Generator().manual_seed(0).get_state().numpy()  # its counters say: all words are new
    states = np.tile(template, (len(pairs), 1))
    words = twister_words(image_keys(pairs[:, 0], pairs[:, 1])).astype(np.uint64)
    states[:, HEADER : HEADER + 8 * WORDS] = words.view(np.uint8)
    # Each row is a tensor of its own: `set_state` reads a view from the start of its storage.
    return [torch.Generator().set_state(torch.from_numpy(state)) for state in states]
