"""The spread is the deviation of the distance over fresh sets, near the floor and far from it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.distance.frechet import Moments, frechet_distance
from ngldm.scoring.evaluation import spread
from ngldm.scoring.evaluation.spread import frechet_spread


def distance(vectors: Tensor, mu: Tensor, sigma: Tensor) -> float:
    moments = Moments(vectors.shape[1]).update(vectors)
    return frechet_distance(mu, sigma, moments.mean, moments.cov)


def made(count: int, dim: int, shift: float, scale: float, heavy: bool) -> Tensor:
    """Vectors whose coordinates have deviations 0.2 to 2; `heavy` ones are exponential, as features after a ReLU."""
    z = torch.empty(count, dim, dtype=torch.float64)
    z = z.exponential_() - 1.0 if heavy else z.normal_()
    return z * torch.linspace(0.2, 2.0, dim) * scale + shift


# dim, vectors, shift of the mean, factor of the deviation (0 and 1 are the floor), coordinates with heavy tails
CASES = [
    (4, 400, 0.3, 1.3, False),
    (8, 100, 0.0, 1.0, False),
    (8, 300, 0.05, 1.0, True),
    (64, 1000, 0.0, 1.0, False),
    (64, 1000, 0.0, 1.0, True),
    (64, 1000, 0.05, 1.05, False),
    (64, 1000, 0.5, 1.3, False),
    (64, 200, 0.0, 1.0, False),
    (64, 80, 0.0, 1.0, False),
    (64, 40, 0.0, 1.0, False),
    (64, 40, 0.5, 1.3, True),
]


@pytest.mark.parametrize(("dim", "count", "shift", "scale", "heavy"), CASES)
def test_it_is_the_deviation_over_fresh_sets(dim: int, count: int, shift: float, scale: float, heavy: bool) -> None:
    """On average over 60 sets 0.85 to 1.2 of the deviation over 300, which itself is known to 4 %."""
    mu, sigma = torch.zeros(dim).double(), torch.linspace(0.2, 2.0, dim).double().square().diag()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sets = [made(count, dim, shift, scale, heavy) for _ in range(300)]
    direct = np.std([distance(vectors, mu, sigma) for vectors in sets], ddof=1)
    found = np.mean([frechet_spread(vectors, mu, sigma) for vectors in sets[:60]])
    assert 0.85 < found / direct < 1.2


@pytest.mark.parametrize(("count", "rank"), [(9, 16), (24, 16), (9, 5), (24, 5), (17, 16)])
def test_it_is_that_of_the_distances_of_the_sets_that_are_left(
    count: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each smaller set's distance by itself: fewer vectors than features and more, the real side singular or not."""
    monkeypatch.setattr(spread, "PAIRS", 2**16)  # near all pairs equally often
    dim, generator = 16, torch.Generator().manual_seed(2)
    root, mu, vectors = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((dim, rank), (dim,), (count, dim))
    )
    sigma, everything = root @ root.T, set(range(count))

    def left(*gone: int) -> float:
        return distance(vectors[sorted(everything - set(gone))], mu, sigma)

    one = np.array([left(i) for i in range(count)])
    jackknife = (count - 1) * one.var()
    second = [
        count * left() - (count - 1) * (one[i] + one[j]) + (count - 2) * left(i, j)
        for i in range(count)
        for j in range(i)
    ]
    expected = math.sqrt(jackknife - min(np.var(second) / 2, jackknife / 2))
    assert frechet_spread(vectors, mu, sigma) == pytest.approx(expected, rel=1e-2)


def test_equal_vectors_do_not_spread() -> None:
    assert frechet_spread(torch.ones(6, 3), torch.zeros(3), torch.eye(3)) == pytest.approx(0.0, abs=1e-7)
    assert frechet_spread(torch.ones(6, 9), torch.zeros(9), torch.zeros(9, 9)) == pytest.approx(0.0, abs=1e-7)


def test_it_is_the_same_each_time_and_for_any_origin() -> None:
    vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mu, sigma = torch.zeros(4).double(), torch.eye(4).double()
    first = frechet_spread(vectors, mu, sigma)
    assert frechet_spread(vectors, mu, sigma) == first
    assert frechet_spread(vectors + 1e6, mu + 1e6, sigma) == pytest.approx(first, rel=1e-6)


def test_the_parts_of_a_large_set_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(90, 8, generator=torch.Generator().manual_seed(3))
    mu, sigma = torch.zeros(8), torch.eye(8)
    whole = frechet_spread(vectors, mu, sigma)
    monkeypatch.setattr(spread, "CHUNK", 7)
    assert frechet_spread(vectors, mu, sigma) == pytest.approx(
        whole, rel=1e-6
    )  # the integral itself is right to 1e-9 of the distance


def test_it_needs_four_vectors() -> None:
    frechet_spread(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(2), torch.eye(2))
    with pytest.raises(InputError, match="at least 4 feature vectors, there are 3"):
        frechet_spread(torch.zeros(3, 2), torch.zeros(2), torch.eye(2))
