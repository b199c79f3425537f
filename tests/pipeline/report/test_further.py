"""The table of further scores and the figures of points."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params, parse_params
from ngldm.pipeline.report.further import further_keys, further_rows, scatter, tail_errors, tails

OLD = {"fd_points": 0.1, "fd_points_std": 0.01, "kid": 0.2, "kid_std": 0.02, "precision": 1.0, "recall": 0.5}
CONTENT = {
    "samplers": {
        "ancestral": {**OLD, "msle": 0.5, "beyond_0.99": 1.5, "num_samples": 100},
        "auto": {**OLD, "msle": 0.25, "mode_1": 0.9, "num_samples": 100},
    },
    "further_floor": {"msle": 0.001, "beyond_0.99": 1.0},
    "tails": {
        "shares": [0.1, 0.01],
        "real": [1.0, 2.0],
        "training": [1.0, 2.5],
        "ancestral": [3.0, None],
        "auto": [1.0, 4.0],
    },
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


def test_the_tail_plot_has_a_panel_per_sampler_and_leaves_gaps_out(params: Params) -> None:
    figure = tails(params)
    drawn = {
        panel.get_title(): {line.get_label(): line.get_xydata().tolist() for line in panel.lines}
        for panel in figure.axes
    }
    assert drawn["ancestral"]["gaussian"] == [[3.0, 0.1]]
    assert drawn["auto"]["gaussian"] == [[1.0, 0.1], [4.0, 0.01]]
    assert drawn["auto"]["real points"] == [[1.0, 0.1], [2.0, 0.01]]
    assert {panel.get_xscale() for panel in figure.axes} == {"log"}


def test_without_points_there_is_no_tail_plot(params: Params) -> None:
    workspace.metrics("evaluate", "gaussian").write_text(json.dumps({"samplers": CONTENT["samplers"]}))
    assert tails(params) is None


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_scatter_shows_both_on_the_real_points_axes(dim: int) -> None:
    real = np.random.default_rng(0).normal(size=(1000, dim))
    figure = scatter(real, real[:10] * 100.0, "laplace, ddim")
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("real points", "laplace, ddim")
    assert left.get_xlim() == right.get_xlim()
    assert 3.0 < left.get_xlim()[1] < 5.0  # 1000 normal draws reach to about 3.2
    assert len(left.lines[0].get_xdata()) == 1000
