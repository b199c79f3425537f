"""The MLflow store: where it lies, processes side by side, failures that never stop the work."""

import os
import subprocess
import sys
from typing import Any

import mlflow

from ngldm.pipeline.tracking.comparison import (
    PARENT_ID,
    create_run,
    run_of_model,
    training_run,
)
from ngldm.pipeline.tracking.models import log_model
from ngldm.pipeline.tracking.store import Store


def test_the_store_lies_at_the_root(store, folder):
    assert (folder / "mlflow.db").is_file()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.artifact_location == (folder / "mlartifacts" / "ngldm").as_uri()


def test_a_broken_store_warns_once_and_work_goes_on(params, monkeypatch, capsys, tmp_path, write_model):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")  # below a file, not a folder
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = Store("ngldm")
    with training_run(store, params, "laplace", "key") as run:
        run.metrics({"loss": 1.0})
        log_model(store, run, write_model(tmp_path / "model.safetensors"), "laplace", (1, 8, 8))
    run_of_model(store, params, "laplace", "sha", "ddim").tags({"a": "b"})
    assert capsys.readouterr().err.count("warning: MLflow failed") == 1


def test_a_store_that_fails_midway_warns_once(store, params, monkeypatch, capsys):
    run = create_run(store, params, "laplace", {})

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store.client, "log_batch", fail)
    run.metrics({"loss": 1.0})
    run.metrics({"loss": 2.0})
    run.finish()
    assert capsys.readouterr().err.count("disk full") == 1


WRITER = """
import sys
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.tracking.comparison import create_run, record_study, run_of_model, training_run
from ngldm.pipeline.tracking.store import Store
from pathlib import Path
params = load_params(Path(sys.argv[1]))
class Report:
    def __init__(self, step): self.step, self.loss = step, 1.0 / step
for noise in ("laplace", "gumbel"):
    with training_run(Store("ngldm"), params, noise, sys.argv[2]) as run:
        for step in range(1, 31):
            run.report(Report(step))
"""


def test_processes_side_by_side_lose_nothing(root, tmp_path):
    """Into a store that none of them finds made: one set of tables, one experiment, one parent, every step."""
    command = [sys.executable, "-c", WRITER, str(root / "params.yaml")]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(root)
    writers = [
        subprocess.Popen([*command, str(i)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for i in range(3)
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("ngldm").experiment_id])
    children = [run for run in runs if PARENT_ID in run.data.tags]
    assert (len(runs), len(children)) == (7, 6)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(len(client.get_metric_history(run.info.run_id, "train.loss")) == 30 for run in children)
