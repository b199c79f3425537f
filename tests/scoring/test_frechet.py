"""Streaming moments, the Frechet distance and KID against independent computations."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_fid.fid_score import calculate_frechet_distance
from threadpoolctl import threadpool_limits
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.frechet import Moments, frechet_distance, frechet_spread
from ngldm.scoring.kid import kid

SPECTRA = {"wishart": None, "skewed": 4.0, "very skewed": 6.0}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for a busy core make the many small operations here a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def rotation(dim: int, seed: int) -> Tensor:
    gaussian = np.random.default_rng(seed).standard_normal((dim, dim))
    return torch.from_numpy(np.linalg.qr(gaussian)[0])


def covariance(dim: int, seed: int, decades: float | None) -> Tensor:
    """Of 4 `dim` Gaussian vectors, or with eigenvalues that fall over that many powers of ten."""
    if decades is None:
        return torch.from_numpy(np.cov(np.random.default_rng(seed).standard_normal((4 * dim, dim)), rowvar=False))
    basis = rotation(dim, seed)
    return basis @ torch.diag(torch.logspace(0.0, -decades, dim, dtype=torch.float64)) @ basis.T


def gaussian(dim: int, seed: int, decades: float | None = None) -> tuple[Tensor, Tensor]:
    """A mean and a covariance."""
    mean = torch.from_numpy(np.random.default_rng(seed + 1000).standard_normal(dim))
    return mean, covariance(dim, seed, decades)


def low_rank(dim: int, rank: int, seed: int) -> Tensor:
    basis = rotation(dim, seed)[:, :rank]
    return basis @ torch.diag(torch.linspace(1.0, 2.0, rank, dtype=torch.float64)) @ basis.T


def rooted(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root by singular values, those of rounding left out."""
    u, s, vt = np.linalg.svd(matrix)
    return u * np.sqrt(np.where(s > 1e-9, s, 0.0)) @ vt


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("dim", [16, 64, 256])
def test_frechet_distance_is_that_of_pytorch_fid(dim, spectrum):
    """With nearly equal means too, where the covariances decide."""
    (mu1, sigma1), (mu2, sigma2) = (gaussian(dim, seed, SPECTRA[spectrum]) for seed in (0, 1))
    near = mu1 + 1e-3 * mu2
    trace_part = calculate_frechet_distance(mu1.numpy(), sigma1.numpy(), near.numpy(), sigma2.numpy())
    assert frechet_distance(mu1, sigma1, near, sigma2) == pytest.approx(trace_part, rel=1e-6)
    far = trace_part + float((mu1 - mu2).square().sum() - (mu1 - near).square().sum())
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(far, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 5, 64])
def test_equal_covariances_leave_the_squared_distance_of_the_means(dim):
    (mu1, sigma), (mu2, _) = gaussian(dim, 0, 2.0), gaussian(dim, 1, 2.0)
    assert frechet_distance(mu1, sigma, mu2, sigma) == pytest.approx(float((mu1 - mu2).square().sum()), rel=1e-9)


