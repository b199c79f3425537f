"""Real statistics, measured and opened with their extractor: distances are those that pytorch-fid computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance

from ngldm.data.dataset import Dataset
from ngldm.data.reference import CLASSIFIER
from ngldm.io.errors import InputError
from ngldm.io.files import write_json
from ngldm.io.images import UInt8Array
from ngldm.scoring.distance.scorer import measure_real, open_scorer
from ngldm.scoring.features.classifier import Classifier, ClassifierExtractor, save_classifier
from ngldm.scoring.features.extractor import make_extractor


def images(count: int, seed: int, highest: int = 256) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, highest, (count, 8, 8, 1), dtype=np.uint8)


DATA = Dataset("noise", images(150, 0), images(60, 1), np.arange(150) % 3, np.arange(60) % 3)


def of_features(path: Path, first: UInt8Array, second: UInt8Array) -> float:
    """pytorch-fid's distance between two sets of images in the classifier's features."""
    moments: list[NDArray[np.float64]] = []
    for part in (first, second):
        features = ClassifierExtractor(path)(part).double().numpy()
        moments += [features.mean(0), np.cov(features, rowvar=False)]
    return float(calculate_frechet_distance(*moments))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stage `reference` would write, with a classifier of random weights."""
    folder = tmp_path_factory.mktemp("reference")
    torch.manual_seed(0)
    classifier = Classifier((1, 8, 8), 3, width=4, dim=8)
    classifier.standardise(DATA.train)
    save_classifier(classifier, folder / CLASSIFIER)
    extractor = make_extractor("classifier", classifier=folder / CLASSIFIER)
    seen: list[int] = []
    floor, tests = measure_real(extractor, DATA, folder, 64, torch.tensor([59, 3, 40]), seen.append)
    torch.testing.assert_close(tests, extractor(DATA.test)[[59, 3, 40]])
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0)).numpy()
    kept = np.load(folder / "features.npy")
    np.testing.assert_allclose(kept, extractor(DATA.train)[order], rtol=1e-4, atol=1e-5)
    assert sum(seen) == 210
    about = {"extractor": "classifier", "metric": "fd_classifier", "weights_sha256": extractor.weights_sha256}
    write_json(folder / "reference.json", {**about, "num_images": 150, "floor": floor})
    assert floor == pytest.approx(of_features(folder / CLASSIFIER, DATA.train, DATA.test), rel=1e-4)
    return folder


def test_the_distance_is_pytorch_fids_whatever_the_batches(reference: Path) -> None:
    generated = images(70, 2, highest=128)
    expected = of_features(reference / CLASSIFIER, DATA.train, generated)
    scorer = open_scorer(reference, len(generated))
    assert (scorer.metric, scorer.count, scorer.num_train, scorer.notes) == ("fd_classifier", 70, 150, ())
    for batch_size in (70, 32):
        assert scorer.distance(scorer.features(generated, batch_size)) == pytest.approx(expected, rel=1e-4)


def test_the_papers_protocol_compares_equal_numbers_and_says_that_they_are_few(reference: Path) -> None:
    generated = images(40, 3)
    scorer = open_scorer(reference, len(generated), protocol="paper")
    assert (scorer.metric, scorer.count, scorer.num_train) == ("fd_paper_protocol", 40, 150)
    assert len(scorer.reference.features) == 40
    assert "40 generated and 150 real ones" in scorer.notes[0]
    ours, theirs = (f.double().numpy() for f in (scorer.extractor(generated), scorer.reference.features))
    expected = calculate_frechet_distance(
        ours.mean(0), np.cov(ours, rowvar=False), theirs.mean(0), np.cov(theirs, rowvar=False)
    )
    assert scorer.distance(scorer.features(generated, 40)) == pytest.approx(expected, rel=1e-4)


def test_a_reference_of_another_classifier_is_refused(reference: Path, tmp_path: Path) -> None:
    for file in reference.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(1)
    save_classifier(Classifier((1, 8, 8), 3, width=4, dim=8), tmp_path / CLASSIFIER)
    with pytest.raises(InputError, match="run the stage `reference` again"):
        open_scorer(tmp_path, 10)


def test_a_missing_reference_is_named_with_its_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage `reference`"):
        open_scorer(tmp_path / "none", 10)
