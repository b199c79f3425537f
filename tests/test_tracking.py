"""MLflow: one run per trained distribution, found by content; failures never stop the work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngldm.autoencoder import build_autoencoder
from ngldm.bundle import Bundle, load_bundle
from ngldm.files import sha256_file
from ngldm.generate import best_sampler, generate
from ngldm.plumbing.params import Params, parse_params
from ngldm.plumbing.tracking import MODEL_TAG, Store, flatten, main_root, training_params


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
    Bundle.build(config, build_autoencoder({"kind": "identity"}, (1, 8, 8))).save(path)
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
    class Report:
        def __init__(self) -> None:
            self.step, self.loss, self.heldout_loss = 10, 0.5, None

    with store.training_run(params, "laplace", "key") as run:
        run.report(Report())
    found = store.client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.data.params["train.lr"] == str(params.train.lr)
    assert found.data.params["noise_options.laplace.distribution"] == "laplace"
    assert "samplers" not in found.data.params
    assert found.data.tags["noise"] == "laplace"
    assert found.data.tags["recipe"] == "mini"
    assert found.data.tags["dataset"] == "digits"
    assert found.data.tags["ngldm.fingerprint"] == "key"
    history = store.client.get_metric_history(run.id, "train.loss")
    assert [(m.step, m.value) for m in history] == [(10, 0.5)]
    assert "train.heldout_loss" not in found.data.metrics


def test_git_commit_and_experiment_name_are_tags(store, params, root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_EXP_NAME", "hazy-exp")
    tags = data(store, store.create_run(params, "laplace", "laplace", {}).id).tags
    assert tags["dvc_exp_name"] == "hazy-exp"
    assert len(tags["git_commit"]) == 40


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_off_says_so(store, params, error, status):
    with pytest.raises(error), store.training_run(params, "laplace", "key") as run:
        raise error
    assert store.client.get_run(run.id).info.status == status


def test_scores_go_to_the_run_of_the_model(store, params):
    trained = store.create_run(params, "laplace", "laplace", {MODEL_TAG: "sha-1"})
    other = store.create_run(params, "laplace", "laplace", {MODEL_TAG: "sha-2"})
    for sampler in params.samplers:
        run = store.run_of_model(params, "laplace", "sha-1", sampler)
        run.metrics({f"fd.{sampler}": 1.0})
        assert run.id == trained.id
    assert set(data(store, trained.id).metrics) == {"fd.ancestral", "fd.auto"}
    assert data(store, trained.id).params["sampler_options.auto.num_inference_steps"] == "20"
    assert not data(store, other.id).metrics


def test_scoring_again_with_other_settings_makes_a_run_beside(store, params, content):
    trained = store.create_run(params, "gumbel", "gumbel", {MODEL_TAG: "sha-3"})
    assert store.run_of_model(params, "gumbel", "sha-3", "ddim").id == trained.id
    content["sampler_options"]["ddim"]["eta"] = 0.5
    changed = parse_params(content)
    beside = store.run_of_model(changed, "gumbel", "sha-3", "ddim")
    assert beside.id != trained.id
    assert data(store, beside.id).params["sampler_options.ddim.eta"] == "0.5"
    assert data(store, beside.id).params["train.lr"] == str(params.train.lr)
    assert store.run_of_model(changed, "gumbel", "sha-3", "ddim").id == beside.id
    assert store.run_of_model(params, "gumbel", "sha-3", "ddim").id == trained.id


def test_a_model_without_a_run_gets_one(store, params):
    run = store.run_of_model(params, "uniform", "sha-of-a-cached-model", "ddim")
    assert data(store, run.id).tags[MODEL_TAG] == "sha-of-a-cached-model"


def test_the_registered_model_generates_the_same_images(store, params, tmp_path):
    import mlflow

    model = make_model(tmp_path / "model.safetensors")
    run = store.create_run(params, "laplace", "laplace", {})
    store.log_model(run, model, "laplace", (1, 8, 8))
    store.update_best("laplace", sha256_file(model), 1.0, {"n": 1})
    loaded = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
    images = loaded.predict({"n": 3, "seed": 5}, params={"num_inference_steps": 4})
    assert images.shape == (3, 8, 8, 1)
    assert images.dtype == np.uint8
    best = best_sampler("laplace")
    expected = generate(load_bundle(model), 3, seed=5, **{**best, "num_inference_steps": 4})
    np.testing.assert_array_equal(images, expected)
    images = loaded.predict({"n": 3, "seed": 5}, params={"method": "ddim", "num_inference_steps": 4})
    expected = generate(load_bundle(model), 3, seed=5, method="ddim", num_inference_steps=4)
    np.testing.assert_array_equal(images, expected)


def test_best_moves_only_to_a_lower_score_in_the_same_context(store, params, tmp_path):
    versions = {}
    for name, noise in (("a", "uniform"), ("b", "gumbel")):
        model = make_model(tmp_path / f"{name}.safetensors", noise)
        store.log_model(store.create_run(params, noise, "test", {}), model, "test", (1, 8, 8))
        versions[name] = (sha256_file(model), str(len(versions) + 1))

    def best_after(name: str, score: float, context: dict) -> str:
        store.update_best("test", versions[name][0], score, context)
        return str(store.client.get_model_version_by_alias("ngldm-test", "best").version)

    assert best_after("a", 5.0, {"n": 1}) == "1"
    assert best_after("b", 6.0, {"n": 1}) == "1"
    assert best_after("b", 4.0, {"n": 1}) == "2"
    assert best_after("a", 4.5, {"n": 1}) == "2"


def test_a_broken_store_warns_once_and_work_goes_on(params, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")  # below a file, not a folder
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = Store("ngldm")
    with store.training_run(params, "laplace", "key") as run:
        run.metrics({"loss": 1.0})
        store.log_model(run, make_model(tmp_path / "model.safetensors"), "laplace", (1, 8, 8))
    store.run_of_model(params, "laplace", "sha", "ddim").tags({"a": "b"})
    assert capsys.readouterr().err.count("warning: MLflow failed") == 1


def test_a_store_that_fails_midway_warns_once(store, params, monkeypatch, capsys):
    run = store.create_run(params, "laplace", "laplace", {})

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
    store.record_study(parse_params(content), rows)
    runs = {run.info.run_name: run for run in store.client.search_runs([store.experiment_id])}
    assert {runs[label].data.tags["mlflow.parentRunId"] for label in "ab"} == {runs["study"].info.run_id}
    assert runs["a"].data.params["schedule.name"] == "cosine"
    assert runs["a"].data.metrics == {"fd.s": 1.5, "fd_std_error.s": 0.5, "outliers.s": 0.0}
    assert runs["b"].data.metrics == {"fd.s": 1.0, "outliers.s": 0.0}  # one training: no spread
    assert {run.info.status for label, run in runs.items() if label in ("a", "b", "study")} == {"FINISHED"}
