"""Which MLflow run is whose: found by content."""

import shutil
import time
from typing import Any

import pytest

from ngldm.pipeline import workspace
from ngldm.pipeline.cli.runs.compare import COMPARABLE
from ngldm.pipeline.colours import style
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.tracking.comparison import (
    PARENT_ID,
    create_run,
    record_study,
    run_of_model,
    training_params,
    training_run,
)
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG, MODEL_TAG, Store


def data(store: Store, run_id: str | None) -> Any:
    return store.client.get_run(run_id).data


def test_a_training_run_has_params_tags_and_step_metrics(store, params, report):
    with training_run(store, params, "laplace", "key") as run:
        run.report(report())
    found = store.client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.data.params["train.lr"] == str(params.train.lr)
    assert {key: value for key, value in found.data.params.items() if key.startswith("noise")} == {"noise": "laplace"}
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
    tags = data(store, create_run(store, params, "laplace", {}).id).tags
    assert tags["dvc_exp_name"] == "hazy-exp"
    assert len(tags["git_commit"]) == 40
    assert tags["mlflow.source.git.commit"] == tags["git_commit"]
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("stages/train.py", "LOCAL")
    assert tags["mlflow.user"]
    assert "`dvc exp apply hazy-exp`" in tags["mlflow.note.content"]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_off_says_so(store, params, error, status):
    with pytest.raises(error), training_run(store, params, "laplace", "key") as run:
        raise error
    assert store.client.get_run(run.id).info.status == status


def test_scores_go_to_the_run_of_the_model(store, params):
    trained = create_run(store, params, "laplace", {MODEL_TAG: "sha-1"})
    other = create_run(store, params, "laplace", {MODEL_TAG: "sha-2"})
    for sampler in params.samplers:
        run = run_of_model(store, params, "laplace", "sha-1", sampler)
        run.metrics({f"fd.{sampler}": 1.0})
        assert run.id == trained.id
    assert set(data(store, trained.id).metrics) == {"fd.ancestral", "fd.auto"}
    assert data(store, trained.id).params["sampler_options.auto.num_inference_steps"] == "20"
    assert not data(store, other.id).metrics


def test_scoring_again_with_other_settings_makes_a_run_beside(store, params, content):
    trained = create_run(store, params, "gumbel", {MODEL_TAG: "sha-3"})
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


def test_training_params_are_what_a_model_depends_on(params):
    assert set(training_params(params, "laplace")) == {
        "seed",
        "dataset",
        "autoencoder",
        "latents",
        "schedule",
        "diffusion",
        "network",
        "unet",
        "mlp",
        "train",
        "noise",
    }


def test_trainings_that_share_all_but_the_noise_have_one_parent(store, params, content):
    with training_run(store, params, "laplace", "key") as first:
        pass
    second = create_run(store, params, "gumbel", {})
    content["train"]["lr"] = 0.5
    other = create_run(store, parse_params(content), "gumbel", {})
    parents = [data(store, run.id).tags[PARENT_ID] for run in (first, second, other)]
    assert parents[0] == parents[1] != parents[2]
    parent = store.client.get_run(parents[0])
    assert parent.data.params["train.lr"] == str(params.train.lr)
    assert "noise" not in parent.data.params
    assert parent.info.status == "RUNNING"  # as long as one below it is
    third = create_run(store, params, "uniform", {})
    second.finish("FAILED")
    assert store.client.get_run(parents[0]).info.status == "RUNNING"
    third.finish()
    assert store.client.get_run(parents[0]).info.status == "FAILED"
    create_run(store, params, "gumbel", {}).finish()  # tried again
    parent = store.client.get_run(parents[0])
    assert parent.info.status == "FINISHED"
    first.tags({MODEL_TAG: "sha-of-the-first"})
    scored = run_of_model(store, params, "laplace", "sha-of-the-first", "auto")
    assert scored.id == first.id
    before = store.client.get_run(first.id).info
    scored.finish()
    assert store.client.get_run(first.id).info.end_time == before.end_time  # scoring is not part of a training
    ends = [run.info.end_time or 0 for run in store.client.search_runs(["1"], f"tags.`{PARENT_ID}` = '{parents[0]}'")]
    assert store.client.get_run(parents[0]).info.end_time == max(ends)


