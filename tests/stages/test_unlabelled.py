"""Stage `reference` on images without labels: an extractor that needs none, its accuracy and its ladder."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.dataset import Dataset, save_dataset
from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from stages import reference as stage


def scenes(count: int, seed: int) -> np.ndarray:
    """Grey images 8x8, bright at the top, with a blob: up is up."""
    rng = np.random.default_rng(seed)
    images = np.linspace(220, 40, 8)[None, :, None] + rng.normal(0, 6, (count, 8, 8))
    for image in images:
        y, x = rng.integers(1, 5, 2)
        image[y : y + 2, x : x + 2] += 60
    return images.clip(0, 255).astype(np.uint8)[..., None]


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(root / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(classes: int, *overrides: str) -> None:
    train, test = np.arange(300) % classes, np.arange(80) % classes
    save_dataset(Dataset("scenes", scenes(300, 0), scenes(80, 1), train, test), Path("data/dataset"))
    compose_params(Path("params.yaml"), ["recipe=smoke", *overrides])


def about() -> dict:
    return json.loads(Path("data/reference/reference.json").read_text())


def test_images_without_labels_get_rotation(folder: Path) -> None:
    prepare(1)
    stage.reference("cpu")
    found = about()
    assert (found["extractor"], found["metric"]) == ("rotation", "fd_rotation")
    assert found["accuracy"] > 0.7  # four classes: chance is 0.25
    assert found["ladder"]["images"] == 80
    assert found["ladder"]["faults"] == []
    assert "floor_fd_rotation" in json.loads(Path("metrics/reference.json").read_text())


def test_a_classifier_of_one_class_is_refused_before_any_work(folder: Path) -> None:
    prepare(1, "evaluate.extractor=classifier")
    with pytest.raises(InputError, match="at least two classes"):
        stage.reference("cpu")
    assert not Path("data/reference").exists()


def test_images_with_labels_get_the_classifier(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(3)
    stage.reference("cpu")
    assert about()["extractor"] == "classifier"
    assert set(about()["ladder"]) == {
        *("images", "floor", "blur_light", "blur_strong", "noise_light", "noise_strong", "faults")
    }


def test_what_fails_the_ladder_is_said(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    prepare(1)
    monkeypatch.setattr(sys.modules["ngldm.scoring.ladder"], "blurred", lambda images, strength: images)
    stage.reference("cpu")
    assert "warning: the extractor rotation does not see damage" in capsys.readouterr().out
    assert len(about()["ladder"]["faults"]) == 2
