"""Feature extractors and the stored reference: the classifier, pytorch-fid's Inception, statistics.npz."""

import lzma
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_fid import inception as pytorch_fid_inception
from pytorch_fid.fid_score import compute_statistics_of_path
from torch import nn

from ngldm.data.dataset import Dataset
from ngldm.data.reference import load_reference, save_reference
from ngldm.data.sources.digits import digits as make_digits
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file, write_json
from ngldm.io.images import UInt8Array
from ngldm.io.tensors import save_tensors, to_float
from ngldm.scoring.features.classifier import (
    Classifier,
    ClassifierExtractor,
    accuracy,
    classifier_loss,
    save_classifier,
)
from ngldm.scoring.features.extractor import extract, make_extractor
from ngldm.scoring.features.inception import InceptionExtractor, inception_weights
from ngldm.scoring.frechet import Moments
from ngldm.scoring.protocol import by_protocol, compared, shortfall
from ngldm.training.ema import EMA
from ngldm.training.loop import Split, Task, fit

STANDIN = Path("../shared/data/inception_v3_standin.pth.xz")  # from the repository's root; may be missing
DOWNLOAD = torch.hub.download_url_to_file  # the other tests forbid it
KEY = "evaluate.inception_weights"
CACHE_NAME = "pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class Config:
    max_steps: int = 120
    batch_size: int = 64
    lr: float = 0.003
    weight_decay: float = 1e-4
    warmup_steps: int = 10
    lr_schedule: str = "cosine"
    ema_decay: float = 0.9
    grad_clip: float = 1.0
    precision: str = "fp32"
    compile: bool = False
    log_every: int = 60
    eval_every: int = 120


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a shared machine a second thread waits more than it works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_images(count: int, *shape: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


# --- the classifier


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return make_digits({"test_size": 297, "seed": 0})


@pytest.fixture(scope="module")
def classifier(one_thread: None, digits: Dataset) -> Classifier:
    """Trained as the stage `reference` does, for a few seconds."""
    torch.manual_seed(0)
    model = Classifier(digits.image_shape, digits.num_classes, width=16, dim=32)
    ema = EMA(model, 0.9)
    split = Split(
        len(digits.train), lambda index: (to_float(digits.train[index]), torch.from_numpy(digits.train_labels[index]))
    )
    list(fit(model, ema, Task(classifier_loss, split), Config(), seed=0))
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


@pytest.mark.parametrize("batch_size", [1, 15, 50, 500])
def test_batches_do_not_matter_in_extract(classifier_file: Path, digits: Dataset, batch_size: int) -> None:
    extractor, told = ClassifierExtractor(classifier_file), []
    images = digits.test[:50]
    batches = list(extract(extractor, images, batch_size, told.append))
    assert [len(batch) for batch in batches] == told
    assert sum(told) == 50
    assert max(told) <= batch_size
    torch.testing.assert_close(torch.cat(batches), extractor(images), rtol=1e-4, atol=1e-5)


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


def test_make_extractor_makes_the_named_one_or_lists_them(classifier_file: Path) -> None:
    assert make_extractor("classifier", classifier=classifier_file, inception=None).name == "classifier"
    with pytest.raises(InputError, match=r"evaluate\.extractor 'vgg'.*classifier, inception"):
        make_extractor("vgg", classifier=classifier_file, inception=None)


# --- the reference


ABOUT = {"extractor": "classifier", "metric": "fd_classifier", "weights_sha256": "a" * 64}


def statistics(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    moments = Moments(features.shape[1]).update(features)
    return moments.mean, moments.cov


FEATURES = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    save_reference(tmp_path, *statistics(FEATURES), FEATURES)
    write_json(tmp_path / "reference.json", ABOUT)
    return tmp_path


def test_a_reference_comes_back(reference: Path) -> None:
    loaded, moments = load_reference(reference), Moments(6).update(FEATURES)
    assert torch.equal(loaded.mu, moments.mean)
    assert torch.equal(loaded.sigma, moments.cov)
    assert torch.equal(loaded.features.sort(0).values, FEATURES.sort(0).values)
    assert loaded.mu.dtype == loaded.sigma.dtype == torch.float64
    assert loaded.about == ABOUT


def test_pytorch_fid_reads_the_statistics(reference: Path) -> None:
    mu, sigma = compute_statistics_of_path(str(reference / "statistics.npz"), None, 1, 6, "cpu")
    np.testing.assert_allclose(mu, FEATURES.double().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sigma, np.cov(FEATURES.double().numpy(), rowvar=False), rtol=1e-10)


def test_at_most_ten_thousand_features_are_kept(tmp_path: Path) -> None:
    many = torch.arange(10_001.0)[:, None]
    save_reference(tmp_path, *statistics(many), many)
    write_json(tmp_path / "reference.json", ABOUT)
    kept = load_reference(tmp_path).features[:, 0]
    assert len(kept) == len(kept.unique()) == 10_000
    # Random, since data sets may be sorted by class: the mean of half of a random order is within 5 deviations.
    assert abs(float(kept[:5000].mean()) - 5000.0) < 5 * 10_001 / 12**0.5 / 5000**0.5


def test_the_papers_protocol_compares_with_1000_random_images_under_its_own_name(tmp_path: Path) -> None:
    many = torch.randn(3000, 6, generator=torch.Generator().manual_seed(1))
    save_reference(tmp_path, *statistics(many), many)
    write_json(tmp_path / "reference.json", {**ABOUT, "metric": "fid", "num_images": 3000})
    whole = load_reference(tmp_path)
    assert by_protocol(whole, "standard") is whole
    paper = by_protocol(whole, "paper")
    assert paper.about["metric"] == "fd_paper_protocol"
    assert paper.about["num_images"] == len(paper.features) == 1000
    np.testing.assert_allclose(paper.sigma, np.cov(paper.features.double().numpy(), rowvar=False), rtol=1e-10)
    assert {tuple(row) for row in paper.features.tolist()} <= {tuple(row) for row in many.tolist()}
    assert len(by_protocol(whole, "paper", 5000).features) == 1000
    few = by_protocol(whole, "paper", 64)
    assert few.about["num_images"] == len(few.features) == 64
    assert torch.equal(few.features, paper.features[:64])


def test_both_sides_count_the_same_number_by_the_papers_protocol() -> None:
    assert compared("standard", 5000, 64) == 5000
    assert [compared("paper", *counts) for counts in ((5000, 3000), (64, 3000), (5000, 300))] == [1000, 64, 300]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("standard", 64, 10, 10), []),
        (("standard", 2048, 2049, 50_000), []),
        (("standard", 2048, 2048, 50_000), ["2048 images; below 2049 .* singular"]),
        (("standard", 2048, 10_000, 1500), ["1500 images; below 2049"]),
        (("paper", 64, 1000, 1000), []),
        (("paper", 64, 999, 5000), ["999 generated and 5000 real ones, so 999 of each count"]),
        (("paper", 2048, 10_000, 50_000), ["1000 images; below 2049"]),
        (("paper", 2048, 5000, 300), ["5000 generated and 300 real .* so 300", "300 images; below 2049"]),
    ],
)
def test_too_few_images_are_noted_with_their_counts(arguments: tuple, words: list[str]) -> None:
    notes = shortfall(*arguments)
    assert len(notes) == len(words)
    for note, pattern in zip(notes, words, strict=True):
        assert re.search(pattern, note)


