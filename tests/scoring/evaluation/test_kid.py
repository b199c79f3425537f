"""KID against the naive estimate and its known spread."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.evaluation.kid import kid


def kernel(a: list[float], b: list[float]) -> float:
    return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1.0) ** 3


def naive_mmd2(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate (Gretton et al. 2012, lemma 6), term by term."""
    xs, ys = x.tolist(), y.tolist()
    n, m = len(xs), len(ys)
    xx = sum(kernel(xs[i], xs[j]) for i, j in product(range(n), repeat=2) if i != j) / (n * (n - 1))
    yy = sum(kernel(ys[i], ys[j]) for i, j in product(range(m), repeat=2) if i != j) / (m * (m - 1))
    xy = sum(kernel(a, b) for a, b in product(xs, ys)) / (n * m)
    return xx + yy - 2.0 * xy


def features(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


@pytest.mark.parametrize(("count", "dim"), [(2, 1), (7, 3), (20, 16)])
def test_kid_of_full_subsets_is_the_naive_estimate(count, dim):
    """Every subset is the whole set, so that there is no spread."""
    x, y = features(count, dim, 0), features(count, dim, 1, shift=0.5)
    result = kid(x, y, subset_size=1000, num_subsets=3)
    assert result.mean == pytest.approx(naive_mmd2(x, y), rel=1e-9)
    assert result.std is None


def test_kid_of_more_rows_than_a_block_is_the_whole_matrix():
    """Of 2500 rows: three blocks of the kernel's matrix. The expected value has the whole matrix at once, in numpy."""
    x, y = features(2500, 3, 0).numpy(), features(2500, 3, 1, shift=0.5).numpy()
    kxx, kyy, kxy = ((a @ b.T / 3.0 + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (kxx.sum() - np.trace(kxx) + kyy.sum() - np.trace(kyy)) / (2500 * 2499)
    found = kid(torch.from_numpy(x), torch.from_numpy(y), subset_size=2500, num_subsets=1)
    assert found.mean == pytest.approx(within - 2.0 * kxy.mean(), rel=1e-9)


def test_kid_over_subsets_has_the_full_sets_estimate_as_expectation():
    """Subsets without replacement keep the estimate unbiased; within 5 standard errors of 2000 subsets."""
    x, y = features(9, 3, 0), features(8, 3, 1, shift=0.5)
    result = kid(x, y, subset_size=4, num_subsets=2000)
    assert result.std > 0.0
    assert abs(result.mean - naive_mmd2(x, y)) < 5.0 * result.std / math.sqrt(2000)


def kid_standard_deviation(count: int, dim: int) -> float:
    """Of the estimate for two samples of `count` standard normals.

    Its four uncorrelated sums give var = (4 / (n (n - 1)) + 4 / n^2) E[k~^2], k~ the kernel centred in both
    arguments; the expectation is taken over 2000 other vectors.
    """
    z = features(2000, dim, 99)
    k = (z @ z.T / dim + 1.0) ** 3
    k = k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()
    k.fill_diagonal_(0.0)
    second_moment = float(k.square().sum()) / (2000 * 1999)
    return math.sqrt((4.0 / (count * (count - 1)) + 4.0 / count**2) * second_moment)


@pytest.mark.parametrize("seed", range(5))
def test_kid_of_one_distribution_is_near_zero(seed):
    """Within 5 standard deviations."""
    x, y = features(300, 16, 2 * seed), features(300, 16, 2 * seed + 1)
    assert abs(kid(x, y, subset_size=300, num_subsets=1).mean) < 5.0 * kid_standard_deviation(300, 16)


def test_kid_of_one_distribution_is_unbiased():
    """The mean of 200 independent estimates, within 5 standard errors; with the diagonals it would be 200 off."""
    values = [kid(features(20, 16, 2 * s), features(20, 16, 2 * s + 1), num_subsets=1).mean for s in range(200)]
    assert abs(np.mean(values)) < 5.0 * kid_standard_deviation(20, 16) / math.sqrt(200)


def test_kid_of_shifted_distributions_is_positive():
    """By far more than its spread on one distribution."""
    result = kid(features(300, 16, 0), features(300, 16, 1, shift=1.0), subset_size=100, num_subsets=10)
    assert result.mean > 10.0 * kid_standard_deviation(100, 16)
    assert result.mean > 5.0 * result.std


def test_kid_is_reproducible_and_depends_on_the_seed():
    x, y = features(50, 4, 0), features(50, 4, 1)
    results = [kid(x, y, subset_size=10, num_subsets=5, seed=seed) for seed in (3, 3, 4)]
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_kid_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    kid(features(10, 4, 0), features(10, 4, 1), num_subsets=2)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("n", "m", "size", "least"), [(1, 9, 5, 1), (9, 0, 5, 0), (9, 9, 1, 1)])
def test_kid_of_too_few_is_refused(n, m, size, least):
    with pytest.raises(InputError, match=f"at least 2 .*there are {least}"):
        kid(features(n, 4, 0), features(m, 4, 1), subset_size=size)
