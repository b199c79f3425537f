"""What the stage `reference` kept decides which scores there are; without it they are refused."""

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.scoring.further.scores import available_scores, beside_points, choose_scores, class_scores, further_scores

POINTS = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
NO_HEAD = {"class_weight": np.zeros((0, 3), np.float32), "class_bias": np.zeros(0, np.float32)}
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
    np.savez(path, test_features=FEATURES.numpy(), test_labels=np.zeros(50, np.int64), spectrum=np.ones(4), **NO_HEAD)
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
    np.savez(path, test_features=FEATURES.numpy(), test_labels=np.arange(50) % 2, spectrum=np.ones(4), **NO_HEAD)
    assert available_scores(path, points=False) == list(further_scores(path, IMAGES, FEATURES, FEATURES, 3))


def test_a_head_that_was_kept_gives_the_shares_of_the_classes(tmp_path):
    """Of the signs of the first feature: all generated images have class 1, half of the training images."""
    path, balanced = tmp_path / "further.npz", torch.cat([FEATURES.abs(), -FEATURES.abs()])
    head = {"class_weight": np.array([[-1, 0, 0], [1, 0, 0]], np.float32), "class_bias": np.zeros(2, np.float32)}
    np.savez(path, test_features=FEATURES.numpy(), test_labels=np.arange(50) % 2, spectrum=np.ones(4), **head)
    wanted = ["share_class_0", "share_class_1"]
    assert set(wanted) < set(available_scores(path, points=False))
    found = further_scores(path, IMAGES, FEATURES.abs(), balanced, 3, wanted)
    assert found == {"share_class_0": 0.0, "share_class_1": 2.0}


def test_scores_are_chosen_by_name_or_by_a_beginning():
    available = ["msle", "beyond_0.99", "beyond_0.999", "mode_1"]
    assert choose_scores(["mode_*", "beyond_0.99"], available, "key") == ("beyond_0.99", "mode_1")
    assert choose_scores(["*"], available, "key") == tuple(available)
    for name in ("mode_2", "joint*", "beyond_"):
        with pytest.raises(InputError, match=rf"^key: '{name.replace('*', '.')}' is none of .*msle, beyond_0.99"):
            choose_scores(["msle", name], available, "key")


def heads(path, classes):
    np.savez(path, class_weight=np.eye(3)[:classes], class_bias=np.zeros(classes))
    return path


def test_the_class_is_that_of_the_largest_logit(tmp_path):
    features = torch.tensor([[5.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    scores = class_scores(heads(tmp_path / "further.npz", 3), IMAGES[:4], features, np.array([0, 1, 2, 2]))
    assert scores["class_accuracy"] == 0.75


def test_an_extractor_without_classes_gives_no_score(tmp_path):
    assert class_scores(heads(tmp_path / "further.npz", 0), IMAGES[:2], torch.zeros(2, 3), np.array([0, 1])) == {}


def test_points_and_models_without_classes_have_no_such_score(tmp_path):
    head = heads(tmp_path / "further.npz", 3)
    assert class_scores(head, POINTS[:2], torch.zeros(2, 3), np.array([0, 1])) == {}
    assert class_scores(head, IMAGES[:2], torch.zeros(2, 3), None) == {}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"test_features": np.full((50, 3), np.nan)}, "test_features: NaN or infinite"),
        ({"spectrum": np.array([1.0, np.inf])}, "spectrum: NaN or infinite"),
        ({"test_features": np.zeros((1, 3)), "test_labels": np.zeros(1)}, "T of at least 2"),
        ({"test_features": np.zeros((50, 4))}, r"must be \(T, 3\)"),
        ({"test_labels": np.zeros(49)}, r"test_labels \(49,\)"),
        ({"spectrum": np.zeros(0)}, "spectrum"),
        ({"class_weight": np.zeros((2, 3))}, "class_weight"),
        ({"class_weight": np.zeros((2, 4)), "class_bias": np.zeros(2)}, "class_weight"),
    ],
)
def test_what_is_kept_of_real_images_must_fit(tmp_path, changed, words):
    path = tmp_path / "further.npz"
    whole = {"test_features": FEATURES.numpy(), "test_labels": np.zeros(50), "spectrum": np.ones(4), **NO_HEAD}
    np.savez(path, **{**whole, **changed})
    with pytest.raises(InputError, match=rf"further\.npz: .*{words}"):
        further_scores(path, IMAGES, FEATURES, FEATURES, 3)


def test_a_class_that_the_classifier_does_not_have_is_named(tmp_path):
    path = tmp_path / "further.npz"
    np.savez(path, class_weight=np.zeros((2, 3)), class_bias=np.zeros(2))
    assert class_scores(path, IMAGES, FEATURES, np.ones(50, np.int64))["class_accuracy"] == 0.0
    with pytest.raises(InputError, match=r"classes: 2 was asked for, but .* has 2 classes"):
        class_scores(path, IMAGES, FEATURES, np.full(50, 2))
