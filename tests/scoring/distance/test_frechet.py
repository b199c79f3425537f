"""Streaming moments and the Frechet distance against independent computations."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.distance.frechet import Moments, frechet_distance

SPECTRA = {"wishart": None, "skewed": 4.0, "very skewed": 6.0}


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


def features(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("mu2", np.zeros(1)), ("mu1", np.zeros((1, 3))), ("mu2", np.float64(0.0)), ("sigma2", np.eye(2))],
        *[("sigma1", np.ones(3)), ("sigma1", np.ones((3, 2))), ("sigma1", np.triu(np.ones((3, 3))))],
        *[("sigma1", -np.eye(3)), ("sigma2", np.eye(3) - 0.8 * np.ones((3, 3)))],
        *[("mu1", np.array([0.0, np.nan, 0.0])), ("sigma2", np.eye(3) * np.nan), ("sigma1", np.full((3, 3), np.inf))],
    ],
)
def test_what_is_no_mean_or_covariance_is_named(key: str, value: np.ndarray) -> None:
    """Broadcasting would make a number of many of them."""
    good = {"mu1": np.zeros(3), "sigma1": np.eye(3), "mu2": np.zeros(3), "sigma2": np.eye(3)}
    with pytest.raises(InputError, match=r"^(mu|sigma)[12]: "):
        frechet_distance(**{**good, key: value})


def test_a_matrix_with_negative_eigenvalues_is_refused_as_pytorch_fid_refuses_it() -> None:
    """Its eigenvalues are 5 and -1, so its root is not real."""
    bad, good = np.array([[2.0, 3.0], [3.0, 2.0]]), np.eye(2)
    with pytest.raises(ValueError, match="Imaginary component"):
        calculate_frechet_distance(np.zeros(2), bad, np.zeros(2), good)
    for covariances in ((bad, good), (good, bad)):
        with pytest.raises(InputError, match="negative eigenvalues"):
            frechet_distance(np.zeros(2), covariances[0], np.zeros(2), covariances[1])


@pytest.mark.parametrize("count", [5, 30, 500])
def test_no_distance_is_below_zero(count: int) -> None:
    for seed in range(10):
        x = torch.randn(count, 40, generator=torch.Generator().manual_seed(seed)).double() * torch.logspace(0, -5, 40)
        mu, sigma = x.mean(0), torch.cov(x.T)
        assert 0.0 <= frechet_distance(mu, sigma, mu, sigma) < 1e-6


@pytest.mark.parametrize(("mu", "scale"), [(1e200, 1.0), (0.0, 1e200), (1e200, 1e200)])
def test_numbers_too_large_for_a_distance_are_refused(mu: float, scale: float) -> None:
    with pytest.raises(InputError, match="not a finite number"):
        frechet_distance(np.zeros(3), scale * np.eye(3), np.full(3, mu), scale * np.eye(3))


def test_views_with_negative_strides_and_float32_are_taken() -> None:
    mu, sigma = np.arange(3.0), np.diag([1.0, 4.0, 9.0])
    there = frechet_distance(mu[::-1], sigma[::-1, ::-1], np.zeros(3, np.float32), np.eye(3, dtype=np.float32))
    assert there == pytest.approx(5.0 + 0.0 + 1.0 + 4.0)  # diagonal: sum of mu^2 and of (s - 1)^2
