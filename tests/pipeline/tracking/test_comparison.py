"""MLflow: one run per trained distribution, found by content; failures never stop the work."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml

from ngldm.io.files import sha256_file
from ngldm.model import Model, load_model
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.pipeline.colours import style
from ngldm.pipeline.config.params import Params, parse_params
from ngldm.pipeline.tracking.comparison import (
    PARENT_ID,
    create_run,
    flatten,
    record_study,
    run_of_model,
    training_params,
    training_run,
)
from ngldm.pipeline.tracking.models import REQUIREMENTS, ensure_logged, log_model, logged_model, update_best
from ngldm.pipeline.tracking.previews import preview, reporter
from ngldm.pipeline.tracking.store import MODEL_TAG, Store
from ngldm.pipeline.workspace import main_root
from ngldm.sampling.best import best_sampler
from ngldm.sampling.generator import load
from ngldm.training.ema import EMA
from ngldm.training.loop import Report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of this module's tests lives: making one costs seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def params(content: dict[str, Any]) -> Params:
    return parse_params(content)


@pytest.fixture
def store(folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    return Store(params.experiment)


def report(step: int = 10, heldout_loss: float | None = None) -> Report:
    """What the training loop says of a step."""
    return Report(step, 0.5, 0.5, 1e-3, 1.0, 100.0, heldout_loss)


def frame(path: str) -> tuple[str, ...]:
    """Key, "step" and step of a picture that MLflow keeps for its image view."""
    return tuple(re.split("[%+]", Path(path).name)[:3])


def make_model(path: Path, noise: str = "laplace") -> Path:
    config = {
        "noise": {"name": noise, "params": {}},
        "diffusion": {"forward": "marginal", "objective": "eps", "weighting": "none", "gamma": 5.0},
        "schedule": {"name": "linear", "num_train_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.02},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 8, 8),
        "dataset": "digits",
    }
    Model.build(config, build_autoencoder({"kind": "identity"}, (1, 8, 8))).save(path)
    return path


def data(store: Store, run_id: str | None) -> Any:
    return store.client.get_run(run_id).data


def test_the_store_lies_at_the_root(store, folder):
    assert (folder / "mlflow.db").is_file()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.artifact_location == (folder / "mlartifacts" / "ngldm").as_uri()


@pytest.mark.parametrize(
    ("inside", "root"),
    [
        ("repo", "repo"),
        ("repo/.dvc/tmp/exps/standalone/tmpabc", "repo"),
        ("repo/.dvc/tmp/exps/standalone/tmpabc/sub", "repo"),
        ("exps/standalone", "exps/standalone"),
    ],
)
def test_an_experiments_copy_belongs_to_the_main_repository(tmp_path, inside, root):
    (tmp_path / inside).mkdir(parents=True)
    assert main_root(tmp_path / inside) == (tmp_path / root).resolve()


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


def test_a_training_run_has_params_tags_and_step_metrics(store, params):
    with training_run(store, params, "laplace", "key") as run:
        run.report(report())
    found = store.client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.data.params["train.lr"] == str(params.train.lr)
    assert found.data.params["noise_options.laplace.distribution"] == "laplace"
    assert "samplers" not in found.data.params
    assert found.data.tags["noise"] == "laplace"
    assert found.data.tags["mlflow.runColor"] == style("laplace", [])["color"]  # as in the report's figures
    assert found.data.tags["recipe"] == "mini"
    assert found.data.tags["dataset"] == "digits"
    assert found.data.tags["ngldm.fingerprint"] == "key"
    history = store.client.get_metric_history(run.id, "train.loss")
    assert [(m.step, m.value) for m in history] == [(10, 0.5)]
    assert "train.heldout_loss" not in found.data.metrics
    live = {"loss", "lr", "grad_norm", "images_per_second", "epoch", "memory_mib"}
    assert set(found.data.metrics) >= {f"train.{key}" for key in live}


def test_git_commit_and_experiment_name_are_tags(store, params, root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_EXP_NAME", "hazy-exp")
    tags = data(store, create_run(store, params, "laplace", "laplace", {}).id).tags
    assert tags["dvc_exp_name"] == "hazy-exp"
    assert len(tags["git_commit"]) == 40


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_off_says_so(store, params, error, status):
    with pytest.raises(error), training_run(store, params, "laplace", "key") as run:
        raise error
    assert store.client.get_run(run.id).info.status == status


def test_scores_go_to_the_run_of_the_model(store, params):
    trained = create_run(store, params, "laplace", "laplace", {MODEL_TAG: "sha-1"})
    other = create_run(store, params, "laplace", "laplace", {MODEL_TAG: "sha-2"})
    for sampler in params.samplers:
        run = run_of_model(store, params, "laplace", "sha-1", sampler)
        run.metrics({f"fd.{sampler}": 1.0})
        assert run.id == trained.id
    assert set(data(store, trained.id).metrics) == {"fd.ancestral", "fd.auto"}
    assert data(store, trained.id).params["sampler_options.auto.num_inference_steps"] == "20"
    assert not data(store, other.id).metrics


def test_scoring_again_with_other_settings_makes_a_run_beside(store, params, content):
    trained = create_run(store, params, "gumbel", "gumbel", {MODEL_TAG: "sha-3"})
    assert run_of_model(store, params, "gumbel", "sha-3", "ddim").id == trained.id
    content["sampler_options"]["ddim"]["eta"] = 0.5
    changed = parse_params(content)
    beside = run_of_model(store, changed, "gumbel", "sha-3", "ddim")
    assert beside.id != trained.id
    assert data(store, beside.id).params["sampler_options.ddim.eta"] == "0.5"
    assert data(store, beside.id).params["train.lr"] == str(params.train.lr)
    assert run_of_model(store, changed, "gumbel", "sha-3", "ddim").id == beside.id
    assert run_of_model(store, params, "gumbel", "sha-3", "ddim").id == trained.id


def test_a_model_without_a_run_gets_one(store, params):
    run = run_of_model(store, params, "uniform", "sha-of-a-cached-model", "ddim")
    assert run.step == params.train.max_steps
    assert data(store, run.id).tags[MODEL_TAG] == "sha-of-a-cached-model"


def test_the_registered_model_generates_the_same_images(store, params, tmp_path):
    model = make_model(tmp_path / "model.safetensors")
    run = create_run(store, params, "laplace", "laplace", {})
    log_model(store, run, model, "laplace", (1, 8, 8))
    update_best(store, "laplace", sha256_file(model), 1.0, {"n": 1})
    loaded = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
    images = loaded.predict({"n": 3, "seed": 5}, params={"num_inference_steps": 4})
    assert images.shape == (3, 8, 8, 1)
    assert images.dtype == np.uint8
    best = best_sampler("laplace")
    expected = load(model, "cpu").sample(3, seed=5, **{**best, "num_inference_steps": 4})
    np.testing.assert_array_equal(images, expected)
    images = loaded.predict({"n": 3, "seed": 5}, params={"method": "ddim", "num_inference_steps": 4})
    expected = load(model, "cpu").sample(3, seed=5, method="ddim", num_inference_steps=4)
    np.testing.assert_array_equal(images, expected)


def test_best_moves_only_to_a_lower_score_in_the_same_context(store, params, tmp_path, capsys):
    versions = {}
    for name, noise in (("a", "uniform"), ("b", "gumbel")):
        model = make_model(tmp_path / f"{name}.safetensors", noise)
        log_model(store, create_run(store, params, noise, "test", {}), model, "test", (1, 8, 8))
        versions[name] = (sha256_file(model), str(len(versions) + 1))

    def best_after(name: str, score: float, context: dict) -> str:
        update_best(store, "test", versions[name][0], score, context)
        return str(store.client.get_model_version_by_alias("ngldm-test", "best").version)

    assert best_after("a", 5.0, {"n": 1}) == "1"
    assert best_after("b", 6.0, {"n": 1}) == "1"
    assert best_after("b", 4.0, {"n": 1}) == "2"
    assert best_after("a", 4.5, {"n": 1}) == "2"
    assert best_after("a", 0.1, {"n": 2}) == "2"  # another context says nothing
    assert "ngldm-test@best stays at version 2" in capsys.readouterr().out
    assert best_after("a", 9.0, {"num_images": 64}) == "1"  # but for more images than the best one was scored with
    assert best_after("b", 0.1, {"num_images": 64}) == "2"
    assert best_after("a", 0.1, {"num_images": 640, "dataset_sha256": "other"}) == "2"  # of other data
    assert best_after("a", 0.1, {"num_images": 10}) == "2"


def test_a_broken_store_warns_once_and_work_goes_on(params, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")  # below a file, not a folder
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = Store("ngldm")
    with training_run(store, params, "laplace", "key") as run:
        run.metrics({"loss": 1.0})
        log_model(store, run, make_model(tmp_path / "model.safetensors"), "laplace", (1, 8, 8))
    run_of_model(store, params, "laplace", "sha", "ddim").tags({"a": "b"})
    assert capsys.readouterr().err.count("warning: MLflow failed") == 1


def test_a_store_that_fails_midway_warns_once(store, params, monkeypatch, capsys):
    run = create_run(store, params, "laplace", "laplace", {})

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store.client, "log_batch", fail)
    run.metrics({"loss": 1.0})
    run.metrics({"loss": 2.0})
    run.finish()
    assert capsys.readouterr().err.count("disk full") == 1


def test_training_params_are_what_a_model_depends_on(params):
    assert set(training_params(params, "laplace")) == {
        "seed",
        "dataset",
        "autoencoder",
        "latents",
        "schedule",
        "diffusion",
        "unet",
        "train",
        "noise_options",
    }


def test_trainings_that_share_all_but_the_noise_have_one_parent(store, params, content):
    with training_run(store, params, "laplace", "key") as first:
        pass
    second = create_run(store, params, "gumbel", "gumbel", {})
    content["train"]["lr"] = 0.5
    other = create_run(store, parse_params(content), "gumbel", "gumbel", {})
    parents = [data(store, run.id).tags[PARENT_ID] for run in (first, second, other)]
    first_end = store.client.get_run(first.id).info.end_time
    assert parents[0] == parents[1] != parents[2]
    parent = store.client.get_run(parents[0])
    assert parent.data.params["train.lr"] == str(params.train.lr)
    assert "noise" not in parent.data.params
    assert parent.info.status == "RUNNING"  # as long as one below it is
    third = create_run(store, params, "uniform", "uniform", {})
    second.finish("FAILED")
    assert store.client.get_run(parents[0]).info.status == "RUNNING"
    third.finish()
    assert store.client.get_run(parents[0]).info.status == "FAILED"
    create_run(store, params, "gumbel", "gumbel", {}).finish()  # tried again
    parent = store.client.get_run(parents[0])
    assert parent.info.status == "FINISHED"
    first.tags({MODEL_TAG: "sha-of-the-first"})
    scored = run_of_model(store, params, "laplace", "sha-of-the-first", "auto")
    assert scored.id == first.id
    scored.finish()
    later = store.client.get_run(parents[0]).info.end_time
    assert later >= store.client.get_run(first.id).info.end_time > first_end
    assert later > parent.info.end_time


def test_a_named_sweep_has_one_parent(store, params, content, monkeypatch):
    monkeypatch.setenv("NGLDM_SWEEP", "learning rates")
    first = create_run(store, params, "laplace", "laplace", {})
    content["train"]["lr"] = 0.5
    second = create_run(store, parse_params(content), "laplace", "laplace", {})
    parents = {data(store, run.id).tags[PARENT_ID] for run in (first, second)}
    assert [store.client.get_run(run_id).info.run_name for run_id in parents] == ["learning rates"]


def test_data_pictures_and_memory_are_recorded(store, params, tmp_path):
    np.save(tmp_path / "train.npy", np.zeros((5, 2, 4, 4), np.float32))
    run = create_run(store, params, "laplace", "laplace", {})
    run.data_input("digits-latents", tmp_path / "train.npy", "f" * 64, "training")
    run.data_input("digits-latents", tmp_path / "train.npy", "f" * 64, "training")  # twice is once
    for step in (10, 20):
        run.picture("training", np.full((6, 8, 1), step, np.uint8), step)
    run.picture("colour", np.zeros((6, 8, 3), np.uint8), 0)
    run.report(report())
    found = store.client.get_run(run.id)
    (data_set,) = found.inputs.dataset_inputs
    assert (data_set.dataset.name, data_set.dataset.digest) == ("digits-latents", "f" * 36)
    assert "[5, 2, 4, 4]" in data_set.dataset.profile
    assert {tag.key: tag.value for tag in data_set.tags} == {"mlflow.data.context": "training"}
    files = [file.path for file in store.client.list_artifacts(run.id, "images")]
    assert {frame(file) for file in files} == {
        ("training", "step", "10"),
        ("training", "step", "20"),
        ("colour", "step", "0"),
    }
    assert found.data.metrics["train.memory_mib"] > 50


def test_the_machines_load_is_recorded(store, params, monkeypatch):
    monkeypatch.setattr("ngldm.pipeline.tracking.runs.SYSTEM_SECONDS", 0.2)
    with training_run(store, params, "laplace", "key") as run:
        time.sleep(1.5)
    assert "system/cpu_utilization_percentage" in data(store, run.id).metrics


def test_a_model_from_dvcs_cache_is_logged_when_it_is_scored(store, params, tmp_path):
    """`dvc pull` restores the file; a fresh store has never seen it."""
    model = make_model(tmp_path / "model.safetensors", "uniform")
    sha = sha256_file(model)
    run = run_of_model(store, params, "uniform", sha, "auto")
    assert ensure_logged(store, run, model, "another-file", "uniform", (8, 8, 1)) is None
    assert ensure_logged(store, run, tmp_path / "missing", sha, "uniform", (8, 8, 1)) is None
    model_id = ensure_logged(store, run, model, sha, "uniform", (8, 8, 1))
    assert logged_model(store, sha) == model_id is not None
    assert ensure_logged(store, run, model, sha, "uniform", (8, 8, 1)) == model_id  # once
    assert len(store.client.search_model_versions("name = 'ngldm-uniform'")) == 1


def test_metrics_are_linked_to_the_logged_model(store, params, tmp_path):
    model = make_model(tmp_path / "model.safetensors", "exponential")
    run = create_run(store, params, "exponential", "exponential", {})
    model_id = log_model(store, run, model, "exponential", (1, 8, 8))
    assert logged_model(store, sha256_file(model)) == model_id
    assert logged_model(store, "unknown") is None
    run.metrics({"fd.auto": 2.0, "fd_std.auto": float("nan")}, 10, model_id)
    found = store.client.get_logged_model(model_id)
    assert [(m.key, m.value, m.step) for m in found.metrics] == [("fd.auto", 2.0, 10)]
    assert found.tags["noise"] == "exponential"
    folder = Path(mlflow.artifacts.download_artifacts(found.artifact_location, dst_path=str(tmp_path / "m")))
    names = {str(file.relative_to(folder)) for file in folder.rglob("*")}
    assert {"code/ngldm/model.py", "requirements.txt", "serving_input_example.json"} <= names
    needed = set((folder / "requirements.txt").read_text().split())
    assert needed == {f"{package}=={version(package)}" for package in REQUIREMENTS}
    assert {"inputs", "outputs", "params"} <= set(yaml.safe_load((folder / "MLmodel").read_text())["signature"])


def test_best_is_served_over_http(store, params, tmp_path):
    """`mlflow models serve` as the README types it: a request in JSON, images in the answer."""
    model = make_model(tmp_path / "model.safetensors", "uniform")
    log_model(store, create_run(store, params, "uniform", "served", {}), model, "served", (1, 8, 8))
    update_best(store, "served", sha256_file(model), 1.0, {"num_images": 1})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", "models:/ngldm-served@best", "--env-manager", "local"]
    uri = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "MLFLOW_DISABLE_TELEMETRY": "true"}
    body = {"dataframe_records": [{"n": 3, "seed": 5}], "params": {"method": "ddim", "num_inference_steps": 4}}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, "-p", str(port), "-w", "1"],
            env={**os.environ, **uri, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, tmp_path / "log")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            images = np.array(json.load(answer)["predictions"], np.uint8)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    expected = load(model, "cpu").sample(3, seed=5, method="ddim", num_inference_steps=4)
    np.testing.assert_array_equal(images, expected)


def wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(log.read_text())


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


def test_previews_leave_the_training_as_it_was(tmp_path):
    trained = load_model(make_model(tmp_path / "model.safetensors"))
    ema = EMA(trained.unet, 0.9)
    before = torch.get_rng_state()
    first, second = (preview(trained, ema, "cpu") for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), before)
    assert not ema.model.training


def test_training_logs_pictures_at_its_evaluations_until_one_fails(store, params, tmp_path, monkeypatch, capsys):
    trained = load_model(make_model(tmp_path / "model.safetensors"))
    ema, run = EMA(trained.unet, 0.9), create_run(store, params, "laplace", "laplace", {})
    tell = reporter(run, trained, ema, "cpu")
    for step, heldout in ((10, None), (20, 0.5), (30, 0.4)):
        ema.updates = 20  # the reports before and after are those that a resumed training repeats
        tell(report(step, heldout))
    assert {frame(f.path)[2] for f in store.client.list_artifacts(run.id, "images")} == {"20"}
    monkeypatch.setattr("ngldm.pipeline.tracking.previews.preview", lambda *args: 1 / 0)
    for step in (40, 50):
        ema.updates = step
        tell(report(step, 0.3))
    assert capsys.readouterr().err.count("warning") == 1
    assert [m.step for m in store.client.get_metric_history(run.id, "train.loss")] == [10, 20, 30, 40, 50]


def test_the_study_is_a_parent_with_a_run_for_each_variant(store, content):
    content["study"] |= {
        "samplers": {"s": {"method": "heun", "num_inference_steps": 5}},
        "variants": {
            "a": {"noise": {"distribution": "laplace"}, "schedule": {"name": "cosine"}},
            "b": {"noise": {"distribution": "gaussian"}},
        },
    }
    about = {"sampler": "s", "sample_seed": 0, "network_calls": 9, "outliers": 0.0}
    rows = [
        {"variant": v, "noise": n, "train_seed": seed, "value": 1.0 + seed, **about}
        for v, n, seeds in (("a", "laplace", 2), ("b", "gaussian", 1))
        for seed in range(seeds)
    ]
    record_study(store, parse_params(content), rows)
    runs = {run.info.run_name: run for run in store.client.search_runs([store.experiment_id])}
    assert {runs[label].data.tags["mlflow.parentRunId"] for label in "ab"} == {runs["study"].info.run_id}
    assert runs["a"].data.params["schedule.name"] == "cosine"
    assert runs["a"].data.metrics == {"fd.s": 1.5, "fd_std_error.s": 0.5, "outliers.s": 0.0}
    assert runs["b"].data.metrics == {"fd.s": 1.0, "outliers.s": 0.0}  # one training: no spread
    assert {run.info.status for label, run in runs.items() if label in ("a", "b", "study")} == {"FINISHED"}
