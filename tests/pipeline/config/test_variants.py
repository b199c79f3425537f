"""The models of the study: what a variant replaces, on which data, and what is refused before any work."""

from typing import Any

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import parse_params

GAUSSIAN = {"noise": {"distribution": "gaussian"}}
LAW = {"dim": 2, "tails": "student_t", "shared": True, "df": 3.0, "weights": [0.6, 0.4], "radius": 4.0, "scale": 0.5}


@pytest.fixture
def points(content: dict[str, Any]) -> dict[str, Any]:
    """Params of a study on points of a law."""
    content["dataset"] = {
        **{"name": "points", "source": "conf/dataset/points.yaml", "seed": 7, "law": LAW},
        **{"train_size": 100, "test_size": 200, "transform": "none"},
    }
    content["autoencoder"]["kind"] = "identity"
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    return content


def test_a_variant_replaces_any_option_of_diffusion_schedule_and_training(content: dict[str, Any]) -> None:
    content["diffusion"] |= {"objective": "eps", "weighting": "min_snr", "gamma": 3.0}
    variant = {
        **GAUSSIAN,
        "diffusion": {"objective": "x0", "weighting": "none", "preconditioning": "edm", "time_density": "logit_normal"},
        "schedule": {"name": "edm_ve", "sigma_max": 40.0},
        "train": {"max_steps": 7, "lr": 0.5},
    }
    content["study"]["variants"] = {"a": variant, "b": GAUSSIAN}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    params = parse_params(content)
    changed, plain = params.study_models()
    assert (changed.label, plain.label) == ("a", "b")
    expected = {**params.diffusion.model_dump(), **variant["diffusion"], "gamma": None}  # gamma is min_snr's
    assert changed.diffusion.model_dump() == expected
    assert changed.schedule.model_dump() == {**params.schedule.model_dump(), **variant["schedule"]}
    assert (changed.train.max_steps, changed.train.lr, changed.train.batch_size) == (7, 0.5, params.train.batch_size)
    assert (plain.diffusion, plain.schedule) == (params.diffusion, params.schedule)
    assert (changed.dataset, changed.own_dataset(3)) == (None, None)


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"diffusion": {"time_shift": -1.0}}, r"study\.variants\.a\.diffusion\.time_shift: -1\.0 is not allowed"),
        ({"diffusion": {"speed": 1}}, r"study\.variants\.a\.diffusion\.speed: unknown key; known here: forward"),
        ({"diffusion": {"preconditioning": "edm", "objective": "eps"}}, r"study\.variants\.a\.diffusion\..*x0"),
        ({"diffusion": {"objective": "x0"}, "objective": "eps"}, r"study\.variants\.a\.objective: given twice"),
        ({"train": {"lr": 0.0}}, r"study\.variants\.a\.train\.lr: 0\.0 is not allowed"),
        ({"train": {"export": "best"}}, r"study\.variants\.a\.train\.export: unknown key; known here: precision"),
        ({"schedule": {"name": "edm_ve", "sigma_max": 1e-9}}, r"study\.variants\.a\.schedule\..*sigma_max"),
        ({"dataset": {"transform": "soft_log"}}, r"study\.variants\.a\.dataset: 'digits' has images, whose auto"),
        ({"data": ["none"]}, r"study\.variants\.a\.data: 'none' is none of \[\]"),
    ],
)
def test_what_a_variant_cannot_replace_is_named(variant: dict[str, Any], words: str, content: dict[str, Any]) -> None:
    content["study"]["variants"] = {"a": {**GAUSSIAN, **variant}}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    with pytest.raises(InputError, match=words):
        parse_params(content)


