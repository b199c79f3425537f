"""What the served model refuses: each request says why, and none is met with other options than it asked for."""

import logging
import math

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from ngldm.pipeline.tracking.comparison import create_run
from ngldm.pipeline.tracking.models import log_model
from ngldm.sampling.generator import load
from ngldm.sampling.names import COMMON_OPTIONS, SAMPLER_OPTIONS


@pytest.fixture(scope="module")
def made():
    return {}


@pytest.fixture
def served(made, store, params, write_model, folder):
    """The loaded model and its file: logged once for the module."""
    if not made:
        file = write_model(folder / "refusals.safetensors")
        identity = log_model(store, create_run(store, params, "laplace", {}), file, "refusals", (1, 8, 8))
        made.update(model=mlflow.pyfunc.load_model(f"models:/{identity}"), file=file)
    return made["model"], made["file"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ata": 0.5}, ["ata", "eta"]),
        ({"steps": 4, "num_inference_steps": 4}, ["steps", "num_inference_steps"]),
        ({"method": "euler"}, ["euler", "ddim"]),
        ({"method": "auto"}, ["auto", "ddim"]),
        ({"method": "heun", "num_inference_steps": 4, "eta": 0.5}, ["eta", "heun"]),
        ({"method": "ddim", "num_inference_steps": 4, "refresh": 0.5}, ["refresh", "ddim"]),
        ({"num_inference_steps": 21}, ["num_inference_steps", "21", "20"]),
        ({"num_inference_steps": 0}, ["num_inference_steps", "0", "1"]),
        ({"num_inference_steps": 2.5}, ["num_inference_steps", "2.5"]),
        ({"method": "ddim", "num_inference_steps": 4, "eta": "much"}, ["eta", "much"]),
        ({"timestep_spacing": "cubic"}, ["timestep_spacing", "cubic", "karras"]),
        ({"start_noise": "pink"}, ["start_noise", "pink", "gaussian"]),
        ({"classes": "cat"}, ["classes", "the model has no classes"]),
    ],
)
def test_params_are_met_or_refused_by_name(served, options, words):
    with pytest.raises(MlflowException) as refused:
        served[0].predict({"n": 1, "seed": 0}, params=options)
    assert refused.value.get_http_status_code() == 400
    for word in words:
        assert word in refused.value.message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"n": [0], "seed": [0]}, ["n: 0", "at least 1"]),
        ({"n": [-1], "seed": [0]}, ["n: -1"]),
        ({"n": [2, 0], "seed": [0, 1]}, ["n: 0"]),
        ({"n": [1001], "seed": [0]}, ["1001", "1000"]),
        ({"n": [600, 600], "seed": [0, 1]}, ["1200", "1000"]),
        ({"n": [1.5], "seed": [0]}, ["'n'", "float"]),
        ({"n": [math.nan], "seed": [0]}, ["'n'", "float"]),
        ({"n": ["two"], "seed": [0]}, ["'n'", "int64"]),
        ({"n": [1], "seed": [-1]}, ["seed", "-1"]),
        ({"n": [1], "seed": [0.5]}, ["'seed'", "float"]),
        ({"n": [1]}, ["seed"]),
    ],
)
def test_numbers_of_images_and_seeds_are_whole_and_in_range(served, rows, words):
    with pytest.raises(MlflowException) as refused:
        served[0].predict({key: np.array(values) for key, values in rows.items()})
    assert refused.value.get_http_status_code() == 400
    for word in words:
        assert word in refused.value.message


@pytest.mark.parametrize(
    "options",
    [
        {"method": "ddim", "num_inference_steps": 4, "eta": 1.0},
        {"method": "ddim", "num_inference_steps": 4, "eta": 0.0, "timestep_spacing": "quadratic"},
        {"method": "ancestral", "num_inference_steps": 4, "variance": "posterior", "step_noise": "gaussian"},
        {"method": "posterior", "num_inference_steps": 4, "refresh": 0.3},
        {"method": "dpmpp_2m", "num_inference_steps": 4, "timestep_spacing": "karras", "sigma_max": 9.0},
        {"num_inference_steps": 20, "x0_handling": "clip", "x0_limit": 0.5, "start_noise": "gaussian"},
    ],
)
def test_every_option_reaches_the_sampler(served, options):
    model, file = served
    expected = load(file).sample(3, 5, **options)
    np.testing.assert_array_equal(model.predict({"n": 3, "seed": 5}, params=options), expected)


def test_the_signature_names_every_option_of_every_sampler(served):
    """As `ngldm generate` and params.yaml have them."""
    all_options = {*COMMON_OPTIONS, *(option for own in SAMPLER_OPTIONS.values() for option in own)}
    assert {spec.name for spec in served[0].metadata.get_params_schema()} == all_options | {"classes"}


def test_a_model_of_others_in_the_same_process_keeps_mlflow_s_way(served, tmp_path):
    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return params

    inputs, params = Schema([ColSpec(DataType.long, "n")]), ParamSchema([ParamSpec("method", DataType.string, "a")])
    signature = ModelSignature(inputs=inputs, params=params)
    mlflow.pyfunc.save_model(tmp_path / "echo", python_model=Echo(), signature=signature, pip_requirements=[])
    echo = mlflow.pyfunc.load_model(str(tmp_path / "echo"))
    assert echo.predict({"n": np.array([1])}, params={"ata": 1, "method": "b"}) == {"method": "b"}


def test_a_silent_log_hides_no_unknown_param(served):
    """As with MLFLOW_LOGGING_LEVEL=ERROR."""
    log = logging.getLogger("mlflow")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with pytest.raises(MlflowException, match="ata"):
            served[0].predict({"n": 1, "seed": 0}, params={"ata": 0.5})
    finally:
        log.setLevel(before)


def test_numbers_of_images_whose_sum_leaves_64_bits_are_refused(served):
    """2^64 + 5 images: the sum of int64 would be 5."""
    rows = {"n": np.array([2**62, 2**62, 2**62, 2**62 + 5]), "seed": np.arange(4)}
    with pytest.raises(MlflowException, match="1000"):
        served[0].predict(rows)
