"""The frame of points: known modes are taken as they are, unknown ones by median and quartiles."""

import numpy as np

from ngldm.scoring.further.frame import Frame

POINTS = np.random.default_rng(0).normal([5.0, -300.0], [1.0, 100.0], (100_000, 2))


def test_known_centres_leave_the_unit():
    frame = Frame.of(POINTS, np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(frame.distances(np.array([[3.0, 4.0]])), [[5.0, 0.0]])


def test_without_centres_the_unit_does_not_matter():
    """A normal's quartiles lie 1.349 deviations apart."""
    frame = Frame.of(POINTS, np.empty((0, 2)))
    np.testing.assert_allclose(frame.centres, [[5.0, -300.0]], rtol=0.02)
    np.testing.assert_allclose(frame.unit, [1.349, 134.9], rtol=0.02)
    scaled = POINTS * [1.0, 1e-3]
    other = Frame.of(scaled, np.empty((0, 2)))
    np.testing.assert_allclose(other.distances(scaled), frame.distances(POINTS), rtol=1e-9)
