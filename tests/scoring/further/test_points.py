"""All scores of points: a perfect generator's, and which score tells which fault."""

import numpy as np
import pytest

from ngldm.data.sources.points.laws import MixtureLaw
from ngldm.scoring.further.points import point_score_names, point_scores

COUNT = 100_000
OPTIONS = {"dim": 4, "weights": [0.6, 0.37, 0.03], "radius": 4.0, "scale": 0.5}
LAW = MixtureLaw(tails="student_t", df=3.0, **OPTIONS)
REAL = LAW.draw(COUNT, np.random.default_rng(0))[0]


def scores(law: MixtureLaw) -> dict[str, float]:
    return point_scores(law.draw(COUNT, np.random.default_rng(1))[0], REAL, LAW.centres)


def test_the_law_itself_scores_as_it_should():
    found = scores(LAW)
    assert found["msle"] < 2e-3
    assert found["beyond_0.99"] == pytest.approx(1.0, abs=5 / np.sqrt(COUNT * 0.01))
    assert found["beyond_0.999"] == pytest.approx(1.0, abs=5 / np.sqrt(COUNT * 0.001))
    assert found["joint_tail"] == pytest.approx(1.0, abs=0.15)
    assert found["bulk_sw1"] < 0.02
    assert found["mode_3"] == pytest.approx(1.0, abs=5 / np.sqrt(COUNT * 0.03))


def test_light_tails_are_told():
    found = scores(MixtureLaw(tails="gaussian", **OPTIONS))
    assert found["msle"] > 0.1
    assert found["beyond_0.999"] < 0.1
    assert found["mode_3"] == pytest.approx(1.0, abs=0.15)


def test_independent_tails_are_told_by_the_joint_tail():
    found = scores(MixtureLaw(tails="student_t", df=3.0, shared=False, **OPTIONS))
    assert found["joint_tail"] < 0.5


def test_a_lost_mode_is_told():
    found = scores(MixtureLaw(tails="student_t", df=3.0, **{**OPTIONS, "weights": [0.62, 0.37, 0.01]}))
    assert 1 / 3 < found["mode_3"] < 0.5  # a third, and far points of the other modes, which do not change


def test_without_centres_no_mode_is_scored():
    found = point_scores(REAL, REAL, np.empty((0, 4)))
    assert not [key for key in found if key.startswith("mode")]
    assert (found["msle"], found["joint_tail"], found["bulk_sw1"]) == (0.0, 1.0, 0.0)


def test_the_wanted_scores_are_those_of_all_and_the_names_are_known_beforehand():
    points = LAW.draw(2000, np.random.default_rng(1))[0]
    every = point_scores(points, REAL, LAW.centres)
    assert list(every) == point_score_names(4, 3)
    few = ["beyond_0.99", "bulk_sw1", "mode_2"]
    assert point_scores(points, REAL, LAW.centres, few) == {name: every[name] for name in few}
    assert set(point_score_names(1, 1)) == {"msle", "tail_log10", "bulk_sw1", *(n for n in every if "beyond" in n)}
