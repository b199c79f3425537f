"""Which stores can be read, and which metrics are scores."""

import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.cli.runs.reading import is_distance, is_score, listed, metric_key, read_runs


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("command", ["runs", "compare"])
@pytest.mark.parametrize("scheme", ["http://127.0.0.1:{}", "postgresql+psycopg2://me:secret@127.0.0.1:{}/mlflow"])
def test_a_store_that_does_not_answer_is_one_line_soon(ngldm, there, monkeypatch, free_port, command, scheme):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", scheme.format(free_port))
    start = time.monotonic()
    code, out, err = ngldm(command)
    assert time.monotonic() - start < 20
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"127.0.0.1:{free_port}" in err
    assert "secret" not in err


@pytest.mark.parametrize("address", ["postgresql://me:se/cret@host/x", "http://me:secret@[::1"])
def test_an_address_that_cannot_be_read_is_refused_without_its_password(monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: \w+://me:\*{3}@.* has no host and port") as refused:
        read_runs("any")
    assert "cret" not in str(refused.value)
    assert "'se'" not in str(refused.value)


@pytest.mark.parametrize("command", ["runs", "compare"])
def test_a_file_that_is_no_store_is_one_line(ngldm, root: Path, tmp_path, monkeypatch, command):
    shutil.copy(root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_text("no database at all, but long enough to be read as one" * 20)
    code, out, err = ngldm(command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mlflow.db" in err


@pytest.mark.parametrize("command", ["runs", "compare"])
def test_without_a_store_none_is_made(ngldm, root: Path, tmp_path, monkeypatch, command):
    shutil.copy(root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    code, _, err = ngldm(command)
    assert code == 2
    assert "mlflow.db" in err
    assert not (tmp_path / "mlflow.db").exists()


def test_all_pages_are_read(there, monkeypatch):
    search = mlflow.MlflowClient.search_runs
    monkeypatch.setattr(
        mlflow.MlflowClient, "search_runs", lambda *args, **options: search(*args, **{**options, "max_results": 3})
    )
    found = read_runs("ngldm")
    assert len({run.info.run_id for run in found}) == len(found) == 14
    assert found[0].info.run_name == "uniform"


@pytest.mark.parametrize(
    ("metric", "score", "distance"),
    [
        ("fd_classifier.auto", True, True),
        ("fid_clean.ddim", True, True),
        ("fd_classifier_std.auto", True, False),
        ("fd_std_error.s", True, False),
        ("fd_classifier.by_step", False, False),
        ("kid.auto", True, False),
        ("inception_score.auto", True, False),
        ("train.loss", False, False),
        ("lowest.fd_classifier.auto", False, False),
    ],
)
def test_scores_and_distances_are_known_by_their_names(metric, score, distance):
    assert (is_score(metric), is_distance(metric)) == (score, distance)


def test_a_metric_of_two_samplers_needs_its_sampler():
    runs = [SimpleNamespace(data=SimpleNamespace(metrics={"fd.auto": 1.0, "fd.ddim": 2.0, "kid.auto": 3.0}))]
    assert metric_key("kid", runs, "--sort") == "kid.auto"
    with pytest.raises(InputError, match=r"--sort: 'fd' is the beginning of several.*fd\.auto, fd\.ddim"):
        metric_key("fd", runs, "--sort")


def test_long_lists_end_in_a_number():
    assert listed(["a", "b", "a", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "b"], 2) == "a, b"
