"""The classifier whose features compare small images: it learns, it is standardised, it comes back from its file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ngldm.data.dataset import Dataset
from ngldm.data.sources.bundled.digits import digits as make_digits
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.tensors import save_tensors, to_float
from ngldm.scoring.features.classifier import (
    Classifier,
    ClassifierExtractor,
    accuracy,
    classifier_loss,
    save_classifier,
)
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return make_digits({"test_size": 297, "seed": 0})


@pytest.fixture(scope="module")
def classifier(digits: Dataset) -> Classifier:
    """Trained as the stage `reference` does, for a few seconds."""
    torch.manual_seed(0)
    model = Classifier(digits.image_shape, digits.num_classes, width=16, dim=32)
    ema = EMA(model, 0.9)
    split = Split(
        len(digits.train), lambda index: (to_float(digits.train[index]), torch.from_numpy(digits.train_labels[index]))
    )
    config = FitConfig(max_steps=120, batch_size=64, lr=0.003, weight_decay=1e-4, warmup_steps=10, log_every=60)
    list(fit(model, ema, Task(classifier_loss, split), config, seed=0))
    ema.model.standardise(digits.train)
    return ema.model


@pytest.fixture
def classifier_file(classifier: Classifier, tmp_path: Path) -> Path:
    save_classifier(classifier, tmp_path / "classifier.safetensors")
    return tmp_path / "classifier.safetensors"


def test_the_classifier_learns_the_digits(classifier: Classifier, digits: Dataset) -> None:
    torch.manual_seed(0)
    untrained = Classifier(digits.image_shape, digits.num_classes)
    assert accuracy(untrained, digits.test, digits.test_labels) < 0.3
    assert accuracy(classifier, digits.test, digits.test_labels) > 0.9


@pytest.mark.parametrize("batch_size", [1, 100, 1000])
def test_accuracy_is_the_share_of_right_answers(digits: Dataset, batch_size: int) -> None:
    class AlwaysThree(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[3].expand(len(x), 10)

    expected = (digits.test_labels == 3).mean()
    assert accuracy(AlwaysThree(), digits.test, digits.test_labels, batch_size) == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [100, 512])
def test_features_are_standardised_on_the_given_images(digits: Dataset, batch_size: int) -> None:
    torch.manual_seed(1)
    model = Classifier(digits.image_shape, digits.num_classes, width=8, dim=16)
    model.standardise(digits.train, batch_size)
    with torch.no_grad():
        features = model.features(to_float(digits.train)).double()
    torch.testing.assert_close(features.mean(0), torch.zeros(16).double(), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(features.std(0), torch.ones(16).double(), atol=1e-4, rtol=0.0)


def test_a_feature_that_never_varies_stays_finite(digits: Dataset) -> None:
    model = Classifier(digits.image_shape, 10, width=4, dim=4)
    nn.init.zeros_(model.body[-2].weight)
    model.standardise(digits.train[:20])
    assert bool(model.features(to_float(digits.test[:5])).isfinite().all())


def test_a_saved_classifier_gives_equal_features(
    classifier: Classifier, classifier_file: Path, digits: Dataset
) -> None:
    extractor = ClassifierExtractor(classifier_file)
    features = extractor(digits.test)
    with torch.no_grad():
        assert torch.equal(features, classifier.eval().features(to_float(digits.test)))
    assert features.shape == (297, extractor.dim) == (297, 32)
    assert features.dtype == torch.float32
    assert (extractor.name, extractor.metric) == ("classifier", "fd_classifier")
    assert extractor.weights_sha256 == sha256_file(classifier_file)


@pytest.mark.parametrize("shape", [(1, 3, 8), (3, 8, 3), (1, 1, 1)])
def test_images_too_small_for_the_classifier_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match=f"4x4.*{shape[1]}x{shape[2]}"):
        Classifier(shape, 10)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 4), (1, 9, 8), (3, 32, 20)])
def test_the_classifier_takes_any_other_size(shape: tuple[int, int, int]) -> None:
    model = Classifier(shape, 7, width=4, dim=5)
    x = torch.zeros(2, *shape)
    assert model(x).shape == (2, 7)
    assert model.features(x).shape == (2, 5)


def test_a_missing_classifier_is_an_input_error_naming_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors"):
        ClassifierExtractor(tmp_path / "none.safetensors")


def test_a_truncated_classifier_is_an_input_error_naming_it(classifier_file: Path) -> None:
    classifier_file.write_bytes(classifier_file.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"classifier\.safetensors"):
        ClassifierExtractor(classifier_file)


@pytest.mark.parametrize(
    "state",
    [
        {"autoencoder": {}},
        {"classifier": {"image_shape": [1, 8, 8], "num_classes": 10, "width": 7, "dim": 32}},
    ],
    ids=["another kind of file", "other settings"],
)
def test_a_file_that_holds_no_such_classifier_is_an_input_error(
    classifier: Classifier, tmp_path: Path, state: dict[str, Any]
) -> None:
    save_tensors(dict(classifier.state_dict()), state, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=r"c\.safetensors"):
        ClassifierExtractor(tmp_path / "c.safetensors")
