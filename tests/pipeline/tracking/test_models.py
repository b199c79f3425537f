"""Models in MLflow: logged, registered, the best one marked."""

from importlib.metadata import version
from pathlib import Path

import mlflow
import yaml

from ngldm.io.files import sha256_file
from ngldm.pipeline.tracking.comparison import (
    create_run,
    run_of_model,
)
from ngldm.pipeline.tracking.models import REQUIREMENTS, ensure_logged, log_model, logged_model, update_best


def test_best_moves_only_to_a_lower_score_in_the_same_context(store, params, tmp_path, capsys, write_model):
    versions = {}
    for name, noise in (("a", "uniform"), ("b", "gumbel")):
        model = write_model(tmp_path / f"{name}.safetensors", noise)
        log_model(store, create_run(store, params, noise, {}), model, "test", (1, 8, 8))
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


def test_a_model_from_dvcs_cache_is_logged_when_it_is_scored(store, params, tmp_path, write_model):
    """`dvc pull` restores the file; a fresh store has never seen it."""
    model = write_model(tmp_path / "model.safetensors", "uniform", spread=0.1)  # no other test logs it
    sha = sha256_file(model)
    run = run_of_model(store, params, "uniform", sha, "auto")
    assert ensure_logged(store, run, model, "another-file", "uniform", (1, 8, 8)) is None
    assert ensure_logged(store, run, tmp_path / "missing", sha, "uniform", (1, 8, 8)) is None
    model_id = ensure_logged(store, run, model, sha, "uniform", (1, 8, 8))
    assert logged_model(store, sha) == model_id is not None
    assert ensure_logged(store, run, model, sha, "uniform", (1, 8, 8)) == model_id  # once
    assert len(store.client.search_model_versions("name = 'ngldm-uniform'")) == 1


def test_metrics_are_linked_to_the_logged_model(store, params, tmp_path, write_model):
    model = write_model(tmp_path / "model.safetensors", "exponential")
    run = create_run(store, params, "exponential", {})
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
