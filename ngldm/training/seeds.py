"""What is random at step k of a training: generators and batches that follow from seed and step."""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def stream_seed(seed: int, *names: object) -> int:
    """A seed for one purpose, e.g. (0, "step", 17): a hash, of which torch's CPU generator takes 32 bits.

    Among the steps of a long training some have the same seed: 10 pairs of 300000. They differ in their batch and in
    the network's weights, so a training loses nothing by it. Generated images do (`ngldm.sampling.seeds`).
    """
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def batch_indices(size: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Indices of the batch of `step` (from 0): shuffled epochs, laid end to end, so that no item is left out."""
    first = step * batch_size
    parts, need = [], batch_size
    while need:
        epoch, offset = divmod(first, size)
        part = _permutation(size, seed, epoch)[offset : offset + need]
        parts.append(part)
        first, need = first + len(part), need - len(part)
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng(stream_seed(seed, "epoch", epoch)).permutation(size)
