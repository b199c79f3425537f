"""What lies on disk is checked when it is read: NaN, infinite numbers, shapes and counts, each named with its file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ngldm.data.cache.latents import build_cache, open_cache
from ngldm.data.dataset import Dataset, open_dataset, save_dataset
from ngldm.data.reference import load_reference, read_statistics, save_reference
from ngldm.data.results.samples import load_samples
from ngldm.io.errors import InputError
from ngldm.io.files import write_json
from ngldm.io.tensors import load_tensors, save_tensors
from ngldm.model import Model, load_model
from ngldm.networks.autoencoders.autoencoder import IdentityAutoencoder
from ngldm.networks.autoencoders.build import build_autoencoder, load_autoencoder, save_autoencoder
from ngldm.scoring.features.classifier import Classifier, ClassifierExtractor, save_classifier

RNG = np.random.default_rng(0)
BAD = (np.nan, np.inf, -np.inf)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    build_cache(IdentityAutoencoder((1, 4, 4)), pixels(5000, 4, 4, 1), pixels(9, 4, 4, 1), tmp_path / "latents")
    return tmp_path / "latents"


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("split", "row"), [("train", 0), ("train", 4999), ("test", 8)])
def test_latents_that_are_no_numbers_are_refused_with_file_and_row(
    cache: Path, split: str, row: int, bad: float
) -> None:
    open_cache(cache)
    array = np.load(cache / f"{split}.npy")
    array[row, 0, 3, 3] = bad
    np.save(cache / f"{split}.npy", array)
    with pytest.raises(InputError, match=rf"{split}\.npy.*NaN or infinite.*row {row}$"):
        open_cache(cache)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": [float("nan")]}, "mean"),
        ({"std": [float("inf")]}, "std"),
        ({"std": [0.0]}, "above 0"),
        ({"std": [-1.0]}, "above 0"),
        ({"mean": [0.0, 0.0]}, "one per channel"),
    ],
)
def test_statistics_of_the_latents_are_checked(cache: Path, change: dict, words: str) -> None:
    edit(cache / "statistics.json", **change)
    with pytest.raises(InputError, match=rf"statistics\.json.*{words}"):
        open_cache(cache)


@pytest.mark.parametrize("shape", [(9, 4, 4), (0, 1, 4, 4), (9, 2, 4, 4)])
def test_latents_of_another_shape_are_refused(cache: Path, shape: tuple[int, ...]) -> None:
    np.save(cache / "test.npy", np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=r"test\.npy"):
        open_cache(cache)


@pytest.mark.parametrize("split", ["train", "test"])
def test_latents_that_were_cut_off_are_refused(cache: Path, split: str) -> None:
    np.save(cache / f"{split}.npy", np.load(cache / f"{split}.npy")[:-1])
    with pytest.raises(InputError, match=r"statistics\.json: counts .* run the stage `latents` again"):
        open_cache(cache)


def test_an_autoencoder_that_gives_nan_writes_no_cache(tmp_path: Path) -> None:
    class Broken(IdentityAutoencoder):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return super().encode(x) * torch.tensor(float("nan"))

    with pytest.raises(InputError, match="NaN"):
        build_cache(Broken((1, 4, 4)), pixels(10, 4, 4, 1), pixels(9, 4, 4, 1), tmp_path / "latents")
    assert not (tmp_path / "latents").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    save_dataset(
        Dataset("d", pixels(6, 4, 5, 3), pixels(4, 4, 5, 3), np.arange(6) % 3, np.arange(4) % 3), tmp_path / "d"
    )
    return tmp_path / "d"


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("train", pixels(5, 4, 5, 3)),
        ("train", pixels(6, 4, 5)),
        ("train", pixels(6, 4, 5, 2)),
        ("test", pixels(4, 5, 4, 3)),
        ("test", pixels(0, 4, 5, 3)),
        ("test", np.zeros((4, 4, 5, 3), np.float32)),
        ("train_labels", np.arange(5)),
        ("train_labels", np.arange(6)[:, None]),
        ("test_labels", np.array([0, 1, -1, 2])),
        ("test_labels", np.arange(4.0)),
    ],
)
def test_a_data_set_is_checked_when_read(data: Path, name: str, array: np.ndarray) -> None:
    open_dataset(data)
    np.save(data / f"{name}.npy", array)
    with pytest.raises(InputError, match=name.split("_")[0]):
        open_dataset(data)


def test_a_data_set_with_fewer_images_than_it_says_is_refused(data: Path) -> None:
    edit(data / "dataset.json", test=5)
    with pytest.raises(InputError, match=r"dataset\.json: test: 5, but the arrays beside it have 4"):
        open_dataset(data)


@pytest.mark.parametrize(
    "change", [{"name": 3}, {"train": "6"}, {"test": True}, {"num_classes": 9}, {"num_classes": None}]
)
def test_what_a_data_set_says_of_itself_is_checked_with_the_file_s_name(data: Path, change: dict) -> None:
    edit(data / "dataset.json", **change)
    with pytest.raises(InputError, match=rf"dataset\.json: {next(iter(change))}: "):
        open_dataset(data)


def test_labels_that_no_classifier_could_have_are_refused(data: Path) -> None:
    np.save(data / "train_labels.npy", np.array([0, 1, 2, 0, 1, 10**12]))
    with pytest.raises(InputError, match=r"train_labels\.npy: label 1000000000000"):
        open_dataset(data)


@pytest.mark.parametrize("name", ["train.npy", "dataset.json"])
def test_a_folder_in_the_place_of_a_file_is_refused(data: Path, name: str) -> None:
    (data / name).unlink()
    (data / name).mkdir()
    with pytest.raises(InputError, match=name):
        open_dataset(data)


def test_an_npz_with_the_name_of_an_npy_is_refused(data: Path) -> None:
    with (data / "train.npy").open("wb") as file:
        np.savez(file, images=pixels(6, 4, 5, 3))
    with pytest.raises(InputError, match=r"train\.npy: not a complete \.npy file"):
        open_dataset(data)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("images", pixels(6, 4, 4)),
        ("images", pixels(0, 4, 4, 1)),
        ("images", pixels(5, 4, 4, 1)),
        ("images", np.zeros((6, 4, 4, 1), np.float32)),
        ("images", pixels(6, 4, 4, 4)),
        ("trajectory", pixels(3, 2, 8, 8, 1)),
        ("trajectory", pixels(2, 4, 4, 1)),
        ("trajectory", pixels(0, 2, 4, 4, 1)),
    ],
)
def test_samples_are_checked_when_read(tmp_path: Path, name: str, array: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", pixels(6, 4, 4, 1))
    np.save(tmp_path / "trajectory.npy", pixels(3, 2, 4, 4, 1))
    write_json(tmp_path / "samples.json", {"num_images": 6})
    load_samples(tmp_path)
    np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(InputError, match=name):
        load_samples(tmp_path)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    save_reference(tmp_path, features.double().mean(0), torch.cov(features.double().T), features)
    about = {"extractor": "classifier", "metric": "fd_classifier", "weights_sha256": "a" * 64}
    write_json(tmp_path / "reference.json", {**about, "num_images": 50, "floor": 0.5})
    return tmp_path


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("key", ["mu", "sigma"])
def test_statistics_that_are_no_numbers_are_refused(reference: Path, key: str, bad: float) -> None:
    with np.load(reference / "statistics.npz") as file:
        arrays = dict(file)
    arrays[key].flat[3] = bad
    np.savez(reference / "statistics.npz", **arrays)
    with pytest.raises(InputError, match=r"statistics\.npz.*NaN"):
        read_statistics(reference / "statistics.npz")
    with pytest.raises(InputError, match=r"statistics\.npz.*NaN"):
        load_reference(reference)


@pytest.mark.parametrize(
    "sigma",
    [-np.eye(6), np.eye(6) + np.triu(np.ones((6, 6))), np.eye(6) - 0.8 * np.ones((6, 6)), np.diag([1.0] * 5 + [-1e-3])],
)
def test_a_matrix_that_is_no_covariance_is_refused(reference: Path, sigma: np.ndarray) -> None:
    np.savez(reference / "statistics.npz", mu=np.zeros(6), sigma=sigma)
    with pytest.raises(InputError, match=r"statistics\.npz: sigma: .*no covariance"):
        load_reference(reference)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("count", [4, 200])
def test_rounded_and_singular_covariances_are_taken(tmp_path: Path, dtype: type, count: int) -> None:
    """Of fewer vectors than features, and computed in float32, whose smallest eigenvalues are below 0."""
    sigma = np.cov(RNG.normal(size=(count, 60)).astype(dtype) * np.logspace(0, -4, 60, dtype=dtype), rowvar=False)
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(60), sigma=sigma.astype(dtype))
    assert read_statistics(tmp_path / "statistics.npz")[1].shape == (60, 60)


@pytest.mark.parametrize(
    "arrays",
    [
        {"mu": np.zeros(0), "sigma": np.zeros((0, 0))},
        {"mu": np.zeros(6), "sigma": np.eye(6) * 1j},
        {"mu": np.zeros(6, bool), "sigma": np.eye(6)},
        {"mu": np.array(list("abcdef")), "sigma": np.eye(6)},
        {"mu": np.array([None] * 6), "sigma": np.eye(6)},
        {"mu": np.zeros((6, 1)), "sigma": np.eye(6)},
        {"sigma": np.eye(6)},
    ],
)
def test_statistics_of_other_kinds_are_refused(tmp_path: Path, arrays: dict) -> None:
    np.savez(tmp_path / "statistics.npz", **arrays)
    with pytest.raises(InputError, match=r"statistics\.npz"):
        read_statistics(tmp_path / "statistics.npz")


def test_an_npy_with_the_name_of_an_npz_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "statistics.npz").open("wb") as file:
        np.save(file, np.eye(3))
    with pytest.raises(InputError, match=r"statistics\.npz: not a complete \.npz"):
        read_statistics(tmp_path / "statistics.npz")


@pytest.mark.parametrize(
    "features",
    [
        np.full((50, 6), np.nan, np.float32),
        np.full((50, 6), np.inf, np.float32),
        np.zeros((50, 5), np.float32),
        np.zeros((49, 6), np.float32),
        np.zeros(50, np.float32),
        np.zeros((50, 6)),
    ],
)
def test_features_of_a_reference_are_checked(reference: Path, features: np.ndarray) -> None:
    np.save(reference / "features.npy", features)
    with pytest.raises(InputError, match=r"features\.npy"):
        load_reference(reference)


@pytest.mark.parametrize("change", [{"floor": float("nan")}, {"floor": -1.0}, {"metric": 3}, {"num_images": "many"}])
def test_what_a_reference_says_of_itself_is_checked(reference: Path, change: dict) -> None:
    edit(reference / "reference.json", **change)
    with pytest.raises(InputError, match=next(iter(change))):
        load_reference(reference)


def broken(path: Path, bad: float) -> None:
    """The same safetensors with one number of its largest tensor replaced."""
    tensors, state = load_tensors(path)
    name = max(tensors, key=lambda key: tensors[key].numel())
    tensors[name].view(-1)[-1] = bad
    save_tensors(tensors, state, path)


CONFIG = {
    "noise": {"name": "laplace", "params": {}},
    "diffusion": {"forward": "marginal", "objective": "x0", "weighting": "none"},
    "schedule": {"name": "linear", "num_train_timesteps": 20},
    "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
    "autoencoder": {"kind": "identity"},
    "image_shape": (1, 8, 8),
}


@pytest.mark.parametrize("bad", BAD)
def test_weights_that_are_no_numbers_stop_with_the_file_s_name(tmp_path: Path, bad: float) -> None:
    shape, kl = (1, 8, 8), {"kind": "kl", "latent_channels": 2, "levels": 1, "width": 8, "kl_weight": 1e-4}
    Model.build(CONFIG).save(tmp_path / "model.safetensors")
    save_autoencoder(build_autoencoder(kl, shape), tmp_path / "autoencoder.safetensors")
    save_classifier(Classifier(shape, 3, 4, 8), tmp_path / "classifier.safetensors")
    readers = {
        "model": load_model,
        "autoencoder": lambda path: load_autoencoder(path, shape),
        "classifier": ClassifierExtractor,
    }
    for name, read in readers.items():
        file = tmp_path / f"{name}.safetensors"
        read(file)
        broken(file, bad)
        with pytest.raises(InputError, match=rf"{name}\.safetensors.*NaN or infinite"):
            read(file)


@pytest.mark.parametrize("bad", BAD)
def test_latents_that_left_float32_are_no_images(bad: float) -> None:
    model, latents = Model.build(CONFIG), torch.zeros(3, 1, 8, 8)
    assert model.decode(latents).shape == (3, 8, 8, 1)
    latents[1, 0, 2, 2] = bad
    with pytest.raises(InputError, match="1 of 3"):
        model.decode(latents)