def test_a_run_lasts_as_long_as_its_training(store, params, monkeypatch):
    with training_run(store, params, "laplace", "key") as run:
        time.sleep(0.2)
        run.seconds = 0.05
        store.client.set_terminated(run.id)  # as MLflow does when the model is logged
    assert lasted(store, run.id) == pytest.approx(0.05, abs=2e-3)
    file = workspace.metrics("train", "laplace")
    file.parent.mkdir(parents=True)
    file.write_text('{"train_seconds": 1234.5}')
    cached = run_of_model(store, params, "laplace", "sha-of-an-older-training", "auto")
    cached.finish()
    assert lasted(store, cached.id) == pytest.approx(1234.5, abs=2e-3)


def lasted(store: Store, run_id: str | None) -> float:
    about = store.client.get_run(run_id).info
    return (about.end_time - about.start_time) / 1000


def test_the_name_says_what_differs_from_the_recipe(store, content, root, folder, monkeypatch):
    shutil.copytree(root / "conf", folder / "conf", dirs_exist_ok=True)
    content["train"]["lr"] = 2e-4
    content["noise_options"]["laplace"] = {"distribution": "student_t", "df": 5.0}
    params = parse_params({**content, "seeds": [0, 3]})
    plain = create_run(store, parse_params(content | {"train": {**content["train"], "lr": 3e-3}}), "gumbel", {})
    run = create_run(store, params, "laplace-s3", {})
    shutil.rmtree(folder / "conf")
    assert store.client.get_run(plain.id).info.run_name == "gumbel"
    found = store.client.get_run(run.id)
    assert found.info.run_name == "laplace-s3 noise=student_t noise.df=5 lr=2e-4"
    assert "`train.lr=0.0002`" in found.data.tags["mlflow.note.content"]
    assert "python -m stages.train --noise laplace-s3" in found.data.tags["mlflow.note.content"]
    assert (found.data.params["noise"], found.data.params["noise.df"]) == ("laplace", "5.0")
    parent = store.client.get_run(found.data.tags[PARENT_ID])
    assert parent.info.run_name == "mini digits lr=2e-4"


def test_a_named_sweep_has_one_parent(store, params, content, monkeypatch):
    monkeypatch.setenv("NGLDM_SWEEP", "learning rates")
    first = create_run(store, params, "laplace", {})
    content["train"]["lr"] = 0.5
    second = create_run(store, parse_params(content), "laplace", {})
    parents = {data(store, run.id).tags[PARENT_ID] for run in (first, second)}
    assert [store.client.get_run(run_id).info.run_name for run_id in parents] == ["learning rates"]


def test_the_study_is_a_parent_with_a_run_for_each_variant(store, content):
    content["study"] |= {
        "samplers": {"s": {"method": "heun", "num_inference_steps": 5}},
        "variants": {
            "a": {"noise": {"distribution": "laplace"}, "schedule": {"name": "cosine"}},
            "b": {"noise": {"distribution": "gaussian"}},
        },
    }
    about = {"sampler": "s", "sample_seed": 0, "network_calls": 9, "outliers": 0.0, "further": {}}
    rows = [
        {"variant": v, "noise": n, "train_seed": seed, "value": 1.0 + seed, **about}
        for v, n, seeds in (("a", "laplace", 2), ("b", "gaussian", 1))
        for seed in range(seeds)
    ]
    about_reference = {"dataset_sha256": "d" * 64, "weights_sha256": "e" * 64}
    record_study(store, parse_params(content), rows, about_reference)
    runs = {run.info.run_name: run for run in store.client.search_runs([store.experiment_id])}
    assert {runs[label].data.tags["mlflow.parentRunId"] for label in "ab"} == {runs["study"].info.run_id}
    assert runs["a"].data.params["schedule.name"] == "cosine"
    conditions = {**runs["a"].data.tags, **runs["a"].data.params}
    assert all(key in conditions for key in COMPARABLE)  # `ngldm compare` marks a best only if all are known
    assert (conditions[DATA_TAG], conditions[EXTRACTOR_TAG]) == ("d" * 64, "e" * 64)
    assert runs["a"].data.metrics == {"fd.s": 1.5, "fd_std_error.s": 0.5, "outliers.s": 0.0}
    assert runs["b"].data.metrics == {"fd.s": 1.0, "outliers.s": 0.0}  # one training: no spread
    assert {run.info.status for label, run in runs.items() if label in ("a", "b", "study")} == {"FINISHED"}
