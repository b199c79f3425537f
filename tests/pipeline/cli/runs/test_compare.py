"""`ngldm compare`: which runs, what differs, which score is best."""

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from ngldm.pipeline.cli.runs.compare import best_value

ROOT = Path(__file__).parents[4]
Ngldm = Callable[..., tuple[int, str, str]]


def test_compare_shows_what_differs_and_the_scores(ngldm: Ngldm, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    code, out, _ = ngldm("compare")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert sorted(rows["noise"]) == ["gaussian", "laplace"]
    assert "train.lr" not in rows  # equal
    assert len(rows["fd_classifier.auto"]) == 2
    assert not any(key.startswith("train.") for key in rows)


def test_compare_takes_names_and_first_letters_of_ids_in_order(
    ngldm: Ngldm, smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(smoke)
    client = mlflow.MlflowClient(f"sqlite:///{smoke / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ngldm").experiment_id
    (run,) = client.search_runs([experiment], "tags.noise = 'laplace' and metrics.`kid.auto` > -1")
    code, out, _ = ngldm("compare", run.info.run_id[:12], "gaussian", "--all")
    assert code == 0
    params, scores = (
        {line.split()[0]: line.split()[1:] for line in part.splitlines() if line.strip()}
        for part in out.split(" scores ")
    )
    assert params["noise"] == ["laplace", "gaussian"]
    assert params["train.max_steps"] == ["20", "20"]
    assert "train.grad_norm" in scores


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), ["RUN", "'nonsense'", "gaussian", "laplace"]),
        (("",), ["RUN", "''"]),
        (("--experiment", "none"), ["--experiment", "'none'", "ngldm"]),
    ],
)
def test_compare_refuses_what_is_not_there(
    ngldm: Ngldm, smoke: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: list[str]
) -> None:
    monkeypatch.chdir(smoke)
    code, _, err = ngldm("compare", *arguments)
    assert code == 2
    assert all(word in err for word in words)
    assert "Traceback" not in err


def test_compare_without_a_store_makes_none(ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    code, _, err = ngldm("compare")
    assert code == 2
    assert "mlflow.db" in err
    assert not (tmp_path / "mlflow.db").exists()


def test_best_is_the_lowest_distance_and_no_spread() -> None:
    assert best_value("fid.auto", [(3.0, 0.1, None), (2.0, 0.1, None)]) == 2.0
    assert best_value("recall.auto", [(0.3, 0.01, None), (0.2, 0.01, None)]) is None
    assert best_value("fid_std.auto", [(3.0, None, None), (2.0, None, None)]) is None
    assert best_value("fid.auto", [(2.0, 0.1, None), (2.0, 0.1, None)]) is None


def test_all_runs_of_the_newest_sweep_are_shown(ngldm, there):
    code, out, _ = ngldm("compare")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["train.lr"] == ["0.0002", "0.0005", "0.001", "0.0002"]  # the oldest first
    assert rows["noise"] == ["laplace", "laplace", "laplace", "gumbel"]
    assert rows["fd_classifier.auto"] == ["5", "3", "4", "7"]
    assert "fd_classifier.by_step" not in rows


def test_a_sweep_is_named(ngldm, there):
    code, out, _ = ngldm("compare", "--sweep", "rates")
    assert code == 0
    assert [line.split()[1:] for line in out.splitlines() if "fd_classifier.auto" in line] == [["2", "1"]]
    code, _, err = ngldm("compare", "--sweep", "rates", "laplace")
    assert (code, err.count("\n")) == (2, 1)
    assert "--sweep" in err


def test_many_runs_are_rows(ngldm, there, lines, names):
    several = ["laplace", "a", "b", "gumbel lr=2e-4", "laplace lr=0.0002", "laplace lr=0.0005", "laplace lr=0.001"]
    code, out, _ = ngldm("compare", *several)
    assert code == 0
    heading = lines(out)[0].split()
    assert heading[0] == "run"
    assert "fd_classifier.auto" in heading
    assert names(out)[: len(several)] == several
