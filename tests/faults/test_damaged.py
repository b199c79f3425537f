"""Damage to what one stage leaves for the next: each is named with its file, and none becomes a score or a picture."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngldm.data.cache.latents import build_cache, open_cache, write_statistics
from ngldm.data.cache.sharded import RowFile, write_index
from ngldm.data.cache.statistics import channel_statistics, latent_extent
from ngldm.data.dataset import Dataset, open_dataset, save_dataset
from ngldm.data.reference import load_reference, save_reference
from ngldm.data.results.curve import read_curve, write_curves
from ngldm.data.results.history import read_history
from ngldm.data.results.samples import load_samples
from ngldm.data.results.study import read_scores, write_scores
from ngldm.io.errors import InputError
from ngldm.io.files import figure, sha256_file, write_described
from ngldm.networks.autoencoders.autoencoder import IdentityAutoencoder
from stages.evaluate import evaluate
from stages.sample import sample
from tests.faults.child import Ended

pytestmark = pytest.mark.usefixtures("in_time")
Open = Callable[[Path], object]
Change = Callable[[Path], object]


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 1)).astype(np.uint8)


def dataset(folder: Path) -> None:
    labels = np.arange(40) % 4
    save_dataset(Dataset("x", images(40), images(20, 1), labels, labels[:20]), folder)


def latents(folder: Path) -> None:
    build_cache(IdentityAutoencoder((1, 6, 6)), images(40), images(20, 1), folder)


def shards(folder: Path) -> None:
    """Latents in shards of the same shape, made of those of one array."""
    latents(folder)
    rows = np.load(folder / "train.npy")
    (folder / "train.npy").unlink()
    (folder / "train").mkdir()
    files = []
    for number, part in enumerate(np.split(rows, 4)):
        path = folder / "train" / f"{number:06d}.npy"
        np.save(path, part)
        files.append(RowFile(path, len(part), sha256_file(path)))
    write_index(folder / "train", files, rows.shape[1:], "float32")
    extent = latent_extent(rows)
    np.savez(folder / "extent.npz", **{key: value.numpy() for key, value in vars(extent).items()})
    statistics = channel_statistics(rows, 40)
    write_statistics(folder / "statistics.json", statistics, rows.shape[1:], {"train": 40, "test": 20})


def read_shards(folder: Path) -> None:
    open_cache(folder).train[np.arange(40)]


def samples(folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "images.npy", images(30))
    np.save(folder / "trajectory.npy", np.stack([images(4, seed) for seed in range(3)]))
    write_described(folder / "samples.json", {"num_images": 30}, ["images.npy", "trajectory.npy"])


def reference(folder: Path) -> None:
    folder.mkdir()
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    save_reference(folder, features.double().mean(0), features.double().T.cov(), features)
    about = {
        "extractor": "classifier",
        "metric": "fd",
        "weights_sha256": "a" * 64,
        "num_images": 60,
        "floor": 0.5,
    }
    write_described(folder / "reference.json", about, ["features.npy", "statistics.npz"])


KINDS: dict[str, tuple[Callable[[Path], None], Open, dict[str, str]]] = {
    "dataset": (dataset, open_dataset, {"train.npy": "u1", "test.npy": "u1", "train_labels.npy": "i8"}),
    "latents": (latents, open_cache, {"train.npy": "f4", "test.npy": "f4"}),
    "shards": (shards, read_shards, {"train/000002.npy": "f4"}),
    "samples": (samples, load_samples, {"images.npy": "u1", "trajectory.npy": "u1"}),
    "reference": (reference, load_reference, {"features.npy": "f4"}),
}


def rewrite(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda path: np.save(path, change(np.load(path)))


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """One number is replaced."""

    def change(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[array.size // 2] = value
        return array

    return change


ARRAYS: dict[str, Change] = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half of the bytes": lambda path: edit(path, lambda content: content[: len(content) // 2]),
    "a byte less": lambda path: edit(path, lambda content: content[:-1]),
    "a byte more": lambda path: edit(path, lambda content: content + b"0"),
    "twice": lambda path: edit(path, lambda content: content + content),
    "other content": lambda path: path.write_bytes(b"not an array" * 100),
    "zeros": lambda path: edit(path, lambda content: bytes(len(content))),
    "a bit": lambda path: edit(path, lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "half of the rows": rewrite(lambda array: array[: len(array) // 2]),
    "no rows": rewrite(lambda array: array[:0]),
    "a row more": rewrite(lambda array: np.concatenate([array, array[:1]])),
    "a row twice": rewrite(lambda array: np.concatenate([array[1:], array[1:2]])),
    "rows in another order": rewrite(lambda array: np.concatenate([array[1:], array[:1]])),
    "another axis": rewrite(lambda array: array[..., None]),
    "another size": rewrite(lambda array: np.concatenate([array, array], axis=-1)),
    "flat": rewrite(lambda array: array.reshape(-1)),
    "float64": rewrite(lambda array: array.astype(np.float64)),
    "int32": rewrite(lambda array: array.astype(np.int32)),
    "complex": rewrite(lambda array: array.astype(np.complex64)),
    "objects": rewrite(lambda array: array.astype(object)),
    "all 0": rewrite(lambda array: array * 0),
    "doubled": rewrite(lambda array: array * 2),
    "one 1": rewrite(one(1)),
}
FLOATS = {name: rewrite(one(float(name))) for name in ("nan", "inf", "-inf", "1e30")}


def cases() -> Iterator[tuple[str, str, str]]:
    for kind, (_, _, files) in KINDS.items():
        for file, dtype in files.items():
            names = [*ARRAYS, *(FLOATS if dtype == "f4" else ())]
            yield from ((kind, file, name) for name in names if (file, name) != ("train_labels.npy", "flat"))


@pytest.mark.parametrize(("kind", "file", "name"), list(cases()))
def test_damage_to_an_array_is_named(tmp_path: Path, kind: str, file: str, name: str) -> None:
    make, read, _ = KINDS[kind]
    folder = tmp_path / kind
    make(folder)
    read(folder)
    {**ARRAYS, **FLOATS}[name](folder / file)
    with pytest.raises(InputError) as refused:
        read(folder)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("names", [("train/000000.npy", "train/000001.npy"), ("train.json",), ("extent.npz",)], ids=str)
def test_a_file_of_latents_in_shards_from_another_place_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Two shards exchanged; the index, or the extent, of another run."""
    shards(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    if len(names) == 1:
        content = (tmp_path / "b" / names[0]).read_bytes()
        changed = content.replace(b'"rows": 10', b'"rows":  10') if names[0].endswith(".json") else content + b"0"
        (tmp_path / "b" / names[0]).write_bytes(changed)
    else:
        for name, other in zip(names, reversed(names), strict=True):
            shutil.copy(tmp_path / "a" / name, tmp_path / "b" / other)
    read_shards(tmp_path / "a")
    with pytest.raises(InputError, match=f"{Path(names[0]).name}.* has changed since it was written"):
        read_shards(tmp_path / "b")


TEXTS: dict[str, Change] = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "a list": lambda path: path.write_text("[]"),
    "cut": lambda path: edit(path, lambda content: content[: len(content) // 2]),
    "a word": lambda path: path.write_text("x"),
    "deep": lambda path: path.write_text("[" * 100_000), "bytes": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "no keys": lambda path: path.write_text("{}"), "a folder": lambda path: (path.unlink(), path.mkdir()),
}  # fmt: skip
JSON = {
    "dataset": "dataset.json",
    "latents": "statistics.json",
    "samples": "samples.json",
    "reference": "reference.json",
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("kind", JSON)
def test_damage_to_a_description_is_named(tmp_path: Path, kind: str, name: str) -> None:
    make, read, _ = KINDS[kind]
    if (kind, name) == ("samples", "removed"):
        pytest.skip("samples of others have no samples.json")
    folder = tmp_path / kind
    make(folder)
    TEXTS[name](folder / JSON[kind])
    with pytest.raises(InputError) as refused:
        read(folder)
    assert JSON[kind] in str(refused.value)


VALUES: list[tuple[str, str, object]] = [
    *(("latents", "mean", value) for value in ([], [float("nan")], ["x"], None, [0.0, 0.0], {}, [[0.0]], 3)),
    *(("latents", "std", value) for value in ([0.0], [-1.0], [float("inf")], [None])),
    *(("latents", "counts", value) for value in ({"train": 39, "test": 20}, {}, None, 40)),
    *(("dataset", "train", value) for value in (39, -1, "40", None, 40.5)),
    ("dataset", "num_classes", 3), ("dataset", "name", 3),
    *(("samples", "num_images", value) for value in (29, 31, 0, -1, "30", None)),
    ("samples", "sha256", {"images.npy": "x"}),
    ("samples", "sha256", {"../../x": "x"}), ("samples", "sha256", []),
    *(("reference", "floor", value) for value in (-1.0, float("nan"), float("inf"), "0", None)),
    ("latents", "mean", [0.25]), ("latents", "std", [0.75]), ("latents", "latent_shape", [9, 9, 9]),
    ("samples", "seed", 3), ("reference", "floor", 0.25), ("dataset", "image_shape", {}),
    *(("reference", "num_images", value) for value in (59, 61, -1, "60")), ("reference", "weights_sha256", 3),
    ("reference", "metric", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "key", "value"), VALUES, ids=str)
def test_a_wrong_value_in_a_description_is_named(tmp_path: Path, kind: str, key: str, value: object) -> None:
    make, read, _ = KINDS[kind]
    folder = tmp_path / kind
    make(folder)
    path = folder / JSON[kind]
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError) as refused:
        read(folder)
    assert str(folder) in str(refused.value)


COVARIANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "negative definite": lambda sigma: -sigma,
    "a negative eigenvalue": lambda sigma: sigma - 3.0 * np.eye(len(sigma)),
    "not symmetric": lambda sigma: np.triu(sigma) + np.triu(sigma, 1),
    "nan": one(np.nan), "zero": lambda sigma: sigma * 0,
    "doubled": lambda sigma: 2 * sigma, "smaller": lambda sigma: sigma[:-1, :-1], "flat": lambda sigma: sigma[0],
}  # fmt: skip


def test_statistics_of_another_run_are_refused(tmp_path: Path) -> None:
    """They may be so near that only their checksum differs, or of more images than features are kept of."""
    reference(tmp_path / "r")
    path = tmp_path / "r" / "statistics.npz"
    with np.load(path) as arrays:
        mu, sigma = arrays["mu"], arrays["sigma"]
    np.savez(path, mu=mu * (1 + 1e-6), sigma=sigma)
    with pytest.raises(InputError, match=r"statistics\.npz: has changed since it was written"):
        load_reference(tmp_path / "r")


@pytest.mark.parametrize("name", COVARIANCES)
def test_a_matrix_that_is_not_the_covariance_of_the_features_is_refused(tmp_path: Path, name: str) -> None:
    reference(tmp_path / "r")
    path = tmp_path / "r" / "statistics.npz"
    with np.load(path) as arrays:
        mu, sigma = arrays["mu"], arrays["sigma"]
    np.savez(path, mu=mu, sigma=COVARIANCES[name](sigma.copy()))
    with pytest.raises(InputError, match=r"statistics\.npz"):
        load_reference(tmp_path / "r")


HISTORY = "step,epoch,loss,lr,grad_norm,heldout_loss\n50,1.0,0.5,0.1,1.0,\n100,2.0,0.25,0.1,1.0,0.3\n"


@pytest.mark.parametrize(
    "text",
    [
        HISTORY[:-5], HISTORY[:-1], HISTORY.replace("0.5", "nan"),
        HISTORY.replace("0.3", "inf"), HISTORY.replace("loss", "l", 1),
        HISTORY.replace("50,1.0,", "50,"), HISTORY.replace("100,", "10,"),
        HISTORY.replace("100,", "50,"), HISTORY + "7",
        HISTORY + HISTORY, HISTORY.replace("0.25", ""), HISTORY.replace("50,1.0", "50,1.0,9"),
        "", "\0" * 50, HISTORY + "150\n",
    ],
)  # fmt: skip
def test_a_damaged_history_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "h.csv"
    path.write_text(HISTORY)
    assert [row["step"] for row in read_history(path)] == [50, 100]
    path.write_text(text)
    with pytest.raises(InputError, match=r"h\.csv"):
        read_history(path)


@pytest.mark.parametrize("change", [("1.5", "nan"), ("\r\n50", "\r\n5"), ("2.5,fd,", "2.5,"), ("100,", "1e2,")])
def test_a_damaged_curve_is_named(tmp_path: Path, change: tuple[str, str]) -> None:
    rows: list[Any] = [
        {"step": step, "epoch": step / 10, "value": value, "metric": "fd", "num_images": 9}
        for step, value in ((10, 1.5), (50, 2.5), (100, 3.0))
    ]
    write_curves({"x": rows}, tmp_path / "c")
    path = tmp_path / "c" / "x.csv"
    assert len(read_curve(path)) == 3
    text = path.read_bytes().decode()
    assert change[0] in text
    path.write_bytes(text.replace(*change).encode())
    with pytest.raises(InputError, match=r"x\.csv"):
        read_curve(path)


@pytest.mark.parametrize("lines", [slice(0, -1), slice(0, 4), [0, 1, 2, 3, 4, 5, 6, 7, 7], [0, 2, 3, 4, 5, 6, 7, 8]])
def test_a_study_with_lines_missing_or_twice_is_refused(tmp_path: Path, lines: Any) -> None:
    rows: list[Any] = [
        {
            "variant": "a", "train_seed": t, "sampler": s, "sample_seed": i, "noise": "laplace", "forward": "marginal",
            "objective": "x0", "network_calls": 9, "value": float("nan"), "outliers": 0.0, "further": {},
        }
        for t in range(2) for s in ("x", "y") for i in range(2)
    ]  # fmt: skip
    write_scores(rows, tmp_path / "s")
    path = tmp_path / "s" / "scores.csv"
    assert len(read_scores(tmp_path / "s")) == 8
    text = path.read_bytes().decode().splitlines(keepends=True)
    path.write_bytes("".join(text[lines] if isinstance(lines, slice) else [text[i] for i in lines]).encode())
    with pytest.raises(InputError, match=r"scores\.csv"):
        read_scores(tmp_path / "s")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "null", "true", '"1"', "[1]", "1e999"])
