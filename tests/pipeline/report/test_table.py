"""The table of scores: which value is best, what files and terminal show of it, and what a missing score says."""

import json
import shutil
from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.rows import COLUMNS, ScoreRow
from ngldm.pipeline.report.table import (
    SUMMARY_COLUMNS,
    collect_rows,
    few_scores,
    markdown_table,
    show,
    summary_rows,
    winners,
)


def row(noise: str, sampler: str, value: float) -> ScoreRow:
    """A row whose other numbers stand in no test below."""
    return ScoreRow(
        noise=noise,
        sampler=sampler,
        seeds="0",
        method="heun",
        settings="heun 10 steps",
        start_noise="own",
        network_calls=20,
        metric="fid",
        value=value,
        spread=0.123456,
        kid=0.5,
        precision=1.0,
        recall=0.0,
        num_samples=1000,
        extractor="inception",
        train_seconds=1.0,
        sample_seconds=2.0,
    )


ROWS = [row("gaussian", "a", 2.0), row("laplace", "a", 1.23456), row("gaussian", "b", 3.0), row("laplace", "b", 4.0)]


def test_the_winner_of_a_sampler_is_the_noise_with_the_lowest_value() -> None:
    assert winners(ROWS) == {"a": "laplace", "b": "gaussian"}


def test_a_row_for_each_noise_and_sampler_from_the_metrics_files(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    params = load_params()
    rows = collect_rows(params)
    assert [(r["noise"], r["sampler"]) for r in rows] == [(n, s) for n in params.noises for s in params.samplers]
    for found in rows:
        evaluated = json.loads((smoke / "metrics" / "evaluate" / f"{found['noise']}.json").read_text())
        scores = evaluated["samplers"][found["sampler"]]
        metric = found["metric"]
        assert (found["value"], found["spread"]) == (scores[metric], scores[f"{metric}_std"])
        assert all(found[key] == scores[key] for key in ("kid", "precision", "recall", "num_samples"))


def test_a_sampler_that_was_not_scored_is_named_with_its_stage(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (Path("metrics"), workspace.REFERENCE, Path("samples")):
        shutil.copytree(smoke / path, tmp_path / path)
    file = tmp_path / "metrics" / "evaluate" / "laplace.json"
    content = json.loads(file.read_text())
    del content["samplers"]["auto"]
    file.write_text(json.dumps(content))
    params = load_params(smoke / "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"laplace\.json: has no sampler 'auto'; run the stage `evaluate` again"):
        collect_rows(params)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics/evaluate/laplace.json", {"samplers": []}, "samplers"),
        ("metrics/evaluate/laplace.json", {"samplers": {"ancestral": 3}}, "ancestral"),
        ("metrics/evaluate/laplace.json", {"samplers": {"ancestral": {}}}, "Frechet distance"),
        ("metrics/train/laplace.json", {"seconds": 1}, "train_seconds"),
        ("metrics/sample/laplace-auto.json", {"sample_seconds": "3"}, "sample_seconds"),
        ("samples/laplace/auto/samples.json", {"num_images": 1}, "start_noise"),
        (
            "samples/laplace/auto/samples.json",
            {"sampler": {"method": "heun"}, "network_calls": 9, "start_noise": "own"},
            "num_inference_steps",
        ),
        (
            "samples/laplace/auto/samples.json",
            {"sampler": {"method": "heun", "num_inference_steps": 5}, "network_calls": 9, "start_noise": None},
            "start_noise",
        ),
    ],
)
def test_a_damaged_figure_is_named_with_its_file(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: dict[str, object], words: str
) -> None:
    for path in (Path("metrics"), workspace.REFERENCE, Path("samples")):
        shutil.copytree(smoke / path, tmp_path / path)
    assert (tmp_path / name).is_file()
    (tmp_path / name).write_text(json.dumps(content))
    params = load_params(smoke / "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{name}: .*{words}"):
        collect_rows(params)


def test_markdown_has_a_cell_for_each_column() -> None:
    header, rule, *lines = markdown_table(ROWS, COLUMNS).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(COLUMNS)
    assert rule.count("---") == len(COLUMNS)
    assert len(lines) == len(ROWS)
    assert [cell.strip() for cell in lines[1].strip("|").split("|")][COLUMNS.index("value")] == "1.235"


@pytest.mark.parametrize(("value", "text"), [(0.123456, "0.1235"), (123456.0, "1.235e+05"), (20, "20"), ("a", "a")])
def test_only_fractions_are_shortened(value: object, text: str) -> None:
    assert show(value) == text


def test_the_terminals_table_marks_the_best_of_each_sampler() -> None:
    table = [dict(zip(SUMMARY_COLUMNS, cells, strict=True)) for cells in summary_rows(ROWS)]
    assert [found["value"] for found in table] == ["2", "[bold]1.235[/]", "[bold]3[/]", "4"]


def test_what_dvc_compares_is_the_scores_the_floor_and_the_autoencoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, content in (
        (workspace.REFERENCE / "reference.json", '{"floor": 0.25}'),
        (workspace.metrics("autoencoder"), '{"psnr_db": 30.5}'),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(content)
    monkeypatch.chdir(tmp_path)
    best = next(row for row in ROWS if row["value"] == 1.23456)
    assert few_scores(ROWS) == {
        "best": {
            **{"noise": "laplace", "sampler": "a", "fid": 1.23456},
            **{key: best[key] for key in ("kid", "precision", "recall")},
        },
        "fid": {"gaussian": {"a": 2.0, "b": 3.0}, "laplace": {"a": 1.23456, "b": 4.0}},
        "floor": 0.25,
        "autoencoder_psnr_db": 30.5,
    }
