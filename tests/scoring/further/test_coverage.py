"""Density and coverage against brute force, and against what their authors prove."""

import numpy as np
import pytest
import torch

from ngldm.scoring.further.coverage import by_class, coverage


def brute_force(real, generated, k):
    """Equations 3 and 4 of Naeem et al. (2020), loop by loop."""
    count, covered = 0, []
    for i, point in enumerate(real):
        others = sorted(np.linalg.norm(point - other) for j, other in enumerate(real) if j != i)
        inside = [np.linalg.norm(point - made) <= others[k - 1] for made in generated]
        count += sum(inside)
        covered.append(any(inside))
    return count / (k * len(generated)), covered


@pytest.mark.parametrize(("k", "chunk"), [(1, 7), (3, 1024), (5, 16)])
def test_against_brute_force(k, chunk):
    generator = np.random.default_rng(0)
    real, generated = generator.normal(size=(40, 3)), generator.normal(0.5, 1.0, (25, 3))
    density, covered = brute_force(real, generated, k)
    found = coverage(torch.from_numpy(real), torch.from_numpy(generated), k, chunk)
    assert found.density == pytest.approx(density)
    assert found.covered.tolist() == covered


def test_the_real_law_reaches_density_1_and_coverage_1_less_half_to_the_k():
    """Naeem et al. (2020), section 3.3: E coverage = 1 - (N - 1) ... (N - k) / ((2 N - 1) ... (2 N - k))."""
    n, k = 1000, 5
    expected = 1.0 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    real, generated = torch.randn(2, n, 4, generator=torch.Generator().manual_seed(0))
    found = coverage(real, generated, k)
    assert found.density == pytest.approx(1.0, abs=0.1)
    assert float(found.covered.float().mean()) == pytest.approx(expected, abs=0.03)


def test_an_outlier_does_not_change_them_much():
    """One real outlier has a ball around everything; precision would count all, density one ball of a hundred."""
    real = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    far = torch.cat([real, torch.tensor([[100.0, 100.0]])])
    generated = real + 20.0
    assert coverage(real, generated).density == 0.0
    assert coverage(far, generated).density <= 1 / 5
    assert float(coverage(far, generated).covered.float().mean()) <= 1 / 101


def test_few_real_vectors_use_as_many_neighbours_as_there_are():
    real = torch.tensor([[0.0], [1.0], [3.0]])
    assert coverage(real, real, 5).covered.all()


def test_shares_by_class():
    assert by_class(torch.tensor([True, False, True, True]), torch.tensor([0, 0, 2, 2])) == {0: 0.5, 2: 1.0}
