"""params.yaml composed from conf/ by Hydra."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import load_params


def compose(path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, Any]:
    monkeypatch.chdir(root)
    compose_params(path, list(overrides))
    loaded: dict[str, Any] = YAML(typ="safe").load(path)
    return loaded


def test_tracked_file_equals_the_composition(content, tmp_path, root, monkeypatch):
    """`dvc repro` on the tracked file and `dvc exp run` without overrides are the same pipeline."""
    assert compose(tmp_path / "params.yaml", root, monkeypatch) == content


def group_files() -> list[str]:
    conf = Path(__file__).parents[3] / "conf"
    files = [file for file in conf.glob("*/*.yaml") if file.parent.name != "search"]  # these are no group of Hydra
    return sorted(f"{file.parent.name}={file.stem}" for file in files)


ALSO_NEEDED = {
    "autoencoder=diffusers": ["autoencoder.options.model=folder"],
    "dataset=huggingface": ["dataset.source=photos.parquet"],
    "dataset=image_folder": ["dataset.source=photos"],
    "recipe=ancestral_cifar": ["dataset.source=photos"],
    "recipe=imbalance_cifar": ["dataset.source=photos"],
    "dataset=webdataset": ["dataset.source=shards", "dataset.shards='train-{000..099}.tar'"],
    "noise=annealed": ["samplers=[auto]"],  # ancestral takes the law to be the same at all t
    "sampler=stein": ["diffusion.stein_head=element"],  # the paper's noises need it
}


@pytest.mark.parametrize("override", group_files())
def test_every_group_file_composes_to_valid_params(override, tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    compose(path, root, monkeypatch, override, *ALSO_NEEDED.get(override, []))
    check_noises(load_params(path))


def test_the_gpu_study_compares_five_noises_and_two_schedules_on_cifar10(tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    compose(path, root, monkeypatch, "recipe=study_gpu")
    params = load_params(path)
    noises = {"gaussian", "laplace", "exponential", "uniform", "gumbel"}
    pairs = {
        (v.noise["distribution"], v.schedule.get("name", params.schedule.name)) for v in params.study.variants.values()
    }
    assert pairs == {(noise, schedule) for noise in noises for schedule in ("linear", "cosine")}
    assert len(params.study.variants) == 10
    assert (params.study.train_seeds, params.study.sample_seeds) == (3, 3)
    assert (params.dataset.name, params.autoencoder.kind, params.evaluate.extractor) == ("cifar10", "kl", "inception")


def test_one_noise_leaves_one_noise(tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, "noise=laplace")
    assert composed["noises"] == ["laplace"]
    assert list(composed["noise_options"]) == ["laplace"]


def test_seeds_make_a_training_each(tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, "noise=laplace", "seeds=[0,1,2]")
    assert composed["seeds"] == [0, 1, 2]
    assert composed["trainings"] == {
        "laplace": {"noise": "laplace", "seed": 0},
        "laplace-s1": {"noise": "laplace", "seed": 1},
        "laplace-s2": {"noise": "laplace", "seed": 2},
    }
    load_params(tmp_path / "params.yaml")


def test_another_seed_is_one_of_everything(tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, "noise=laplace", "seed=7")
    assert (composed["seeds"], composed["trainings"]) == ([7], {"laplace": {"noise": "laplace", "seed": 7}})


@pytest.mark.parametrize("recipe", ["paper", "best"])
def test_the_recipes_of_a_paper_have_three_seeds(recipe, tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, f"recipe={recipe}")
    assert len(composed["seeds"]) == 3
    assert len(composed["trainings"]) == 3 * len(composed["noises"])


def test_command_line_wins_over_the_recipe(tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, "recipe=smoke", "train.max_steps=7")
    assert composed["train"]["max_steps"] == 7
    assert composed["recipe"] == "smoke"


@pytest.mark.parametrize(
    "overrides",
    [["noise=cauchyy"], ["dataset=imagenet"], ["sampler=euler"], ["trian.lr=1"], ["recipe=3"], ["tuned=nothing"]],
)
def test_hydra_errors_become_input_errors_and_leave_the_file(overrides, tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text("untouched")
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=overrides[0].split("=")[0].split(".")[0]):
        compose_params(path, overrides)
    assert path.read_text() == "untouched"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.lr=abc", "train.lr"),
        ("train.lr=1e400", "train.lr"),
        ("+train.lrr=1", "train.lrr: unknown key"),
        ("diffusion.objective=vv", "diffusion.objective"),
        ("noises=[]", "noises"),
        ("noises=[a.b]", "noises"),
        ("seeds=[]", "seeds"),
        ("seeds=[0,0]", "seeds"),
        ("seeds=[-1]", "seeds"),
        ("seeds=[0.5]", "seeds"),
        ("seeds=3", "seeds"),
        ("seeds=[x]", "seeds"),
        ("seeds=null", "seeds"),
        ("trainings={a: {noise: laplace}}", "trainings"),
    ],
)
def test_a_value_that_is_not_allowed_leaves_the_file(override, key, tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text("untouched")
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=f"(params.yaml:\n  |interpolation: ){key}"):
        compose_params(path, [override])
    assert path.read_text() == "untouched"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["noise=student_t", "noise_options.student_t.df=1.5"], r"^noise_options\.student_t: .*df"),
        (["noise_options.laplace.distribution=lapalce"], r"^noise_options\.laplace: unknown noise 'lapalce'"),
        (["network=dit", "+network.options.wdth=64"], r"^network 'dit' has no parameter 'wdth'"),
    ],
)
def test_what_only_noises_and_networks_can_check_leaves_the_file_too(overrides, message, tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text("untouched")
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=message):
        compose_params(path, overrides)
    assert path.read_text() == "untouched"


def test_a_further_check_comes_before_the_file_is_written(tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text("untouched")
    monkeypatch.chdir(root)
    with pytest.raises(ZeroDivisionError):
        compose_params(path, [], check=lambda params: params.seed / 0)
    assert path.read_text() == "untouched"


def test_a_label_has_no_dot_at_which_dvc_would_split_it(tmp_path, root, monkeypatch):
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=r"a\.b"):
        compose_params(tmp_path / "params.yaml", ["noises=[a.b]", "+noise_options={a.b: {distribution: laplace}}"])
