"""Scores that params.yaml asks for, from the stages' files to the report's table."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ngldm.io.errors import InputError
from ngldm.io.files import write_described
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.further import further_rows
from stages import evaluate, reference


@pytest.fixture
def workspace(copied: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    return copied("conf", "data", "metrics", "models", "samples", "params.yaml")  # what these stages read


def ask(**settings: object) -> None:
    """Change the section `evaluate` of params.yaml."""
    content = YAML().load(Path("params.yaml"))
    content["evaluate"].update(settings)
    YAML().dump(content, Path("params.yaml"))


def scores(sampler: str = "auto") -> dict[str, float]:
    found: dict[str, float] = json.loads(Path("metrics/evaluate/laplace.json").read_text())["samplers"][sampler]
    return found


def test_extrapolation_is_a_further_score(workspace: Path) -> None:
    before = scores()
    ask(extrapolate=True)
    evaluate.evaluate("laplace", "cpu")
    after = scores()
    assert after.keys() - before.keys() == {"fd_classifier_infinity"}
    assert {key: after[key] for key in before} == before
    assert np.isfinite(after["fd_classifier_infinity"])
    row = next(row for row in further_rows(load_params()) if (row["noise"], row["sampler"]) == ("laplace", "auto"))
    assert row["fd_classifier_infinity"] == after["fd_classifier_infinity"]


def test_too_few_images_are_refused_before_the_work(workspace: Path) -> None:
    ask(extrapolate=True)
    for sampler in load_params().samplers:
        images = Path("samples/laplace") / sampler / "images.npy"
        np.save(images, np.load(images)[:20])
        about = json.loads(images.with_name("samples.json").read_text())
        del about["sha256"]
        write_described(images.with_name("samples.json"), {**about, "num_images": 20}, ["images.npy"])
    with pytest.raises(InputError, match=r"evaluate\.extrapolate: 20 images are too few for 16 features"):
        evaluate.evaluate("laplace", "cpu")


def test_dinov2_scores_a_run(workspace: Path, dinov2_state: Callable[..., dict]) -> None:
    torch.save(dinov2_state(), "dinov2.pth")
    ask(extractor="dinov2", dinov2_weights="dinov2.pth", resizing="clean")
    reference.reference("cpu")
    about = json.loads(Path("data/reference/reference.json").read_text())
    assert (about["extractor"], about["metric"], about["resizing"]) == ("dinov2", "fd_dinov2_128x2_clean", "clean")
    evaluate.evaluate("laplace", "cpu")
    assert scores()["fd_dinov2_128x2_clean"] > 0
    ask(resizing="standard")  # the reference's own resizing counts
    again = scores()
    evaluate.evaluate("laplace", "cpu")
    assert scores() == again


def test_the_inception_score_needs_inception(workspace: Path) -> None:
    ask(inception_score=True)
    with pytest.raises(InputError, match="inception_score: true needs extractor inception, not 'auto'"):
        load_params()
