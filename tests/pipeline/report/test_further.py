"""The tables of further scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params, parse_params
from ngldm.pipeline.report.further import class_rows, further_keys, further_rows, overall, tail_errors

OLD = {"fd_points": 0.1, "fd_points_std": 0.01, "kid": 0.2, "kid_std": 0.02, "precision": 1.0, "recall": 0.5}
CONTENT = {
    "samplers": {
        "ancestral": {**OLD, "msle": 0.5, "beyond_0.99": 1.5, "num_samples": 100},
        "auto": {**OLD, "msle": 0.25, "mode_1": 0.9, "num_samples": 100},
    },
    "further_floor": {"msle": 0.001, "beyond_0.99": 1.0},
}


@pytest.fixture
def params(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Of one noise and two samplers, in a workspace with their scores."""
    monkeypatch.chdir(tmp_path)
    path = workspace.metrics("evaluate", "gaussian")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(CONTENT))
    return parse_params({**content, "noises": ["gaussian"]})


def test_the_first_tables_figures_are_left_out() -> None:
    assert further_keys(CONTENT["samplers"]["ancestral"]) == ["msle", "beyond_0.99"]


def test_all_rows_have_the_columns_of_all(params: Params) -> None:
    columns = ["noise", "sampler", "msle", "beyond_0.99", "mode_1"]
    assert [list(row) for row in further_rows(params)] == [columns] * 3
    assert [list(row.values()) for row in further_rows(params)] == [
        ["training points", "-", 0.001, 1.0, None],
        ["gaussian", "ancestral", 0.5, 1.5, None],
        ["gaussian", "auto", 0.25, None, 0.9],
    ]


def test_the_tails_error_is_a_metric_of_dvc_if_there_is_one(params: Params) -> None:
    assert tail_errors(further_rows(params)) == {"msle": {"gaussian": {"ancestral": 0.5, "auto": 0.25}}}
    assert tail_errors([{"noise": "gaussian", "sampler": "auto", "density": 1.0}]) == {}


CLASSES = {"noise": "a", "sampler": "auto", "density": 1.0, "coverage_class_0": 0.5, "coverage_class_10": 0.25}
CLASSES |= {"share_class_0": 2.0, "share_class_10": None}


def test_scores_of_classes_have_a_table_of_their_own() -> None:
    assert overall([CLASSES]) == ["noise", "sampler", "density"]
    assert class_rows([CLASSES]) == [
        {"noise": "a", "sampler": "auto", "class": 0, "coverage": 0.5, "share": 2.0},
        {"noise": "a", "sampler": "auto", "class": 10, "coverage": 0.25, "share": None},
    ]
    assert class_rows([{"noise": "a", "sampler": "auto", "density": 1.0}]) == []


def test_scores_of_classes_keep_the_seed_of_their_training() -> None:
    (first, _) = class_rows([{**CLASSES, "seeds": "1"}])
    assert (first["seeds"], first["class"]) == ("1", 0)