@pytest.mark.parametrize("dim", [1, 5, 64])
def test_diagonal_covariances_give_the_squared_distance_of_the_deviations(dim):
    std1, std2 = torch.rand(2, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    zero = torch.zeros(dim)
    distance = frechet_distance(zero, torch.diag(std1**2), zero, torch.diag(std2**2))
    assert distance == pytest.approx(float((std1 - std2).square().sum()), rel=1e-9)


def test_covariances_that_do_not_commute():
    """2x2, where tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB))."""
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 4.0]])
    assert not np.allclose(a @ b, b @ a)
    expected = a.trace() + b.trace() - 2 * math.sqrt((a @ b).trace() + 2 * math.sqrt(np.linalg.det(a @ b)))
    zero = torch.zeros(2)
    assert frechet_distance(zero, torch.tensor(a), zero, torch.tensor(b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_identical_gaussians_have_distance_zero(spectrum):
    """Each eigenvalue's root is known to sqrt(1e-16) of the largest at worst: dim * 1e-8."""
    mu, sigma = gaussian(64, 0, SPECTRA[spectrum])
    assert abs(frechet_distance(mu, sigma, mu, sigma)) < 64 * 1e-8


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_frechet_distance_is_symmetric(spectrum):
    first, second = gaussian(32, 0, SPECTRA[spectrum]), gaussian(32, 1, SPECTRA[spectrum])
    assert frechet_distance(*first, *second) == pytest.approx(frechet_distance(*second, *first), rel=1e-8)


@pytest.mark.parametrize("ranks", [(3, 3), (3, 40), (40, 3), (1, 1), (3, 64), (64, 3)])
def test_rank_deficient_covariances_are_exact_to_the_root_of_double_precision(ranks):
    """As with fewer images than features. The reference: the nuclear norm of the product of the roots."""
    dim = 64
    zero = torch.zeros(dim)
    sigma1, sigma2 = (low_rank(dim, rank, seed) for seed, rank in enumerate(ranks))
    roots = [rooted(sigma.numpy()) for sigma in (sigma1, sigma2)]
    expected = float(sigma1.trace() + sigma2.trace()) - 2 * np.linalg.norm(roots[0] @ roots[1], "nuc")
    assert frechet_distance(zero, sigma1, zero, sigma2) == pytest.approx(expected, abs=2 * dim * 1e-7)


def test_orthogonal_supports_have_no_cross_term():
    sigma1, sigma2 = torch.diag(torch.tensor([4.0, 0.0])), torch.diag(torch.tensor([0.0, 9.0]))
    assert frechet_distance(torch.zeros(2), sigma1, torch.zeros(2), sigma2) == pytest.approx(13.0, abs=1e-7)


def test_point_masses_are_as_far_apart_as_their_means():
    mu, sigma = torch.tensor([3.0, 4.0]), torch.zeros(2, 2)
    assert frechet_distance(mu, sigma, torch.zeros(2), sigma) == 25.0


def test_single_precision_arguments_are_computed_in_double():
    (mu1, sigma1), (mu2, sigma2) = gaussian(16, 0), gaussian(16, 1)
    rounded = [x.float() for x in (mu1, sigma1, mu2, sigma2)]
    assert frechet_distance(*rounded) == frechet_distance(*(x.double() for x in rounded))


def streamed(features: np.ndarray, sizes: list[int]) -> Moments:
    """Moments of the features, fed in batches of these sizes and the rest at last."""
    result, start = Moments(features.shape[1]), 0
    for size in [*sizes, len(features)]:
        result.update(torch.from_numpy(features[start : start + size]))
        start += size
    return result


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.integers(1, 5),
    sizes=st.lists(st.integers(0, 9), max_size=6),
    rest=st.integers(2, 9),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_moments_are_those_of_numpy_for_any_batching(seed, dim, sizes, rest, scale):
    rng = np.random.default_rng(seed)
    features = scale * (rng.standard_normal((sum(sizes) + rest, dim)) + rng.standard_normal(dim))
    result = streamed(features, sizes)
    assert result.count == len(features)
    np.testing.assert_allclose(result.mean, features.mean(0), rtol=1e-10, atol=1e-13 * scale)
    expected = np.cov(features, rowvar=False).reshape(dim, dim)
    np.testing.assert_allclose(result.cov, expected, rtol=1e-10, atol=1e-12 * scale**2)


@pytest.mark.parametrize("sizes", [[], [1] * 300, [100, 7, 64], [0, 299]])
def test_moments_keep_their_digits_under_a_large_common_offset(sizes):
    """Running sums of squares lose all but the last four digits here: 1e12 times 1e-16."""
    features = 1e6 + np.random.default_rng(0).standard_normal((301, 4))
    np.testing.assert_allclose(streamed(features, sizes).cov, np.cov(features, rowvar=False), atol=1e-9)


def test_running_sums_of_squares_would_fail_the_test_above():
    """By more than a thousand times its tolerance: the offset is large enough to tell the two apart."""
    features = 1e6 + np.random.default_rng(0).standard_normal((301, 4))
    squares, total = features.T @ features, features.sum(0)
    naive = (squares - np.outer(total, total) / 301) / 300
    assert np.abs(naive - np.cov(features, rowvar=False)).max() > 1e-6


@pytest.mark.parametrize("ranks", [(3, 3), (3, 40), (1, 64)])
def test_rank_deficient_covariances_of_one_basis_are_no_nearer_than_zero(ranks):
    """Nested supports and themselves: finite, negative by no more than the roots of rounding errors (1e-7 each)."""
    dim = 64
    mu, (sigma1, sigma2) = torch.zeros(dim), (low_rank(dim, rank, 0) for rank in ranks)
    for first, second in product((sigma1, sigma2), repeat=2):
        distance = frechet_distance(mu, first, mu, second)
        assert math.isfinite(distance)
        assert distance > -2 * dim * 1e-7


def test_moments_of_single_precision_features_are_double():
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    result = Moments(3).update(features[:20]).update(features[20:])
    assert result.mean.dtype == result.cov.dtype == torch.float64
    np.testing.assert_allclose(result.cov, np.cov(features.numpy().astype(np.float64), rowvar=False), rtol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_covariance_of_too_few_is_refused(count):
    with pytest.raises(InputError, match=f"at least 2 .*there are {count}"):
        _ = Moments(3).update(torch.zeros(count, 3)).cov


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


def test_the_spread_is_that_of_new_sets() -> None:
    """The bootstrap's deviation beside the one over 60 independent sets; each is known to some 10 to 20 %."""
    dim, count = 4, 400
    generator = torch.Generator().manual_seed(0)
    mu, sigma = torch.zeros(dim).double(), torch.eye(dim).double()
    sets = [torch.randn(count, dim, generator=generator) * 1.3 + 0.3 for _ in range(60)]
    distances = []
    for features in sets:
        moments = Moments(dim).update(features)
        distances.append(frechet_distance(mu, sigma, moments.mean, moments.cov))
    direct = float(torch.tensor(distances).std())
    assert frechet_spread(sets[0], mu, sigma, repeats=60) == pytest.approx(direct, rel=0.6)


@pytest.mark.parametrize(("count", "rank"), [(9, 16), (40, 16), (9, 5), (40, 5)])
def test_the_spread_is_that_of_the_distances_of_the_draws(count: int, rank: int) -> None:
    """By singular values, with fewer vectors than features and more, the real side singular or not."""
    dim, repeats = 16, 5
    mu, sigma = gaussian(dim, 0)[0], low_rank(dim, rank, 1)
    vectors = features(count, dim, 2, shift=3.0)
    generator = torch.Generator().manual_seed(7)
    distances = []
    for _ in range(repeats):
        draw = vectors[torch.randint(count, (count,), generator=generator)].numpy()
        cov = np.cov(draw, rowvar=False)
        root = np.linalg.svd(rooted(cov) @ rooted(sigma.numpy()), compute_uv=False).sum()
        distances.append(np.square(draw.mean(0) - mu.numpy()).sum() + cov.trace() + float(sigma.trace()) - 2 * root)
    assert frechet_spread(vectors, mu, sigma, repeats, seed=7) == pytest.approx(np.std(distances, ddof=1), rel=1e-6)


@pytest.mark.parametrize(("repeats", "count"), [(1, 5), (5, 1)])
def test_a_spread_needs_two_of_each(repeats: int, count: int) -> None:
    with pytest.raises(InputError, match="at least 2"):
        frechet_spread(torch.randn(count, 2), torch.zeros(2), torch.eye(2), repeats)
