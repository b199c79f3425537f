"""Figures of scores and losses: axes that suit the values, lines between what is alike, bars that all can be seen."""

from itertools import pairwise

import pytest

from ngldm.pipeline.report.figures import plots


def test_score_axis_is_logarithmic_only_over_a_wide_range() -> None:
    def scale(*values: float) -> str:
        common = {"noise": "a", "metric": "fid", "std_error": None}
        rows = [{**common, "epoch": float(i), "value": v} for i, v in enumerate(values)]
        return plots.score_by_epoch(rows).axes[0].get_yscale()

    assert scale(1.0, 5.0) == "linear"
    assert scale(1.0, 50.0) == "log"


def test_a_line_for_each_training_and_each_noise_once_in_the_legend() -> None:
    def losses(*values: float) -> list[dict]:
        return [{"step": i, "loss": value, "heldout_loss": value} for i, value in enumerate(values)]

    figure = plots.training({"laplace": [losses(3.0, 2.0), losses(4.0, 1.0)], "gaussian": [losses(5.0, 4.0)]})
    left, right = figure.axes
    for panel in (left, right):
        assert [line.get_ydata().tolist() for line in panel.lines] == [[3.0, 2.0], [4.0, 1.0], [5.0, 4.0]]
        assert len({line.get_color() for line in panel.lines}) == 2
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["laplace", "gaussian"]


def test_a_mean_has_its_standard_error_as_a_bar() -> None:
    point = {"noise": "a", "metric": "fid", "epoch": 1.0, "value": 3.0}
    axes = plots.score_by_epoch([{**point, "std_error": 0.5}]).axes[0]
    (bar,) = (line for container in axes.containers for line in container.lines[2])
    assert bar.get_segments()[0].tolist() == [[1.0, 2.5], [1.0, 3.5]]
    assert not plots.score_by_epoch([{**point, "std_error": None}]).axes[0].containers


def test_bars_of_two_noises_at_the_same_epoch_stand_side_by_side() -> None:
    rows = [{"noise": n, "metric": "fd", "epoch": 1.0, "value": 3.0, "std_error": 1.0} for n in ("a", "b", "c")]
    figure = plots.score_by_epoch(rows)
    figure.canvas.draw()
    bars = [line for container in figure.axes[0].containers for line in container.lines[2]]
    places = [bar.get_transform().transform(bar.get_segments()[0][0])[0] for bar in bars]
    gaps = {round(b - a, 6) for a, b in pairwise(places)}
    assert len(gaps) == 1
    assert gaps.pop() / figure.dpi * 72 > 3  # points; a bar's cap is 2 on each side
    assert figure.axes[0].get_xlim()[0] < 1.0 < figure.axes[0].get_xlim()[1]


def row(noise: str, sampler: str, calls: int, settings: str, method: str = "ddim") -> dict:
    scores = {"metric": "fd", "value": 1.0 + calls, "spread": 0.5, "start_noise": "own", "method": method}
    return {"noise": noise, "sampler": sampler, "network_calls": calls, "settings": settings, **scores}


def test_lines_join_only_scores_that_differ_in_the_number_of_steps() -> None:
    rows = [
        row("a", "few", 10, "ddim 10 steps, eta 0"),
        row("a", "many", 50, "ddim 50 steps, eta 0"),
        row("a", "random", 20, "ddim 20 steps, eta 1"),
        row("a", "other", 30, "dpmpp_2m 30 steps, eta 0", "dpmpp_2m"),
        row("b", "few", 10, "ddim 10 steps, eta 0"),
        row("b", "other", 30, "dpmpp_2m 30 steps, eta 0", "dpmpp_2m"),
    ]
    axes = plots.score_by_calls(rows).axes[0]
    joined = [line for line in axes.lines if line.get_linestyle() != "None" and len(line.get_xdata()) > 0]
    assert [list(line.get_xdata()) for line in joined] == [[10, 50]]
    points = sorted(x for line in axes.lines if line.get_linestyle() == "None" for x in line.get_xdata())
    assert [x for x in points if points.count(x)] == points
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["a", "b", "few", "many", "random", "other"]


@pytest.mark.parametrize("count", [1, 2])
def test_the_study_joins_samplers_whose_names_differ_by_their_calls_alone(count: int) -> None:
    samplers = ("dpmpp_10", "dpmpp_20", "dpmpp_karras_20", "ddim_50")[: 2 + count]
    common = {"variant": "base", "noise": "gaussian", "std": 0.1, "std_error": 0.1, "ratio": 1.0, "outliers": 0.0}
    rows = [
        {**common, "sampler": name, "network_calls": int(name.split("_")[-1]), "mean": 2.0, "seeds": "1x1"}
        for name in samplers
    ]
    right = plots.study(rows).axes[1]
    assert [list(line.get_xdata()) for line in right.lines] == [[10, 20]]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["base, dpmpp_n"]


def test_the_study_shows_every_mean_and_is_logarithmic_only_over_a_wide_range() -> None:
    def study(*means: float) -> tuple:
        common = {
            "sampler": "dpmpp_10",
            "network_calls": 10,
            "std": 0.1,
            "std_error": 0.1,
            "ratio": 1.0,
            "outliers": 0.0,
        }
        rows = [
            {**common, "variant": f"v{calls}", "noise": "gaussian", "mean": mean, "seeds": "1x1"}
            for calls, mean in enumerate(means)
        ]
        again = [{**row, "sampler": "dpmpp_20", "network_calls": 20} for row in rows]
        return plots.study([row for pair in zip(rows, again, strict=True) for row in pair]).axes

    left, right = study(22.0, 23.0)
    assert left.get_xscale() == "linear"
    assert right.get_ylim()[0] == 0
    assert right.get_ylim()[1] > 23.5
    assert study(1.0, 23.0)[0].get_xscale() == "log"
