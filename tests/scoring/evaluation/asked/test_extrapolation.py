"""FID-infinity: the authors' line, and a distance that is known."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.linear_model import LinearRegression

from ngldm.io.errors import InputError
from ngldm.scoring.evaluation.asked.extrapolation import distance_at_infinity, smallest_set


def authors_value(features: np.ndarray, mu: np.ndarray, sigma: np.ndarray, smallest: int) -> float:
    """`calculate_FID_infinity` of Chong and Forsyth's code: sets in random order, and sklearn's line."""
    rng, fids = np.random.default_rng(5), []
    sizes = np.linspace(smallest, len(features), 15).astype("int32")
    for size in sizes:
        rng.shuffle(features)
        some = features[:size]
        mean, cov = some.mean(0), np.cov(some, rowvar=False)
        fids.append(np.sum((mean - mu) ** 2) + np.trace(cov + sigma - 2 * sqrtm(cov @ sigma).real))
    line = LinearRegression().fit(1 / sizes.reshape(-1, 1), np.array(fids).reshape(-1, 1))
    return float(line.predict(np.array([[0]]))[0, 0])


def test_the_bias_of_few_images_is_gone() -> None:
    """Both sides are N(0, I), so the distance is 0. That of N images is about (D + D (D + 1) / 4) / N above."""
    dim, count = 16, 2000
    features = torch.randn(count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mu, sigma = torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    bias = (dim + dim * (dim + 1) / 4) / count
    found = distance_at_infinity(features, mu, sigma)
    assert abs(found) < 0.35 * bias
    theirs = authors_value(features.numpy().copy(), mu.numpy(), sigma.numpy(), 200)
    assert found == pytest.approx(theirs, abs=0.35 * bias)  # other random sets


def test_a_known_distance() -> None:
    """Means 2 apart and deviations 1 and 1.5 in 8 dimensions: 4 + 8 / 4. The error of the mean is 4 / sqrt(N) x 1.5."""
    dim, count = 8, 20_000
    features = 1.5 * torch.randn(count, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features[:, 0] += 2.0
    found = distance_at_infinity(features, torch.zeros(dim).double(), torch.eye(dim).double())
    assert found == pytest.approx(6.0, abs=5 * 6 / count**0.5)


def test_the_sets_are_large_enough_for_a_covariance() -> None:
    assert smallest_set(50_000, 2048) == 5000
    assert smallest_set(5000, 2048) == 2049
    with pytest.raises(InputError, match=r"evaluate\.extrapolate: 4097 images are too few for 2048 features.* 4098"):
        smallest_set(4097, 2048)
