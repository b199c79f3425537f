"""`ngldm generate`: images and a grid from a model, the same for a seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ngldm.model import Model
from ngldm.pipeline.cli.fid import read_batches
from ngldm.sampling.generator import load


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return write_model(path, objective="x0", shape=(3, 8, 8), spread=0.2)


def images(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("0*.png"))]).astype(int)


def test_generate_writes_the_same_images_whatever_the_batch(ngldm, model, tmp_path):
    for name, more in (("a", ()), ("b", ("--batch-size", 3)), ("c", ("--seed", 1))):
        code, out, err = ngldm("generate", "--model", model, "--num-images", 7, "--out", tmp_path / name, *more)
        assert code == 0, err
        assert "7 images" in out
        assert (tmp_path / f"{name}.png").is_file()  # the grid: beside the samples, so that no score counts it
        assert read_batches(tmp_path / name, 4)[0] == 7
    a, b, c = (images(tmp_path / name) for name in "abc")
    assert a.shape == (7, 8, 8, 3)
    assert np.abs(a - b).max() <= 1
    assert np.abs(a - c).max() > 10


def test_generate_in_bfloat16_makes_nearly_the_same_images_and_refuses_another_precision(ngldm, model, tmp_path):
    for name, more in (("fp32", ()), ("bf16", ("--precision", "bf16", "--layout", "contiguous"))):
        code, _, err = ngldm("generate", "--model", model, "--num-images", 3, "--out", tmp_path / name, *more)
        assert code == 0, err
    far = np.abs(images(tmp_path / "fp32") - images(tmp_path / "bf16"))
    assert 0 < far.mean() < 5
    code, _, err = ngldm("generate", "--model", model, "--out", tmp_path / "new", "--precision", "fp16")
    assert (code, err) == (2, "error: unknown precision 'fp16'; choose one of: auto, bf16, fp32\n")
    assert not (tmp_path / "new").exists()


def test_generate_passes_on_step_noise_and_x0_handling(ngldm, model, tmp_path):
    ancestral = ("--sampler", "ancestral", "--steps", 5)
    for name, more in (
        ("own", ancestral),
        ("step", (*ancestral, "--step-noise", "gaussian")),
        ("clip", (*ancestral, "--x0-handling", "clip", "--x0-limit", 0.1, "--seed", 0)),
        ("last", (*ancestral, "--seed", 2**63 - 1)),
    ):
        code, _, err = ngldm("generate", "--model", model, "--num-images", 3, "--out", tmp_path / name, *more)
        assert code == 0, err
    own = images(tmp_path / "own")
    assert all(np.abs(own - images(tmp_path / name)).max() > 10 for name in ("step", "clip", "last"))


def test_a_noise_without_a_model_is_told_which_have_one(ngldm, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = ngldm("generate", "--noise", "foo", "--out", "new")
    assert (code, "models/ has no model; `dvc repro`" in err) == (2, True)
    for label in ("laplace-s1", "gumbel"):
        (tmp_path / "models" / label).mkdir(parents=True)
        (tmp_path / "models" / label / "model.safetensors").symlink_to(model)
    code, _, err = ngldm("generate", "--noise", "foo", "--out", "new")
    assert (code, err) == (2, "error: unknown --noise 'foo'; choose one of: gumbel, laplace-s1\n")
    assert not (tmp_path / "new").exists()


def test_generate_refuses_what_it_cannot_do(ngldm, model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "taken.png").touch()
    out = ("--out", tmp_path / "new")
    for arguments, words in (
        (("--model", model, "--noise", "laplace", *out), "give exactly one of them"),
        (("--model", model, "--out", tmp_path / "full"), "not an empty folder"),
        (("--model", model, "--out", tmp_path / "taken"), "taken.png exists; the grid would be written there"),
        (("--model", model, "--sampler", "ddim", *out), "give both"),
        (("--model", model, "--sampler", "euler", "--steps", 5, *out), "'euler'"),
        (("--model", model, "--sampler", "heun", "--steps", 5, "--eta", 0.5, *out), "eta: not an option"),
        (("--model", model, "--sampler", "ddim", "--steps", 21, *out), "21"),
        (("--model", model, "--seed", 2**63, *out), "9223372036854775807"),
        (("--model", model, "--step-noise", "gaussian", *out), "step_noise: not an option of method 'dpmpp_2m'"),
        (("--model", model, "--sampler", "ddim", "--steps", 5, "--step-noise", "x_T", *out), "step_noise: 'x_T'"),
        (("--model", model, "--x0-handling", "cut", *out), "x0_handling 'cut'"),
        (
            ("--model", model, "--x0-handling", "range", "--x0-limit", 2.0, *out),
            "x0_limit: not an option of x0_handling 'range'",
        ),
        (("--model", tmp_path / "none", *out), "no such file"),
        (("--model", "models:/nothing@best", *out), "models:/nothing@best"),
    ):
        code, _, err = ngldm("generate", *arguments)
        assert code == 2, err
        assert words in err, err
        assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_no_store_is_made_where_there_is_none(ngldm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, err = ngldm("generate", "--model", "models:/ngldm-laplace@best", "--out", tmp_path / "new")
    assert code == 2
    assert "no MLflow store" in err
    assert list(tmp_path.iterdir()) == []


OF_POINTS = {
    "noise": {"name": "laplace", "params": {}},
    "diffusion": {"objective": "x0"},
    "schedule": {"name": "cosine", "num_train_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.02},
    "mlp": {"width": 8, "depth": 1},
    "autoencoder": {"kind": "identity", "transform": "none"},
    "dim": 3,
}


def test_a_model_of_points_gives_one_file_of_points(ngldm, tmp_path):
    Model.build(OF_POINTS).save(tmp_path / "model.safetensors")
    options = ("--model", tmp_path / "model.safetensors", "--num-images", 7, "--batch-size", 3)
    code, out, err = ngldm("generate", *options, "--out", tmp_path / "made")
    assert code == 0, err
    assert "7 points" in out
    points = np.load(tmp_path / "made" / "points.npy")
    assert (points.shape, points.dtype) == ((7, 3), np.float32)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["points.npy"]
    assert Image.open(tmp_path / "made.png").size[0] > 64


def test_points_of_classes_have_a_file_of_their_classes(ngldm, tmp_path):
    classes = {"names": ["near", "far", "lost"], "counts": [3, 2, 1], "label_dropout": 0.1}
    Model.build({**OF_POINTS, "classes": classes}).save(tmp_path / "model.safetensors")
    asked = ("--class", "far", "--class", "0", "--num-images", 5, "--batch-size", 2)
    code, _, err = ngldm("generate", "--model", tmp_path / "model.safetensors", "--out", tmp_path / "made", *asked)
    assert code == 0, err
    assert np.load(tmp_path / "made" / "classes.npy").tolist() == [1, 0, 1, 0, 1]
    assert np.load(tmp_path / "made" / "points.npy").shape == (5, 3)


# A model with classes


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    classes = {"names": ["cat", "dog", "owl"], "counts": [3, 2, 1], "label_dropout": 0.1}
    path = tmp_path_factory.mktemp("animals") / "model.safetensors"
    return write_model(path, objective="x0", spread=0.2, classes=classes)


def test_images_of_classes_lie_in_their_folders_with_a_row_each(ngldm, animals, tmp_path):
    """The folder can be trained on, and a score counts all of it."""
    asked = ("--class", "owl", "--class", "0", "--num-images", 8)
    code, _, err = ngldm("generate", "--model", animals, "--out", tmp_path / "a", *asked)
    assert code == 0, err
    files = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*.png")}
    assert files == {f"{'owl' if number % 2 == 0 else 'cat'}/{number:05}.png" for number in range(8)}
    assert read_batches(tmp_path / "a", 4)[0] == 8
    plain = load(animals).sample(8, classes=["owl", "cat"])
    assert np.abs(np.asarray(Image.open(tmp_path / "a/owl/00002.png")).astype(int) - plain[2, ..., 0]).max() <= 1
    width, height = Image.open(tmp_path / "a.png").size
    assert (width - 2) // 4 == (height - 2) // 2  # two rows of four


def test_a_name_of_a_class_leads_to_no_other_place(ngldm, animals, tmp_path):
    """A model file can come from anyone, and a name can have a slash, as the T-shirt/top of Fashion-MNIST."""
    known = load(animals).model
    for count, names in enumerate((("../out", "t-shirt/top", "owl"), (str(tmp_path / "out"), "..", "owl"))):
        classes = {"names": list(names), "counts": [3, 2, 1], "label_dropout": 0.1}
        replace(known, config={**known.config, "classes": classes}).save(tmp_path / "hostile.safetensors")
        asked = ("--model", tmp_path / "hostile.safetensors", "--num-images", 12, "--out", tmp_path / f"{count}")
        code, _, err = ngldm("generate", *asked)
        assert code == 0, err
        assert {path.name for path in (tmp_path / f"{count}").iterdir()} == {"0", "1", "owl"}
        assert not (tmp_path / "out").exists()


def test_without_a_class_images_have_the_training_proportions(ngldm, animals, tmp_path):
    code, _, err = ngldm("generate", "--model", animals, "--out", tmp_path / "a", "--num-images", 60)
    assert code == 0, err
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "a").iterdir()}
    assert counts == pytest.approx({"cat": 30, "dog": 20, "owl": 10}, abs=2)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--class", "cow"), "unknown class 'cow'; choose a name or a number below 3: cat, dog, owl"),
        (("--guidance-rescale", 0.5), "guidance_rescale: has no effect"),
        (("--guidance-scale", 2, "--guidance-sigma-min", 5, "--guidance-sigma-max", 1), "an empty interval"),
    ],
)
def test_what_a_model_with_classes_refuses(ngldm, animals, tmp_path, more, words):
    code, _, err = ngldm("generate", "--model", animals, "--out", tmp_path / "a", *more)
    assert code == 2
    assert words in err
    assert not (tmp_path / "a").exists()


def test_a_model_without_classes_refuses_a_class(ngldm, model, tmp_path):
    for more in (("--class", "0"), ("--guidance-scale", 2)):
        code, _, err = ngldm("generate", "--model", model, "--out", tmp_path / "a", *more)
        assert code == 2
        assert "the model has no classes" in err
