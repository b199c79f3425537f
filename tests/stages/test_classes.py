"""A model with classes through the stages, and a sweep of its guidance. Recipe `smoke`: the images have no meaning."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from ngldm.data.dataset import open_dataset
from ngldm.io.errors import InputError
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.further import further_rows
from ngldm.sampling.generator import load
from stages import evaluate, sample, train

RUN = ("conf", "data", "metrics", "models", "params.yaml")  # of the workspace, what these stages read
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which laplace was trained with classes, sampled with guidance, and scored."""
    folder = tmp_path_factory.mktemp("classes")
    for name in RUN:
        copy = shutil.copytree if (smoke / name).is_dir() else shutil.copy
        copy(smoke / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'other.db'}")
        content = YAML().load(Path("params.yaml"))
        content["network"] |= {"num_classes": "auto", "label_dropout": 0.2}
        content["sampler_options"]["ddim"] |= {"guidance_scale": 2.0}
        content["samplers"] = ["ancestral", "ddim"]
        YAML().dump(content, Path("params.yaml"))
        train.train("laplace", "cpu")
        for sampler in content["samplers"]:
            sample.sample("laplace", sampler, "cpu")
        evaluate.evaluate("laplace", "cpu")
    return folder


@pytest.fixture
def workspace(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_the_model_has_the_classes_of_the_data_set(workspace: Path) -> None:
    classes, data = load(paths.model("laplace"), "cpu").model.classes, open_dataset(paths.DATASET)
    assert classes is not None
    assert classes.names == tuple("0123456789")
    assert classes.counts == tuple(np.bincount(data.train_labels))
    assert classes.label_dropout == 0.2


def test_the_images_have_the_proportions_of_the_training_images(workspace: Path) -> None:
    data, count = open_dataset(paths.DATASET), load_params().sample.num_images
    wanted = count * np.bincount(data.train_labels) / len(data.train_labels)
    for sampler in ("ancestral", "ddim"):
        asked = np.load(paths.samples("laplace", sampler) / "classes.npy")
        assert np.abs(np.bincount(asked, minlength=10) - wanted).max() < 2.5
    generator = load(paths.model("laplace"), "cpu")
    options = {"method": "ddim", "num_inference_steps": 5, "eta": 0.0, "guidance_scale": 2.0}
    images = np.load(paths.samples("laplace", "ddim") / "images.npy")
    again = generator.sample(8, load_params().sample.seed, classes=asked[:8].tolist(), **options)
    assert np.abs(images[:8].astype(int) - again).max() <= 1


def test_guidance_doubles_the_network_calls(workspace: Path) -> None:
    calls = {
        sampler: json.loads((paths.samples("laplace", sampler) / "samples.json").read_text())["network_calls"]
        for sampler in ("ancestral", "ddim")
    }
    assert calls == {"ancestral": 10, "ddim": 10}  # 10 steps without guidance, 5 with


def test_the_share_of_images_in_their_class_is_a_further_score(workspace: Path) -> None:
    scores = json.loads(paths.metrics("evaluate", "laplace").read_text())["samplers"]["ddim"]
    each = [scores[f"class_accuracy_class_{label}"] for label in range(10)]
    asked = np.load(paths.samples("laplace", "ddim") / "classes.npy")
    assert scores["class_accuracy"] == pytest.approx(np.average(each, weights=np.bincount(asked)))
    content = YAML().load(Path("params.yaml"))
    content["noises"], content["trainings"] = ["laplace"], {"laplace": {"noise": "laplace", "seed": 0}}
    YAML().dump(content, Path("only.yaml"))
    rows = further_rows(load_params(Path("only.yaml")))
    assert {row["sampler"]: row["class_accuracy"] for row in rows}["ddim"] == scores["class_accuracy"]


def test_classes_that_the_data_have_not_are_refused(workspace: Path) -> None:
    before = Path("params.yaml").read_text()
    Path("params.yaml").write_text(before.replace("num_classes: auto", "num_classes: 11"))
    try:
        with pytest.raises(InputError, match=r"network\.num_classes: 11, but the data set 'digits' has 10"):
            train.train("laplace", "cpu")
    finally:
        Path("params.yaml").write_text(before)


def test_a_sweep_scores_each_scale(ngldm: Run, workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    asked = ("--scale", 1, "--scale", 3, "--num-images", 64, "--sampler", "heun", "--steps", 3)
    code, _, err = ngldm("guidance", "--noise", "laplace", "--out", out, *asked)
    assert code == 0, err
    with (out / "guidance.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["scale"], row["network_calls"]) for row in rows] == [("1.0", "5"), ("3.0", "10")]
    assert all(0.0 <= float(row[key]) <= 1.0 for row in rows for key in ("precision", "recall", "class_accuracy"))
    assert float(rows[0]["distance"]) != float(rows[1]["distance"])
    assert (out / "guidance.svg").read_text().startswith("<?xml")
    width, height = Image.open(out / "images.png").size
    assert width > 7 * height  # two rows of sixteen
    code, _, err = ngldm("guidance", "--noise", "laplace", "--out", out)
    assert (code, "not an empty folder" in err) == (2, True)


def test_a_sweep_needs_a_model_with_classes(ngldm: Run, smoke: Path, tmp_path: Path) -> None:
    model = smoke / paths.model("gaussian")
    code, _, err = ngldm("guidance", "--model", model, "--out", tmp_path / "sweep")
    assert code == 2
    assert "the model has no classes" in err
    assert not (tmp_path / "sweep").exists()
