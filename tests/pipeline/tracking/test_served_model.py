"""The served model: the same images as the library's, in Python and over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np

from ngldm.io.files import sha256_file
from ngldm.pipeline.tracking.comparison import create_run
from ngldm.pipeline.tracking.models import log_model, update_best
from ngldm.sampling.generator import load


def test_the_registered_model_generates_the_same_images(store, params, tmp_path, write_model):
    model = write_model(tmp_path / "model.safetensors")
    run = create_run(store, params, "laplace", {})
    log_model(store, run, model, "laplace", (1, 8, 8))
    update_best(store, "laplace", sha256_file(model), 1.0, {"n": 1})
    loaded = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
    images = loaded.predict({"n": 3, "seed": 5}, params={"num_inference_steps": 4})
    assert images.shape == (3, 8, 8, 1)
    assert images.dtype == np.uint8
    expected = load(model).sample(3, 5, num_inference_steps=4)
    np.testing.assert_array_equal(images, expected)
    images = loaded.predict({"n": 3, "seed": 5}, params={"method": "ddim", "num_inference_steps": 4})
    expected = load(model).sample(3, 5, method="ddim", num_inference_steps=4)
    np.testing.assert_array_equal(images, expected)


def test_a_model_with_classes_can_be_asked_for_one(store, params, tmp_path, write_model):
    classes = {"names": ["cat", "dog"], "counts": [1, 1], "label_dropout": 0.1}
    model = write_model(tmp_path / "model.safetensors", classes=classes)
    identity = log_model(store, create_run(store, params, "laplace", {}), model, "animals", (1, 8, 8))
    served = mlflow.pyfunc.load_model(f"models:/{identity}").unwrap_python_model()
    asked = []
    served.generator.sample = lambda n, seed, **options: asked.append(options) or np.zeros((n, 8, 8, 1), np.uint8)
    served.predict(None, {"n": [2], "seed": [0]}, {"classes": "dog", "guidance_scale": 2.0})
    assert asked[0]["classes"] == "dog"
    assert asked[0]["guidance_scale"] == 2.0


def test_best_is_served_over_http(store, params, tmp_path, write_model):
    """`mlflow models serve` as the README types it: a request in JSON, images in the answer."""
    model = write_model(tmp_path / "model.safetensors", "uniform")
    log_model(store, create_run(store, params, "uniform", {}), model, "served", (1, 8, 8))
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
    expected = load(model).sample(3, 5, method="ddim", num_inference_steps=4)
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