def test_a_figure_is_a_finite_number(text: str) -> None:
    with pytest.raises(InputError, match=r"x\.json: value"):
        figure({"value": json.loads(text)}, "value", Path("x.json"))


def names(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["samples.json", "trajectory.npy"])
def test_evaluate_refuses_before_it_writes_anything(
    smoke: Path, tmp_path: Path, forked: Callable[..., Ended], name: str
) -> None:
    folder = tmp_path / "workspace"
    for part in ("data", "models", "samples"):
        shutil.copytree(smoke / part, folder / part)
    for part in ("params.yaml", "mlflow.db"):
        shutil.copy(smoke / part, folder)
    next((folder / "samples" / "laplace").glob(f"*/{name}")).unlink()
    before = names(folder)

    def action() -> None:
        os.chdir(folder)
        evaluate("laplace", "cpu")

    ended = forked(action)
    assert ended.returncode == 2
    assert f"{name}: no such file or folder; it comes from the stage `sample`" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert names(folder) == before


def test_the_model_of_another_noise_gets_no_samples(smoke: Path, tmp_path: Path, forked: Callable[..., Ended]) -> None:
    for part in ("models", "conf"):
        shutil.copytree(smoke / part, tmp_path / "workspace" / part)
    shutil.copy(smoke / "params.yaml", tmp_path / "workspace")
    models = tmp_path / "workspace" / "models"
    other = next(place for place in models.iterdir() if place.is_dir() and place.name != "laplace")
    shutil.copy(other / "model.safetensors", models / "laplace")

    def action() -> None:
        os.chdir(tmp_path / "workspace")
        sample("laplace", "auto", "cpu")

    ended = forked(action)
    assert ended.returncode == 2
    assert f"model.safetensors: its noise is {other.name}, but params.yaml says laplace" in ended.stderr
    assert not (tmp_path / "workspace" / "samples").exists()


def test_files_of_an_older_version_without_checksums_are_read(tmp_path: Path) -> None:
    for kind, keys in (("dataset", ("labels_sha256",)), ("latents", ("sha256",)), ("samples", ("sha256",))):
        make, read, _ = KINDS[kind]
        make(tmp_path / kind)
        path = tmp_path / kind / JSON[kind]
        content = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in content.items() if key not in keys}))
        read(tmp_path / kind)
