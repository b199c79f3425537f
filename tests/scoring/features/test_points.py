"""Features of points: a scale that heavy tails do not move, and moments that exist."""

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.io.errors import InputError
from ngldm.io.tensors import save_tensors
from ngldm.scoring.features.extractor import make_extractor
from ngldm.scoring.features.points import SCALE, save_scale

TRAIN = (stats.norm(3.0, 2.0).rvs((50_000, 2), random_state=0) * [1.0, 10.0]).astype(np.float32)


@pytest.fixture
def extractor(tmp_path):
    save_scale(TRAIN, tmp_path / SCALE)
    return make_extractor("points", classifier=tmp_path / "classifier.safetensors")


def test_features_are_asinh_of_standardised_points(extractor):
    """The law is normal: its median is its mean, its quartile range 1.349 deviations."""
    expected = np.arcsinh((TRAIN - [3.0, 30.0]) / [2.0, 20.0])
    np.testing.assert_allclose(extractor(TRAIN), expected, atol=0.05)
    assert (extractor.dim, extractor.metric) == (2, "fd_points")


def test_far_points_have_finite_features(extractor):
    assert extractor(np.array([[3e38, -3e38]], np.float32)).isfinite().all()


def test_a_damaged_scale_is_refused(tmp_path):
    save_tensors({"median": torch.zeros(2)}, {}, tmp_path / SCALE)
    with pytest.raises(InputError, match="no scale of points"):
        make_extractor("points", classifier=tmp_path / "classifier.safetensors")
