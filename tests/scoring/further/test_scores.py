"""What the stage `reference` kept decides which scores there are; without it they are refused."""

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.scoring.further.scores import available_scores, beside_points, choose_scores, further_scores

POINTS = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
FEATURES = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def kept(tmp_path):
    """Of points: the training points have twice the radius of the test points."""
    np.savez(tmp_path / "further.npz", train=POINTS * 2.0, test=POINTS, centres=np.zeros((1, 2)))
    return tmp_path / "further.npz"


def test_points_are_scored_against_the_test_points(kept):
    """Twice the points have twice the radius: log 2 at every quantile."""
    found = further_scores(kept, POINTS * 2.0, FEATURES, FEATURES, 3)
    assert found["msle"] == pytest.approx(np.log(2.0) ** 2)


def test_the_floor_and_the_tails_stand_beside_points(kept):
    beside = beside_points(kept, {"ddim": POINTS})
    assert beside["further_floor"] == further_scores(kept, POINTS * 2.0, FEATURES, FEATURES, 3)
    tails = beside["tails"]
    assert tails["ddim"] == tails["real"]
    reached = [share for share, radius in zip(tails["shares"], tails["real"], strict=True) if radius is not None]
    assert min(reached) >= 1 / 500 > max(set(tails["shares"]) - set(reached))
    radii = np.linalg.norm(POINTS, axis=1)
    for share, radius, training in zip(reached, tails["real"], tails["training"], strict=False):
        assert (radii > radius).mean() == pytest.approx(share, abs=1 / 500)
        assert training == pytest.approx(2.0 * radius)


def test_nothing_stands_beside_images(tmp_path):
    assert beside_points(tmp_path / "none.npz", {"ddim": IMAGES}) == {}


def test_images_are_scored_against_test_features(tmp_path):
    path = tmp_path / "further.npz"
    np.savez(path, test_features=FEATURES.numpy(), test_labels=np.zeros(50, np.int64), spectrum=np.ones(4))
    found = further_scores(path, IMAGES, FEATURES, FEATURES + 9.0, 3)
    assert (found["coverage"], found["memorised"]) == (1.0, 0.0)


def test_a_reference_of_the_other_kind_or_without_the_file_is_refused(kept):
    with pytest.raises(InputError, match=r"further\.npz: not a complete \.npz with test_features"):
        further_scores(kept, IMAGES, FEATURES, FEATURES, 3)
    kept.unlink()
    with pytest.raises(InputError, match=r"further\.npz: no such file or folder; it comes from the stage `reference`"):
        further_scores(kept, POINTS, FEATURES, FEATURES, 3)


def test_the_available_scores_are_those_that_are_found(kept, tmp_path):
    found = further_scores(kept, POINTS, FEATURES, FEATURES, 3)  # no two coordinates are large together
    assert [name for name in available_scores(kept, points=True) if name != "joint_tail"] == list(found)
    path = tmp_path / "images.npz"
    np.savez(path, test_features=FEATURES.numpy(), test_labels=np.arange(50) % 2, spectrum=np.ones(4))
    assert available_scores(path, points=False) == list(further_scores(path, IMAGES, FEATURES, FEATURES, 3))


def test_scores_are_chosen_by_name_or_by_a_beginning():
    available = ["msle", "beyond_0.99", "beyond_0.999", "mode_1"]
    assert choose_scores(["mode_*", "beyond_0.99"], available, "key") == ("beyond_0.99", "mode_1")
    assert choose_scores(["*"], available, "key") == tuple(available)
    for name in ("mode_2", "joint*", "beyond_"):
        with pytest.raises(InputError, match=rf"^key: '{name.replace('*', '.')}' is none of .*msle, beyond_0.99"):
            choose_scores(["msle", name], available, "key")
