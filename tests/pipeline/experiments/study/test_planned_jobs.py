"""The jobs of the study: which settings each has, and what is scored beside the models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.experiments.study.compute import Job
from ngldm.pipeline.experiments.study.run import make_jobs

GAUSSIAN = {"noise": {"distribution": "gaussian"}}
LAW = {"dim": 2, "tails": "student_t", "shared": True, "df": 3.0, "weights": [0.6, 0.4], "radius": 4.0, "scale": 0.5}


@pytest.fixture
def points(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Params of a study on points of a law. No stage has run."""
    monkeypatch.chdir(tmp_path)
    content["dataset"] = {
        **{"name": "points", "source": "conf/dataset/points.yaml", "seed": 7, "law": LAW},
        **{"train_size": 100, "test_size": 200, "transform": "none"},
    }
    content["autoencoder"]["kind"] = "identity"
    content["study"] |= {
        "samplers": {
            "s": {"method": "heun", "num_inference_steps": 5},
            "t": {"method": "ddim", "num_inference_steps": 5},
        },
        "data": {"low": {"seed": "train"}, "high": {"law": {"dim": 16}}},
        "variants": {"a": {**GAUSSIAN, "train": {"max_steps": 7}}, "b": {**GAUSSIAN, "samplers": ["t"]}},
        "train_seeds": 2,
    }
    return content


def jobs(content: dict[str, Any]) -> list[Job]:
    params = parse_params(content)
    return make_jobs(params.study, params.study_models(), params.networks(), params.evaluate)


def test_each_model_has_a_job_for_each_training_seed(points: dict[str, Any]) -> None:
    found = {(job.variant, job.seed): job for job in jobs(points)}
    labels = ["low_a", "low_b", "high_a", "high_b"]
    assert list(found) == [(label, seed) for seed in range(2) for label in labels]
    settings = [found[label, 1].settings or {} for label in labels]
    assert [one["dim"] for one in settings] == [2, 2, 16, 16]
    assert [list(found[label, 1].samplers) for label in labels] == [["s", "t"], ["t"], ["s", "t"], ["t"]]
    steps = points["train"]["max_steps"]
    assert [found[label, 1].train.max_steps for label in labels] == [7, steps, 7, steps]
    seeds = [(found[label, seed].dataset or {})["seed"] for label in ("low_a", "high_a") for seed in range(2)]
    assert seeds == [0, 1, 7, 7]


def test_the_training_points_of_each_data_set_are_scored_once_where_further_scores_are_wanted(
    points: dict[str, Any],
) -> None:
    points["study"]["scores"] = ["msle", "mode_*"]
    found = jobs(points)
    assert all(job.scores == ("msle", "mode_1", "mode_2") for job in found)
    floors = [(job.variant, job.seed, job.samplers) for job in found if job.settings is None]
    assert floors == [(label, seed, {}) for seed in range(2) for label in ("low_train_set", "high_train_set")]


def test_a_score_that_these_points_do_not_have_is_refused_before_any_work(points: dict[str, Any]) -> None:
    points["study"]["scores"] = ["mode_3"]  # the law has two modes
    with pytest.raises(InputError, match=r"study\.scores: 'mode_3' is none of the scores of these data: msle, "):
        jobs(points)


def test_scores_of_the_pipelines_data_are_those_of_its_reference(
    content: dict[str, Any], smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(smoke)
    content["study"] |= {
        "samplers": {"s": {"method": "heun", "num_inference_steps": 5}},
        "variants": {"a": GAUSSIAN},
        "scores": ["coverage_class_*", "memorised"],
        "train_seeds": 1,
    }
    (job,) = jobs(content)
    with np.load(workspace.FURTHER) as file:
        classes = [f"coverage_class_{label}" for label in np.unique(file["test_labels"])]
    assert job.scores == ("memorised", *classes)
    content["study"]["scores"] = ["recall_class_99"]
    with pytest.raises(InputError, match=r"study\.scores: 'recall_class_99' is none of the scores"):
        jobs(content)