def test_every_variant_meets_every_data_set_that_it_is_for(points: dict[str, Any]) -> None:
    points["study"] |= {
        "data": {"near": {"law": {"radius": 1.0}, "seed": "train"}, "high": {"law": {"dim": 16}, "test_size": 300}},
        "variants": {"a": GAUSSIAN, "b": {**GAUSSIAN, "data": ["high"], "dataset": {"transform": "soft_log"}}},
    }
    models = {model.label: model for model in parse_params(points).study_models()}
    assert list(models) == ["near_a", "high_a", "high_b"]
    assert models["near_a"].own_dataset(5) == {
        **_dataset(points),
        "law": {**LAW, "alpha": None, "radius": 1.0},
        "seed": 5,
    }
    high = {**_dataset(points), "law": {**LAW, "alpha": None, "dim": 16}, "test_size": 300, "seed": 7}
    assert models["high_a"].own_dataset(5) == high
    assert models["high_b"].own_dataset(5) == {**high, "transform": "soft_log"}
    assert {model.train_set for model in models.values()} == {"near_train_set", "high_train_set"}


def _dataset(content: dict[str, Any]) -> dict[str, Any]:
    return parse_params(content).dataset.model_dump()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"law": {"dim": 0}}, r"study\.data\.d\.law\.dim: 0 is not allowed"),
        ({"law": {"tails": "stable", "alpha": 1.8}}, r"study\.data\.d\.law\.df: 3\.0; needed with tails 'student_t'"),
        ({"law": None}, r"study\.data\.d\.law: None, must be a mapping"),
        ({"name": "digits"}, r"study\.data\.d\.name: unknown key; known here: law, transform"),
        ({"seed": "mine"}, r"study\.data\.d\.seed: 'mine' is not allowed"),
        ({"transform": "log"}, r"study\.data\.d\.transform: 'log'"),
    ],
)
def test_data_that_cannot_be_drawn_are_named(data: dict[str, Any], words: str, points: dict[str, Any]) -> None:
    """Also where no variant uses them."""
    for variants in ({"a": GAUSSIAN}, {"a": {**GAUSSIAN, "data": ["e"]}}, {}):
        points["study"] |= {"data": {"e": {"seed": 1}, "d": data}, "variants": variants}
        with pytest.raises(InputError, match=words):
            parse_params(points)


def test_a_table_cannot_be_drawn_anew(points: dict[str, Any]) -> None:
    points["dataset"] |= {"law": None, "train_size": None, "source": "table.csv"}
    points["study"]["variants"] = {"a": {**GAUSSIAN, "dataset": {"transform": "soft_log"}}}
    with pytest.raises(InputError, match=r"study\.variants\.a\.dataset: only points of a law .* yours are a table"):
        parse_params(points)


def test_labels_that_would_meet_are_refused(points: dict[str, Any]) -> None:
    points["study"] |= {"data": {"a": {"seed": 1}, "a_b": {"seed": 2}}, "variants": {"b_c": GAUSSIAN, "c": GAUSSIAN}}
    with pytest.raises(InputError, match="the label 'a_b_c' is taken"):
        parse_params(points)
    points["study"] |= {"data": {}, "variants": {"train_set": GAUSSIAN}, "scores": ["msle"]}
    with pytest.raises(InputError, match="the label 'train_set' is taken"):
        parse_params(points)


def test_a_noise_is_checked_with_the_columns_of_the_variants_own_data(points: dict[str, Any]) -> None:
    points["noises"], points["samplers"] = ["gaussian"], ["ddim"]
    variant = {"noise": {"distribution": "offset"}, "dataset": {"law": {"dim": 5}}}
    points["study"]["variants"] = {"a": variant}
    with pytest.raises(InputError, match=r"study\.variants\.a\.noise: .* these items have \(5,\)"):
        check_noises(parse_params(points))


@pytest.mark.parametrize("name", ["density", "modes_1", "", "beyond"])
def test_a_score_that_points_do_not_have_is_named(name: str, points: dict[str, Any]) -> None:
    points["study"]["scores"] = ["msle", name]
    with pytest.raises(InputError, match=rf"study\.scores.*{name}"):
        parse_params(points)
