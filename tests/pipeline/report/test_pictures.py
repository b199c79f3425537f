"""The pictures: which images they show, of which training, and beside what."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ngldm.data.dataset import open_dataset
from ngldm.io.files import read_json, write_described
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.pictures import real_images, with_neighbours, write_pictures


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_neighbours_stand_below_their_image() -> None:
    train = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 1), np.uint8)
    images = np.full((2, 32, 32, 1), 200, np.uint8)
    made = with_neighbours(images, train, np.array([[7, 3, 1], [8, 4, 2]]))
    assert made.shape == (4 * 34 + 2, 2 * 34 + 2, 1)
    middles = made[18::34, 18::34, 0]
    assert middles.tolist() == [[200, 200], [7, 8], [3, 4], [1, 2]]


def test_the_nearest_images_are_those_of_the_file(smoke: Path) -> None:
    near = json.loads((smoke / "metrics/evaluate/laplace.json").read_text())["nearest"]["auto"]
    train = np.load(smoke / "data/dataset/train.npy")
    made = pixels(smoke / "reports/nearest/laplace-auto.png")
    for column, numbers in enumerate(near["rows"]):
        assert len(set(numbers)) == 3
        for rank, number in enumerate(numbers, 1):
            cell = made[rank * 34 + 2 : rank * 34 + 34, column * 34 + 2 : column * 34 + 34]
            assert np.array_equal(cell[::4, ::4], train[number, ..., 0])


def test_real_images_are_random_and_always_the_same(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    data = open_dataset(Path("data/dataset"))
    few, many = real_images(data, 20), real_images(data, 10_000)
    assert np.array_equal(few, real_images(data, 40)[:20])
    assert not np.array_equal(few, data.train[:20])
    assert sorted(image.tobytes() for image in many) == sorted(image.tobytes() for image in data.train)
    shown = pixels(smoke / "reports/real.png")
    assert np.array_equal(shown[2:34:4, 2:34:4], few[0, ..., 0])


@pytest.fixture
def two_seeds(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if each noise had a second training whose images are the first one's, inverted."""
    for name in ("data", "samples", "metrics", "plots"):
        shutil.copytree(smoke / name, tmp_path / name)
    for noise in ("gaussian", "laplace"):
        shutil.copytree(tmp_path / "samples" / noise, tmp_path / "samples" / f"{noise}-s1")
        for file in (tmp_path / "samples" / f"{noise}-s1").rglob("images.npy"):
            np.save(file, 255 - np.load(file))
            about = read_json(file.with_name("samples.json"))
            names = [name for name in about.pop("sha256") if name != "samples.json"]
            write_described(file.with_name("samples.json"), {**about, "noise": f"{noise}-s1"}, names)
    shutil.copy(smoke / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_training_is_shown(two_seeds: Path, tmp_path: Path) -> None:
    params = load_params().model_copy(update={"seeds": [0, 1]})
    folder = tmp_path / "out"
    folder.mkdir()
    found = write_pictures(params, folder)
    assert found.samples["laplace", "auto"] == [
        (0, "samples/laplace-auto.png"),
        (1, "samples/laplace-s1-auto.png"),
    ]
    first, second = (pixels(folder / name) for _, name in found.samples["laplace", "auto"])
    assert np.array_equal(second[4:34:4, 4:34:4], 255 - first[4:34:4, 4:34:4])
    assert len(second) < len(first)


def test_results_of_older_versions_have_no_levels_and_no_neighbours(two_seeds: Path, tmp_path: Path) -> None:
    for file in Path("metrics/evaluate").glob("*.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({key: value for key, value in content.items() if key != "nearest"}))
    for file in Path("samples").rglob("samples.json"):
        content = json.loads(file.read_text())
        newer = ("trajectory_levels", "sha256")
        file.write_text(json.dumps({key: value for key, value in content.items() if key not in newer}))
    folder = tmp_path / "out"
    folder.mkdir()
    found = write_pictures(load_params(), folder)
    assert (found.trajectories, found.nearest) == ({"gaussian": [], "laplace": []}, {})
    assert (folder / "trajectories.pdf").is_file()
    assert not (folder / "nearest.pdf").exists()


def test_the_columns_of_a_trajectory_have_their_levels(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    frames = np.load("samples/laplace/auto/trajectory.npy")
    levels = json.loads(Path("samples/laplace/auto/samples.json").read_text())["trajectory_levels"]
    assert len(levels) == len(frames) == load_params().sample.trajectory_frames
    assert levels[0] == pytest.approx(1.0, abs=0.01)
    assert levels[-1] == 0.0
    assert levels == sorted(levels, reverse=True)
