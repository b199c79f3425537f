"""Points that a job of the study makes for itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngldm.data.cache.latents import open_cache
from ngldm.data.dataset import open_dataset
from ngldm.pipeline import workspace
from ngldm.pipeline.experiments.study.compute import Job, compute_rows
from ngldm.pipeline.experiments.study.inputs import Inputs, job_inputs
from ngldm.scoring.distance.scorer import open_scorer
from ngldm.scoring.further.points import point_scores
from tests.pipeline.experiments.study.test_run import FIT

LAW = {"dim": 2, "tails": "student_t", "df": 3.0, "alpha": None, "shared": True, "weights": [0.7, 0.3]}
DATASET: dict[str, Any] = {
    **{"name": "points", "source": "unused", "seed": 4, "transform": "soft_log", "train_size": 300, "test_size": 500},
    "law": {**LAW, "radius": 4.0, "scale": 0.5},
}
SETTINGS = {
    "noise": {"name": "multivariate_t", "params": {"df": 5.0}},
    "schedule": {"name": "cosine", "num_train_timesteps": 20},
    "diffusion": {"forward": "marginal", "objective": "x0", "weighting": "none", "gamma": None},
    "mlp": {"width": 8, "depth": 1},
    "dim": 2,
}
SCORES = ("msle", "beyond_0.99", "mode_1")


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        **{"variant": "a", "seed": 0, "settings": SETTINGS, "train": FIT, "dataset": DATASET, "scores": SCORES},
        "samplers": {"s": {"method": "heun", "num_inference_steps": 3}},
        "scoring": {"sample_seeds": [0, 1], "num_images": 400, "batch_size": 150},
    }
    return Job(**{**values, **changes})


def test_the_pipelines_data_are_used_where_a_job_has_none_of_its_own() -> None:
    with job_inputs(None, 10) as inputs:
        assert inputs == Inputs(workspace.DATASET, workspace.LATENTS, workspace.REFERENCE, workspace.AUTOENCODER)
        assert inputs.further == workspace.FURTHER


def test_own_points_are_standardised_after_their_transform_and_leave_nothing_behind(empty: Path) -> None:
    with job_inputs(DATASET, 64) as inputs:
        data, cache = open_dataset(inputs.dataset), open_cache(inputs.latents)
        assert (len(data.train), len(data.test)) == (300, 500)
        logs = np.sign(data.train) * np.log1p(np.abs(data.train))  # the soft-log, written out
        np.testing.assert_allclose(cache.train, (logs - logs.mean(0)) / logs.std(0), rtol=0, atol=1e-4)
        scorer = open_scorer(inputs.reference, 300)
        assert scorer.distance(scorer.features(np.asarray(data.train), 64)) == pytest.approx(0.0, abs=1e-6)
        floor = scorer.distance(scorer.features(np.asarray(data.test), 64))
        assert json.loads((inputs.reference / "reference.json").read_text())["floor"] == pytest.approx(floor, rel=1e-6)
        drawn = np.array(data.train)
    assert list((empty / "checkpoints/study").iterdir()) == []
    assert not (empty / "data").exists()
    with job_inputs({**DATASET, "seed": 5}, 64) as inputs:
        assert not np.allclose(open_dataset(inputs.dataset).train, drawn)


def test_a_job_with_points_of_its_own_needs_no_other_stage() -> None:
    rows = compute_rows(job(), "cpu")
    assert [(row["sampler"], row["sample_seed"], tuple(row["further"])) for row in rows] == [
        ("s", 0, SCORES),
        ("s", 1, SCORES),
    ]
    assert len({row["further"]["msle"] for row in rows}) == 2
    assert all(np.isfinite([row["value"], *row["further"].values()]).all() for row in rows)


def test_the_training_points_are_scored_as_if_they_had_been_generated() -> None:
    (row,) = compute_rows(job(settings=None, samplers={}), "cpu")
    with job_inputs(DATASET, 64) as inputs:
        data = open_dataset(inputs.dataset)
        assert data.points is not None
        expected = point_scores(data.train, data.test, np.array(data.points.centres))
    assert row["further"] == pytest.approx({name: expected[name] for name in SCORES}, rel=1e-6)
    assert row["value"] == pytest.approx(0.0, abs=1e-6)
    assert (row["noise"], row["network_calls"]) == ("-", 0)
