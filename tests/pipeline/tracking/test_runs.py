"""What is written to one run."""

import time
from dataclasses import replace

import numpy as np

from ngldm.pipeline.tracking.comparison import (
    create_run,
    training_run,
)


def test_data_pictures_and_memory_are_recorded(store, params, tmp_path, report, frames):
    items = np.zeros((5, 2, 4, 4), np.float32)
    run = create_run(store, params, "laplace", {})
    run.data_input("digits-latents", tmp_path / "train.npy", items, "f" * 64, "training")
    run.data_input("digits-latents", tmp_path / "train.npy", items, "f" * 64, "training")  # twice is once
    for step in (10, 20):
        run.picture("training", np.full((6, 8, 1), step, np.uint8), step)
    run.picture("colour", np.zeros((6, 8, 3), np.uint8), 0)
    run.report(replace(report(), parts=2))
    run.report(replace(report(), parts=4))  # a training that goes on elsewhere
    found = store.client.get_run(run.id)
    (data_set,) = found.inputs.dataset_inputs
    assert (data_set.dataset.name, data_set.dataset.digest) == ("digits-latents", "f" * 36)
    assert "[5, 2, 4, 4]" in data_set.dataset.profile
    assert {tag.key: tag.value for tag in data_set.tags} == {"mlflow.data.context": "training"}
    assert frames(run) == {("training", 10), ("training", 20), ("colour", 0)}
    assert found.data.metrics["train.memory_mib"] > 50
    assert found.data.metrics["train.accumulate_steps.found"] == 4.0
    assert "train.parts" not in found.data.metrics


def test_the_machines_load_is_recorded(store, params, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with training_run(store, params, "laplace", "key") as run:
        time.sleep(1.5)
    found = store.client.get_run(run.id).data.metrics
    assert "system/cpu_utilization_percentage" in found
    assert not [key for key in found if "disk" in key or "network" in key]
