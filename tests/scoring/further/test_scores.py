"""What the stage `reference` kept decides which scores there are; without it they are refused."""

import numpy as np
import pytest
import torch

from ngldm.data.reference import FURTHER, save_further
from ngldm.io.errors import InputError
from ngldm.scoring.further.scores import further_scores, points_floor

POINTS = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
FEATURES = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def points_reference(tmp_path):
    save_further(tmp_path, {"train": POINTS * 2.0, "test": POINTS, "centres": np.zeros((1, 2))})
    return tmp_path


def test_points_are_scored_against_the_test_points(points_reference):
    """Twice the points have twice the radius: log 2 at every quantile."""
    found = further_scores(points_reference, POINTS * 2.0, FEATURES, FEATURES, 3)
    assert found["msle"] == pytest.approx(np.log(2.0) ** 2)
    assert points_floor(points_reference) == found


def test_images_are_scored_against_test_features(tmp_path):
    kept = {"test_features": FEATURES.numpy(), "test_labels": np.zeros(50, np.int64), "spectrum": np.ones(4)}
    save_further(tmp_path, kept)
    found = further_scores(tmp_path, IMAGES, FEATURES, FEATURES + 9.0, 3)
    assert (found["coverage"], found["memorised"]) == (1.0, 0.0)


def test_a_reference_of_the_other_kind_or_without_the_file_is_refused(points_reference):
    with pytest.raises(InputError, match=r"further\.npz: not a complete \.npz with test_features"):
        further_scores(points_reference, IMAGES, FEATURES, FEATURES, 3)
    (points_reference / FURTHER).unlink()
    with pytest.raises(InputError, match=r"further\.npz: no such file or folder; it comes from the stage `reference`"):
        points_floor(points_reference)
