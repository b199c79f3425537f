"""Scores of generated images in MLflow: at the run and the model that made them, beside their pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ngldm.data.reference import Reference
from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.tracking.comparison import create_run
from ngldm.pipeline.tracking.models import log_model, logged_model
from ngldm.pipeline.tracking.scores import record_scores
from ngldm.pipeline.tracking.store import MODEL_TAG
from ngldm.scoring.distance.scorer import Scorer
from ngldm.scoring.evaluation.scores import Scores

NOISE = "logistic"  # of no other test in this store
ABOUT = {"extractor": "classifier", "metric": "fd_classifier", "weights_sha256": "w", "dataset_sha256": "d"}


class Unused:
    """An extractor whose features are not asked for: the scores are there already."""

    name, metric, dim, weights_sha256 = "classifier", "fd_classifier", 4, "w"

    def __call__(self, images: np.ndarray) -> torch.Tensor:
        raise AssertionError("nothing is to be scored here")


@pytest.fixture
def scorer() -> Scorer:
    reference = Reference(torch.zeros(4), torch.eye(4), torch.zeros(0, 4), ABOUT)
    return Scorer(Unused(), reference, 50, (), 100, torch.device("cpu"))


@pytest.fixture
def params(content):
    content["noises"].append(NOISE)
    content["noise_options"][NOISE] = {"distribution": NOISE}
    return parse_params(content)


def score(distance: float) -> Scores:
    return Scores("fd_classifier", distance, 0.5, 0.01, 0.002, 0.75, 0.25)


def test_scores_and_pictures_are_at_the_run_that_trained_the_model(store, params, scorer, write_model, frames):
    model = write_model(workspace.model(NOISE), NOISE)
    sha = sha256_file(model)
    trained = create_run(store, params, NOISE, {MODEL_TAG: sha})
    model_id = log_model(store, trained, model, NOISE, (1, 8, 8))
    pictures = np.zeros((12, 8, 8, 1), np.uint8), np.zeros((3, 4, 8, 8, 1), np.uint8)
    for sampler, distance in (("auto", 3.0), ("ancestral", 2.0)):
        folder = workspace.samples(NOISE, sampler)
        folder.mkdir(parents=True)
        (folder / "samples.json").write_text(json.dumps({"model_sha256": sha}))
        record_scores(store, params, (NOISE, sampler), scorer, score(distance), pictures)
    run = store.client.get_run(trained.id)
    assert run.info.status == "FINISHED"
    expected = {"fd_classifier_std": 0.5, "kid": 0.01, "kid_std": 0.002, "precision": 0.75, "recall": 0.25}
    assert run.data.metrics == {
        "fd_classifier.auto": 3.0,
        "fd_classifier.ancestral": 2.0,
        **{f"{key}.{sampler}": value for key, value in expected.items() for sampler in ("auto", "ancestral")},
    }
    assert logged_model(store, sha) == model_id
    assert {metric.key for metric in store.client.get_logged_model(model_id).metrics} == set(run.data.metrics)
    steps = params.train.max_steps
    assert frames(trained) == {
        *((f"samples-{sampler}", steps) for sampler in ("auto", "ancestral")),
        *((f"denoising-{sampler}", frame) for sampler in ("auto", "ancestral") for frame in range(3)),
    }
    best = store.client.get_model_version_by_alias(f"ngldm-{NOISE}", "best")
    assert best.tags[MODEL_TAG] == sha
    assert "2.0" in best.tags.values()  # the lowest of its scores
    assert "50" in best.tags.values()  # of so many images


def test_samples_of_a_damaged_folder_are_named(store, params, scorer, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = workspace.samples(NOISE, "auto")
    folder.mkdir(parents=True)
    (folder / "samples.json").write_text("{}")
    pictures = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 1, 8, 8, 1), np.uint8)
    with pytest.raises(InputError, match="model_sha256"):
        record_scores(store, params, (NOISE, "auto"), scorer, score(1.0), pictures)
