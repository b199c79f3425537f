"""Models before they are trained: what they are made of, and what their weights depend on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngldm.data.cache.latents import Latents
from ngldm.data.cache.statistics import LatentStatistics
from ngldm.data.dataset import Dataset
from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.build import build_autoencoder, save_autoencoder
from ngldm.pipeline import workspace
from ngldm.pipeline.experiments.models import fresh_model, training_task

SETTINGS: dict[str, Any] = {
    "noise": {"name": "laplace", "params": {}},
    "schedule": {"name": "cosine", "num_train_timesteps": 20},
    "diffusion": {"forward": "markov", "objective": "x0", "weighting": "none", "gamma": None},
    "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
    "image_shape": (1, 8, 8),
}
AUTOENCODER = {"kind": "kl", "latent_channels": 2, "levels": 1, "width": 8, "kl_weight": 0.0}
IMAGES = np.zeros((5, 8, 8, 1), np.uint8)
DATA = Dataset("zeros", IMAGES, IMAGES, np.arange(5), np.arange(5))
LATENTS = np.random.default_rng(0).normal(size=(5, 2, 4, 4)).astype(np.float32)
CACHE = Latents(LATENTS, LATENTS, LatentStatistics(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])))


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The weights of the autoencoder in the working directory."""
    monkeypatch.chdir(tmp_path)
    autoencoder = build_autoencoder(AUTOENCODER, (1, 8, 8))
    save_autoencoder(autoencoder, workspace.AUTOENCODER)
    return dict(autoencoder.state_dict())


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_its_weights_follow_from_the_seed_whatever_the_noise(saved: dict[str, torch.Tensor]) -> None:
    model = fresh_model(SETTINGS, 0, DATA, CACHE)
    torch.manual_seed(99)
    other = {"noise": {"name": "gumbel", "params": {}}, "diffusion": {**SETTINGS["diffusion"], "objective": "v"}}
    assert same(fresh_model({**SETTINGS, **other}, 0, DATA, CACHE).network, model.network)
    assert not same(fresh_model(SETTINGS, 1, DATA, CACHE).network, model.network)


def test_it_has_the_trained_autoencoder_and_the_statistics_of_the_latents(saved: dict[str, torch.Tensor]) -> None:
    model = fresh_model(SETTINGS, 0, DATA, CACHE)
    assert all(torch.equal(value, saved[key]) for key, value in model.autoencoder.state_dict().items())
    assert model.statistics is CACHE.statistics
    np.testing.assert_array_equal(model.extent.low.numpy(), LATENTS.min(0))
    about = {"autoencoder": AUTOENCODER, "dataset": "zeros"}
    assert model.config == {**SETTINGS, **about}


def test_without_an_autoencoder_its_stage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the stage `autoencoder`"):
        fresh_model(SETTINGS, 0, DATA, CACHE)


def with_classes(number: object = "auto") -> dict[str, Any]:
    return {**SETTINGS, "classes": {"num_classes": number, "label_dropout": 0.2}}


@pytest.mark.parametrize("number", ["auto", 5])
def test_classes_are_those_of_the_data_set(saved: dict[str, torch.Tensor], number: object) -> None:
    model = fresh_model(with_classes(number), 0, DATA, CACHE)
    assert model.config["classes"] == {"names": list("01234"), "counts": [1] * 5, "label_dropout": 0.2}
    plain = dict(fresh_model(SETTINGS, 0, DATA, CACHE).network.named_parameters())
    assert all(torch.equal(plain[key], value) for key, value in model.network.named_parameters() if key in plain)


@pytest.mark.parametrize(
    ("data", "number", "words"),
    [
        (DATA, 4, "network.num_classes: 4, but the data set 'zeros' has 5; use auto"),
        (Dataset("one", IMAGES, IMAGES, np.zeros(5, int), np.zeros(5, int)), "auto", "must be at least 2"),
        (Dataset("many", IMAGES, IMAGES, np.arange(5), np.arange(5), total=99), "auto", "keep_pixels false"),
    ],
)
def test_data_without_such_classes_are_refused(
    saved: dict[str, torch.Tensor], data: Dataset, number: object, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fresh_model(with_classes(number), 0, data, CACHE)


def test_a_training_learns_from_latents_and_with_classes_from_labels_too(saved: dict[str, torch.Tensor]) -> None:
    plain = training_task(fresh_model(SETTINGS, 0, DATA, CACHE), DATA, CACHE)
    assert plain.heldout is None
    assert plain.loss(fresh_model(SETTINGS, 0, DATA, CACHE).network, plain.train.fetch(np.array([1, 2]))).shape == (2,)
    model = fresh_model(with_classes(), 0, DATA, CACHE)
    task = training_task(model, DATA, CACHE, heldout=True)
    for split in (task.train, task.heldout):
        assert split is not None
        latents, labels = split.fetch(np.array([3, 0]))
        assert torch.equal(latents, torch.from_numpy(LATENTS[[3, 0]]))
        assert labels.tolist() == [3, 0]
    assert task.loss(model.network, task.train.fetch(np.arange(5))).shape == (5,)
