"""What MLflow shows of a run before it is opened."""

import pytest

from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.config.reading.text import read_yaml
from ngldm.pipeline.tracking.names import (
    description,
    differing,
    flatten,
    noise_params,
    recipe_params,
    run_name,
    short_value,
    source_tags,
)


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-4, "2e-4"),
        (0.05, "0.05"),
        (0.99, "0.99"),
        (1e-3, "1e-3"),
        (2.5e-5, "2.5e-5"),
        (1e8, "1e8"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (20, "20"),
        ([8, 16], "[8,16]"),
        ("/data/faces/", "faces"),
        (None, "None"),
    ],
)
def test_values_are_short(value, text):
    assert short_value(value) == text


def test_a_name_has_the_settings_that_differ():
    assert run_name("laplace", {}) == "laplace"
    assert run_name("laplace", {"train.lr": 2e-4}) == "laplace lr=2e-4"
    assert run_name("laplace", {"network.num_classes": "auto"}) == "laplace num_classes=auto"
    assert run_name("laplace", {"dataset.size": 64, "dataset.seed": 1}) == "laplace size=64 dataset.seed=1"
    changed = {"schedule.name": "cosine", "autoencoder.fit.lr": 0.5, "diffusion.objective": "v", "train.lr": 1.0}
    assert run_name("t", changed) == "t schedule=cosine autoencoder.fit.lr=0.5 objective=v +1"


def test_differing_is_what_is_new_or_another():
    assert differing({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 0, "d": 4}) == {"b": 2, "c": 3}


def test_a_noise_is_one_param_and_its_own_settings_have_the_keys_of_every_noise():
    assert noise_params("laplace", {"distribution": "laplace"}) == {"noise": "laplace"}
    heavy = {"noise": "heavy", "noise.distribution": "student_t", "noise.df": 3}
    assert noise_params("heavy", {"distribution": "student_t", "df": 3}) == heavy


def test_the_recipe_is_composed_with_its_data_set_and_noise(content, root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    content["train"]["lr"] = 0.5
    found = recipe_params(parse_params(content), "student_t")
    assert found is not None
    assert found.noises == ["student_t"]
    assert found.train.lr != 0.5
    assert recipe_params(parse_params({**content, "recipe": "deleted"})) is None
    monkeypatch.chdir(tmp_path)  # a folder without conf/
    assert recipe_params(parse_params(content)) is None


@pytest.mark.parametrize(
    ("dataset", "own"),
    [
        ("image_folder", {"source": "/data/cats", "size": 64, "channels": 3}),
        ("webdataset", {"source": "/data/cats", "shards": "{0..9}.tar", "size": 64}),
    ],
)
def test_images_of_ones_own_differ_in_path_and_size(content, root, monkeypatch, dataset, own):
    """conf/ leaves their path open, so it alone makes no params of such a data set."""
    monkeypatch.chdir(root)
    conf = read_yaml((root / "conf" / "dataset" / f"{dataset}.yaml").read_bytes(), dataset)
    found = recipe_params(parse_params({**content, "dataset": {**conf, **own}}), "laplace")
    assert found is not None
    changed = differing(flatten({"dataset": {**conf, **own}}), flatten(found.model_dump(include={"dataset"})))
    assert changed == {f"dataset.{key}": value for key, value in own.items() if key != "channels"}


def test_a_description_says_what_differs_and_what_made_it():
    (text,) = description("One training.", {"train.lr": 0.5}, "dvc exp run").values()
    assert text.startswith("One training.")
    assert all(part in text for part in ("`train.lr=0.5`", "`dvc exp run`"))
    assert "none" in description("", {}, "").popitem()[1]


def test_sources_name_file_user_and_commit(root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    tags = source_tags("stages/train.py")
    assert tags["mlflow.source.name"] == "stages/train.py"
    assert len(tags["mlflow.source.git.commit"]) == 40
    monkeypatch.chdir(tmp_path)  # no git repository
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "mlflow.source.git.commit" not in source_tags("stages/train.py")
