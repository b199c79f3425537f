"""The tables: their CSV files hold the numbers of the stages' files, their LaTeX the same with fewer digits."""

import json
import re
from pathlib import Path

import pandas
import pytest

from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.contents import make_tables, moment_rows, score_cells
from ngldm.pipeline.report.results import read_results
from ngldm.pipeline.report.rows import average
from ngldm.pipeline.report.table import winners

METRIC = "fd_classifier"


@pytest.fixture(scope="module")
def evaluated(smoke: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Noise and sampler to what the stage `evaluate` wrote."""
    files = (smoke / "metrics" / "evaluate").glob("*.json")
    return {file.stem: json.loads(file.read_text())["samplers"] for file in files}


def table(smoke: Path, name: str) -> pandas.DataFrame:
    return pandas.read_csv(smoke / "reports" / f"{name}.csv")


def test_the_table_of_scores_is_that_of_the_metrics_files(smoke: Path, evaluated: dict) -> None:
    scores = table(smoke, "scores").set_index("noise")
    assert set(scores.index) == set(evaluated)
    for noise, samplers in evaluated.items():
        for sampler, found in samplers.items():
            assert scores.loc[noise, sampler] == found[METRIC]
            assert scores.loc[noise, f"{sampler}_error"] == found[f"{METRIC}_std"]


def test_scores_of_classes_are_those_of_the_metrics_files(smoke: Path, evaluated: dict) -> None:
    classes = table(smoke, "classes").set_index(["noise", "sampler", "class"])
    assert len(classes) == 2 * 2 * 10
    for (noise, sampler, label), row in classes.iterrows():
        for score in ("coverage", "recall", "share", "memorised"):
            assert row[score] == evaluated[noise][sampler][f"{score}_class_{label}"]


def test_further_scores_keep_all_columns_in_the_csv_and_only_the_common_ones_in_latex(smoke: Path) -> None:
    further = table(smoke, "further")
    assert {"noise", "sampler", "density", "coverage_class_9"} <= set(further.columns)
    text = (smoke / "reports" / "further.tex").read_text()
    assert "density" in text
    assert "class" not in text


def test_the_settings_of_every_cell_are_there(smoke: Path) -> None:
    settings = table(smoke, "settings").set_index(["noise", "sampler"])
    for (noise, sampler), row in settings.iterrows():
        about = json.loads((smoke / "samples" / noise / sampler / "samples.json").read_text())
        assert row["network_calls"] == about["network_calls"]
        assert f"{about['sampler']['method']} {about['sampler']['num_inference_steps']} steps" in row["settings"]
    assert len(settings) == 4


def test_latex_has_the_numbers_of_the_csv(smoke: Path) -> None:
    scores = table(smoke, "scores")
    text = re.sub(r"\\phantom\{[^}]*\}|\\mathbf", "", (smoke / "reports" / "scores.tex").read_text())
    for line, (_, row) in zip(text.split("\\midrule\n")[1].splitlines(), scores.iterrows(), strict=False):
        assert line.startswith(row["noise"] + " & ")
        numbers = [float(number) for number in re.findall(r"[0-9]+\.?[0-9]*", line.partition(" & ")[2])]
        assert numbers == pytest.approx(row.drop("noise").tolist(), rel=0.05)


def test_the_best_is_the_winner_of_its_sampler(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    rows = read_results(load_params()).rows
    for row in rows:
        row["value"] = 1.0 if row["noise"] == "laplace" and row["sampler"] == "auto" else 50.0
    cells = {row["noise"]: row for row in score_cells(average(rows), rows)}
    assert winners(rows)["auto"] == "laplace"
    assert [cells[n][s].best for n in ("gaussian", "laplace") for s in ("ancestral", "auto")] == [False] * 3 + [True]


def test_only_tables_with_rows_are_made(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    params = load_params()
    tables = make_tables(params, read_results(params))
    names = ["scores", "settings", "table", "further", "classes", "moments", "made", "seconds"]
    assert list(tables) == names
    assert all(table.name == name and table.rows for name, table in tables.items())
    paper = params.model_copy(update={"recipe": "paper"})
    assert set(make_tables(paper, read_results(paper))) == {*names, "paper"}


def test_moments_stand_beside_those_of_the_draws() -> None:
    rows = [{"noise": "a", "moment": "mean", "exact": 0.0, "sampled": 0.1}]
    assert moment_rows(rows) == [{"noise": "a", "mean": 0.0, "mean, draws": 0.1}]
