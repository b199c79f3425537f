"""FID's Inception: pytorch-fid's own features, the name of the distance, and where the weights come from."""

import hashlib
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from pytorch_fid import inception as pytorch_fid_inception
from torch import nn

from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.io.images import UInt8Array
from ngldm.scoring.features import inception as inception_module
from ngldm.scoring.features.extractor import make_extractor
from ngldm.scoring.features.inception import InceptionExtractor, inception_weights

STANDIN = Path("../shared/data/inception_v3_standin.pth.xz")  # from the repository's root; may be missing
KEY = "evaluate.inception_weights"
CACHE_NAME = "pt_inception-2015-12-05-6726825d.pth"


def random_images(count: int, *shape: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


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
    """A torch cache of this test's own, for which nothing can be downloaded; the folder of its checkpoints."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(inception_module, "FID_WEIGHTS_URL", "http://127.0.0.1:9/")  # no answer, as without a network
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints


def by_hand(weights: Path, x: torch.Tensor) -> torch.Tensor:
    """The features as pytorch-fid's own code gets them from (B, 3, H, W) in [0, 1]."""
    state = torch.load(weights, weights_only=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid_inception, "load_state_dict_from_url", lambda *args, **kwargs: state)
        model = pytorch_fid_inception.InceptionV3([3]).eval()
    with torch.no_grad():
        return model(x)[0].squeeze(3).squeeze(2)


def test_inception_features_are_those_of_pytorch_fid(
    inception: InceptionExtractor, random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args, **kwargs: pytest.fail("a download"))
    images = random_images(4, 9, 11, 3)
    expected = by_hand(random_weights, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255.0)
    features = inception(images)
    assert features.shape == (4, inception.dim) == (4, 2048)
    assert (features[0] - features[1]).abs().max() > 1e-3  # far above the tolerances
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def test_clean_features_are_those_of_clean_fids_pixels(random_weights: Path) -> None:
    """Its resizer, and (x - 128) / 128 as its InceptionV3W has it. pytorch-fid's network turns [0, 1] into [-1, 1]."""
    images = random_images(2, 40, 25, 3)
    resize = build_resizer("clean")
    pixels = torch.from_numpy(np.stack([resize(image) for image in images])).permute(0, 3, 1, 2)
    expected = by_hand(random_weights, ((pixels - 128.0) / 128.0 + 1.0) / 2.0)
    clean = InceptionExtractor(random_weights, resizing="clean")
    features = clean(images)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert (features - InceptionExtractor(random_weights)(images)).abs().max() > 1e-3
    assert clean.metric == "fd_inception_clean"


def test_the_classes_weights_are_the_last_layers(inception: InceptionExtractor, random_weights: Path) -> None:
    state = torch.load(random_weights, weights_only=True)
    assert torch.equal(inception.class_weights, state["fc.weight"])
    assert inception.class_weights.shape == (1008, 2048)


def test_grey_images_are_taken_as_rgb_of_equal_channels(inception: InceptionExtractor) -> None:
    grey = random_images(2, 8, 8, 1)
    torch.testing.assert_close(inception(grey), inception(np.repeat(grey, 3, axis=3)), rtol=1e-5, atol=1e-6)


def test_the_distance_of_other_weights_is_not_called_fid(inception: InceptionExtractor, random_weights: Path) -> None:
    assert (inception.name, inception.metric) == ("inception", "fd_inception")
    assert inception.weights_sha256 == sha256_file(random_weights)


def test_only_the_genuine_weights_give_a_fid(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their SHA-256, which the genuine file's name ends in."""
    monkeypatch.setattr(inception_module, "sha256_file", lambda path: "6726825d" + "0" * 56)
    assert InceptionExtractor(random_weights).metric == "fid"


def test_building_the_extractor_leaves_pytorch_fid_as_it_was(inception: InceptionExtractor, tmp_path: Path) -> None:
    assert pytorch_fid_inception.load_state_dict_from_url is torch.hub.load_state_dict_from_url
    torch.save({"weight": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError):
        InceptionExtractor(tmp_path / "w.pth")
    assert pytorch_fid_inception.load_state_dict_from_url is torch.hub.load_state_dict_from_url


def test_a_path_that_is_missing_is_an_input_error_naming_the_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{KEY}.*none\.pth"):
        make_extractor("inception", classifier=tmp_path, weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("path", [None, ""])
def test_no_path_and_no_network_are_an_input_error_naming_the_key(empty_cache: Path, path: str | None) -> None:
    with pytest.raises(InputError, match=KEY) as error:
        make_extractor("inception", classifier=empty_cache, weights=path)
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


@pytest.fixture
def weights_cache(empty_cache: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the weights belong in a torch cache of this test's own; they come from the test's server."""
    monkeypatch.setattr(inception_module, "FID_WEIGHTS_URL", server.url)
    return empty_cache / CACHE_NAME


def test_the_weights_are_downloaded_once_and_checked(weights_cache, server, monkeypatch):
    content = b"weights"
    server.files[CACHE_NAME] = content
    monkeypatch.setattr(inception_module, "FID_WEIGHTS_PREFIX", hashlib.sha256(content).hexdigest()[:8])
    assert inception_weights(None) == weights_cache
    assert weights_cache.read_bytes() == content
    del server.files[CACHE_NAME]
    assert inception_weights(None) == weights_cache


def test_other_weights_than_promised_are_refused_and_not_kept(weights_cache, server):
    server.files[CACHE_NAME] = b"something else"
    with pytest.raises(InputError, match=r"evaluate\.inception_weights.*SHA-256.*6726825d.*put the file at"):
        inception_weights(None)
    assert list(weights_cache.parent.iterdir()) == []


def test_without_the_file_on_the_server_the_error_says_where_it_belongs(weights_cache):
    with pytest.raises(InputError, match=r"evaluate\.inception_weights.*cannot be downloaded.*404.*put the file at"):
        inception_weights(None)
    assert list(weights_cache.parent.iterdir()) == []
