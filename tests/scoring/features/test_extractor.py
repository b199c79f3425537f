"""Feature extractors by name, and features batch by batch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.features.classifier import Classifier, ClassifierExtractor, save_classifier
from ngldm.scoring.features.extractor import extract, extract_spread, make_extractor


@pytest.fixture
def classifier_file(tmp_path: Path) -> Path:
    """A classifier of random weights."""
    torch.manual_seed(0)
    save_classifier(Classifier((1, 8, 8), 10, width=16, dim=32), tmp_path / "classifier.safetensors")
    return tmp_path / "classifier.safetensors"


@pytest.mark.parametrize("batch_size", [1, 15, 50, 500])
def test_batches_do_not_matter_in_extract(classifier_file: Path, batch_size: int) -> None:
    extractor, told = ClassifierExtractor(classifier_file), []
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
    batches = list(extract(extractor, images, batch_size, told.append))
    assert [len(batch) for batch in batches] == told
    assert sum(told) == 50
    assert max(told) <= batch_size
    torch.testing.assert_close(torch.cat(batches), extractor(images), rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.cat(list(extract_spread(extractor, images, batch_size, told.append))), torch.cat(batches))
    assert sum(told) == 100


@pytest.mark.parametrize("extracted", [extract, extract_spread])
def test_features_are_computed_with_as_many_threads_as_cores_are_free(
    classifier_file: Path, extracted: Callable[..., Iterator[Tensor]], other_work: int
) -> None:
    extractor, found = ClassifierExtractor(classifier_file), []
    extractor.model.body.register_forward_hook(lambda *given: found.append(torch.get_num_threads()))
    list(extracted(extractor, np.zeros((6, 8, 8, 1), np.uint8), 2))
    assert found == [other_work] * 3
    assert torch.get_num_threads() == 4


def test_make_extractor_makes_the_named_one_or_lists_them(classifier_file: Path) -> None:
    assert make_extractor("classifier", classifier=classifier_file).name == "classifier"
    with pytest.raises(InputError, match=r"evaluate\.extractor 'vgg'.*classifier, dinov2, inception"):
        make_extractor("vgg", classifier=classifier_file)
