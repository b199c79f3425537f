"""Tail scores against closed forms: of Pareto and Student-t laws, whose quantiles and shares are known."""

import numpy as np
import pytest
from scipy import stats

from ngldm.scoring.further.tails import (
    exceedance_ratios,
    joint_tail_ratio,
    log_quantile_error,
    mean_log_ratio,
)

COUNT = 400_000


def pareto(index: float, count: int = COUNT) -> np.ndarray:
    """Evenly spaced quantiles of a Pareto law: its sample without chance."""
    return stats.pareto(index).ppf((np.arange(count) + 0.5) / count)


def test_a_factor_gives_its_squared_logarithm():
    """Quantiles of c R are c times those of R, so every logarithm differs by log c."""
    radii = pareto(3.0)
    assert log_quantile_error(2.0 * radii, radii) == pytest.approx(np.log(2.0) ** 2)
    assert log_quantile_error(radii, radii) == 0.0


def test_another_tail_index_gives_its_integral():
    """log q(u) = -log(1 - u) / index: the squared difference is (1/2 - 1/3)^2 times the mean of log^2(1 - u)."""
    logs = np.log(1.0 - np.linspace(0.95, 0.9999, 400))
    expected = (1 / 2 - 1 / 3) ** 2 * np.square(logs).mean()
    assert log_quantile_error(pareto(2.0), pareto(3.0)) == pytest.approx(expected, rel=1e-3)


def test_exceedance_ratios_of_another_tail():
    """P(R_2 > q) with q the quantile of R_3 at 1 - p is p^(2/3): the ratio is p^(-1/3)."""
    ratios = exceedance_ratios(pareto(2.0), pareto(3.0))
    for level, ratio in ratios.items():
        assert ratio == pytest.approx((1.0 - level) ** (-1 / 3), rel=0.01)
    assert mean_log_ratio(ratios) == pytest.approx(np.mean([2 / 3, 3 / 3, 4 / 3]), rel=0.01)


def test_an_empty_tail_has_ratio_0_and_counts_as_a_hundredth():
    ratios = exceedance_ratios(np.ones(1000), pareto(3.0))
    assert list(ratios) == [0.99, 0.999, 0.9999]
    assert set(ratios.values()) == {0.0}
    assert mean_log_ratio(ratios) == pytest.approx(2.0)


def test_joint_tails_of_dependent_and_independent_coordinates():
    """Both of two independent coordinates are large with 0.01^2, both of two equal ones with 0.01: a ratio of 100."""
    generator = np.random.default_rng(0)
    equal = np.repeat(generator.standard_t(3, (COUNT, 1)), 2, axis=1)
    apart = generator.standard_t(3, (COUNT, 2))
    noise = 1.0 / np.sqrt(COUNT * 1e-4)  # relative, of the rare count
    assert joint_tail_ratio(equal, apart) == pytest.approx(100.0, rel=5 * noise)
    assert joint_tail_ratio(apart, equal) == pytest.approx(0.01, rel=5 * noise)
    assert joint_tail_ratio(apart, apart) == 1.0


def test_joint_tails_of_all_pairs_against_a_loop():
    generator = np.random.default_rng(1)
    real, made = generator.standard_t(3, (5000, 1)) * generator.normal(size=(5000, 4)), generator.normal(size=(5000, 4))
    median = np.median(real, 0)
    limit = np.quantile(np.abs(real - median), 0.99, axis=0)
    counts = []
    for points in (made * 4, real):
        large = np.abs(points - median) > limit
        counts.append(sum((large[:, i] & large[:, j]).sum() for i in range(4) for j in range(i)))
    assert joint_tail_ratio(made * 4, real) == pytest.approx(counts[0] / counts[1])


def test_joint_tails_that_cannot_be_told():
    one = np.random.default_rng(0).normal(size=(100, 1))
    assert joint_tail_ratio(one, one) is None
