"""What the report reads: the figures of the stages' files, as they stand there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.results import read_results


@pytest.fixture
def workspace(copied: Callable[..., Path]) -> Path:
    return copied("data/reference", "metrics", "plots", "samples", "study", "params.yaml")


def test_the_scores_are_those_of_the_metrics_files(workspace: Path) -> None:
    results = read_results(load_params())
    assert len(results.rows) == 4
    for row, further in zip(results.rows, results.further, strict=True):
        scores = json.loads(Path(f"metrics/evaluate/{row['noise']}.json").read_text())["samplers"][row["sampler"]]
        assert (row["value"], row["spread"], row["kid"]) == (
            scores["fd_classifier"],
            scores["fd_classifier_std"],
            scores["kid"],
        )
        assert further["memorised"] == scores["memorised"]
    assert set(results.histories) == {"gaussian", "laplace"}
    assert (results.tails, results.study, results.differences) == ({}, [], [])


def test_the_tails_are_by_noise_and_training(workspace: Path) -> None:
    file = Path("metrics/evaluate/laplace.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "tails": {"shares": [0.5]}}))
    assert read_results(load_params()).tails == {"laplace": [{"shares": [0.5]}]}


def test_a_missing_file_is_named(workspace: Path) -> None:
    Path("metrics/autoencoder.json").unlink()
    with pytest.raises(InputError, match=r"metrics/autoencoder\.json"):
        read_results(load_params())
