"""Bulk and modes against closed forms."""

import numpy as np
import pytest

from ngldm.scoring.further.bulk import mode_ratios, sliced_wasserstein

POINTS = np.random.default_rng(0).normal(size=(20_000, 3))


def test_a_small_shift_moves_each_projection_by_its_share():
    """A shift s moves a projection on v by |v . s|. E|v . s| = |s| / 2 for v uniform on the sphere in three dimensions.

    Clipping to the bulk takes a little from it: two of a hundred points at each edge.
    """
    shift = np.array([0.05, 0.0, 0.0])
    assert sliced_wasserstein(POINTS + shift, POINTS) == pytest.approx(0.025, rel=0.25)
    assert sliced_wasserstein(POINTS, POINTS) == 0.0


def test_in_one_dimension_it_is_the_distance_of_sorted_points():
    points, real = POINTS[:, :1] * 1.5 + 0.3, POINTS[:, 1:2]
    low, high = np.quantile(real, (0.01, 0.99))
    expected = np.abs(np.sort(points.clip(low, high), 0) - np.sort(real.clip(low, high), 0)).mean()
    assert sliced_wasserstein(points, real) == pytest.approx(expected)


def test_far_points_do_not_count():
    far = POINTS.copy()
    far[:20] *= 1e6
    assert sliced_wasserstein(far, POINTS) < 0.01


def test_mode_ratios_are_those_of_the_shares():
    def distances(*counts):
        return 1.0 - np.repeat(np.eye(3), counts, axis=0)

    assert mode_ratios(distances(60, 37, 3), distances(500, 400, 100)) == pytest.approx([1.2, 0.925, 0.3])
    assert mode_ratios(distances(1, 1, 1), distances(2, 2, 0))[2] is None