def test_features_of_other_weights_are_refused(reference: Path) -> None:
    loaded = load_reference(reference)
    loaded.require_extractor("a" * 64)
    with pytest.raises(InputError, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb.*stage `reference`"):
        loaded.require_extractor("b" * 64)


@pytest.mark.parametrize("name", ["statistics.npz", "features.npy", "reference.json"])
def test_a_missing_file_of_the_reference_is_an_input_error_naming_it(reference: Path, name: str) -> None:
    (reference / name).unlink()
    with pytest.raises(InputError, match=name):
        load_reference(reference)


def test_a_missing_reference_is_an_input_error_naming_its_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the stage `reference`"):
        load_reference(tmp_path / "none")


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage"])
@pytest.mark.parametrize("name", ["statistics.npz", "features.npy", "reference.json"])
def test_a_damaged_file_of_the_reference_is_an_input_error(reference: Path, name: str, damage: str) -> None:
    whole = (reference / name).read_bytes()
    content = {"empty": b"", "truncated": whole[: len(whole) // 2], "garbage": b"\x00garbage" * 40}[damage]
    (reference / name).write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|not valid JSON"):
        load_reference(reference)


def test_statistics_with_other_keys_are_an_input_error(reference: Path) -> None:
    np.savez(reference / "statistics.npz", mean=np.zeros(6))
    with pytest.raises(InputError, match="damaged"):
        load_reference(reference)


# --- Inception


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights of pytorch-fid's network, scaled so that its features neither die nor explode."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid_inception, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *args, **kwargs: None)
        torch.manual_seed(0)
        network = pytorch_fid_inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(random_weights: Path) -> InceptionExtractor:
    return InceptionExtractor(random_weights)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch cache of this test's own; the folder of its checkpoints."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    monkeypatch.setattr(
        "ngldm.scoring.features.inception.FID_WEIGHTS_URL", "http://127.0.0.1:9/"
    )  # no answer, as without a network
    return tmp_path / "torch" / "hub" / "checkpoints"


def by_hand(weights: Path, x: torch.Tensor) -> torch.Tensor:
    """The features as pytorch-fid's own code gets them from (B, 3, H, W) in [0, 1]."""
    state = torch.load(weights, weights_only=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid_inception, "load_state_dict_from_url", lambda *args, **kwargs: state)
        model = pytorch_fid_inception.InceptionV3([3]).eval()
    with torch.no_grad():
        return model(x)[0].squeeze(3).squeeze(2)


@pytest.fixture(scope="module")
def download_forbidden() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "download_url_to_file", lambda *args, **kwargs: pytest.fail("a download"))
        yield


def test_inception_features_are_those_of_pytorch_fid(
    inception: InceptionExtractor, random_weights: Path, download_forbidden: None
) -> None:
    images = random_images(4, 9, 11, 3)
    expected = by_hand(random_weights, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255.0)
    features = inception(images)
    assert features.shape == (4, inception.dim) == (4, 2048)
    assert (features[0] - features[1]).abs().max() > 1e-3  # far above the tolerances
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def test_grey_images_are_taken_as_rgb_of_equal_channels(inception: InceptionExtractor) -> None:
    grey = random_images(2, 8, 8, 1)
    torch.testing.assert_close(inception(grey), inception(np.repeat(grey, 3, axis=3)), rtol=1e-5, atol=1e-6)


def test_the_distance_of_other_weights_is_not_called_fid(inception: InceptionExtractor, random_weights: Path) -> None:
    assert (inception.name, inception.metric) == ("inception", "fd_inception")
    assert inception.weights_sha256 == sha256_file(random_weights)


def test_only_the_genuine_weights_give_a_fid(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their SHA-256, which the genuine file's name ends in."""
    monkeypatch.setattr("ngldm.scoring.features.inception.sha256_file", lambda path: "6726825d" + "0" * 56)
    assert InceptionExtractor(random_weights).metric == "fid"


def test_building_the_extractor_leaves_pytorch_fid_as_it_was(inception: InceptionExtractor, tmp_path: Path) -> None:
    assert pytorch_fid_inception.load_state_dict_from_url is torch.hub.load_state_dict_from_url
    torch.save({"weight": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError):
        InceptionExtractor(tmp_path / "w.pth")
    assert pytorch_fid_inception.load_state_dict_from_url is torch.hub.load_state_dict_from_url


def test_a_path_that_is_missing_is_an_input_error_naming_the_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{KEY}.*none\.pth"):
        make_extractor("inception", classifier=tmp_path, inception=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("path", [None, ""])
def test_no_path_and_no_network_are_an_input_error_naming_the_key(
    empty_cache: Path, path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", DOWNLOAD)
    with pytest.raises(InputError, match=KEY) as error:
        make_extractor("inception", classifier=empty_cache, inception=path)
    assert str(empty_cache / CACHE_NAME) in str(error.value)


def test_without_a_path_the_weights_come_from_the_cache(empty_cache: Path) -> None:
    (empty_cache / CACHE_NAME).write_bytes(b"")
    assert inception_weights(None) == empty_cache / CACHE_NAME


@pytest.mark.parametrize("length", [0, 10, 100_000])
def test_a_damaged_weights_file_is_an_input_error_naming_the_key(
    random_weights: Path, tmp_path: Path, length: int
) -> None:
    with random_weights.open("rb") as file:
        (tmp_path / "cut.pth").write_bytes(file.read(length))
    with pytest.raises(InputError, match=rf"{KEY}.*cut\.pth"):
        InceptionExtractor(tmp_path / "cut.pth")


@pytest.mark.parametrize(
    "content",
    [nn.Linear(3, 2).state_dict(), torch.ones(3), ["a", "list"]],
    ids=["another network", "a tensor", "a list"],
)
def test_weights_of_another_network_are_an_input_error_naming_the_key(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"{KEY}.*other\.pth"):
        InceptionExtractor(tmp_path / "other.pth")


def test_trained_weights_give_finite_features_that_tell_images_apart(root: Path, tmp_path: Path) -> None:
    if not (root / STANDIN).is_file():
        pytest.skip(f"{STANDIN} is not here: 15 MB of trained stand-in weights, no part of the repository")
    with lzma.open(root / STANDIN) as packed, (tmp_path / "standin.pth").open("wb") as file:
        shutil.copyfileobj(packed, file)
    extractor = InceptionExtractor(tmp_path / "standin.pth")
    assert extractor.metric == "fd_inception"
    flat, noise = np.full((1, 32, 32, 3), 128, np.uint8), random_images(1, 32, 32, 3)
    first, second = extractor(np.concatenate([flat, noise]))
    assert bool(first.isfinite().all() and second.isfinite().all())
    assert float((first - second).norm() / first.norm()) > 0.1
