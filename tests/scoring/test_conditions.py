"""No figure without its conditions: spreads that say nothing are left out, and features are finite."""

import json

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.scoring.evaluation.kid import kid
from ngldm.scoring.evaluation.scores import Scores
from ngldm.scoring.features.extractor import extract


@pytest.mark.parametrize(
    ("real", "generated", "size", "has"),
    [
        (100, 100, 50, True),
        (100, 100, 51, False),
        (100, 100, 100, False),
        (100, 100, 1000, False),
        (400, 60, 60, False),
        (60, 400, 60, False),
        (400, 120, 60, True),
        (8, 8, 1000, False),
    ],
)
def test_kid_has_a_spread_only_of_two_subsets_that_can_lie_apart(real, generated, size, has):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(count, 5, generator=generator) for count in (real, generated))
    found = kid(x, y, size, 10)
    assert (found.std is not None) == has
    assert np.isfinite(found.mean)
    assert not has or found.std > 0


def test_one_subset_has_no_spread():
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    assert kid(x, x + 1, 10, 1).std is None


def test_the_same_images_twice_are_said_to_be_equal_without_a_spread_of_zero():
    """The whole set in every subset: no draw differs from another, so a deviation of 0 would be of nothing."""
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    assert kid(x, x, 50, 20).std is None


def test_a_missing_spread_is_null_in_json():
    assert json.loads(json.dumps(Scores("fd", 1.0, 0.1, 0.2, None, 0.5, 0.5).named()))["kid_std"] is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_no_numbers_stop(bad):
    class Broken:
        name, metric, dim, weights_sha256 = "broken", "fd_broken", 4, "c" * 64

        def __call__(self, images):
            features = torch.zeros(len(images), 4)
            features[:, 1] = torch.where(torch.arange(len(images)) == 2, bad, 0.0)
            return features

    images = np.zeros((9, 4, 4, 1), np.uint8)
    with pytest.raises(InputError, match=r"broken.*NaN.*cccccccccccc"):
        list(extract(Broken(), images, 5))
