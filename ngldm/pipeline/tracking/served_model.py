"""The MLflow model: a model file with a method `predict`. MLflow stores this file as code, so no pickle is needed.

    model = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
    images = model.predict({"n": 16, "seed": 0}, params={"method": "ddim", "num_inference_steps": 50})

Without params, the best known sampler of the noise is used. If a request has an option or a number that is not
allowed, or a request takes longer than NGLDM_MAX_SECONDS (600), the answer is an error with the reason (over HTTP:
status 400).
"""

import logging
import time
from collections.abc import Collection

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from ngldm.io.errors import InputError, require_whole
from ngldm.io.limits import limit
from ngldm.sampling.best import RequestSettings
from ngldm.sampling.generator import load

MAX_CALLS = 2_000_000  # images times steps of one request: 1000 images of 2000 steps
MAX_IMAGES = 1000  # of one request, in all rows together; the answer is JSON, which is large
OPTIONS = tuple(RequestSettings.__annotations__)


def refuse_unknown(record: logging.LogRecord) -> bool:
    """A filter for MLflow's log. It raises an error if MLflow warns of unknown params of our models.

    MLflow removes unknown params before it calls `predict`. This warning is the only sign of them.
    """
    text = record.getMessage()
    if text.startswith("Unrecognized params") and all(repr(option) in text for option in OPTIONS):
        names = text.partition("[")[2].partition("]")[0]
        raise MlflowException.invalid_parameter_value(f"params: unknown {names}; choose among: {', '.join(OPTIONS)}")
    return True


class ServedModel(PythonModel):
    """Generates images. The docstring of the module has an example."""

    def load_context(self, context: PythonModelContext) -> None:
        self.generator = load(context.artifacts["bundle"], "cpu")
        log = logging.getLogger("mlflow.models.utils")
        log.addFilter(refuse_unknown)
        log.setLevel(logging.WARNING)  # else MLFLOW_LOGGING_LEVEL=ERROR would turn the filter off

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Images of all rows (n, seed), in the order of the rows: uint8 (sum of n, H, W, C).

        Raises:
            MlflowException: an option or a seed is not allowed, a row has an n below 1, or all rows together have more
                than `MAX_IMAGES` images.
        """
        clock, seconds = time.monotonic(), limit("NGLDM_MAX_SECONDS")

        def in_time(count: int) -> None:
            if time.monotonic() - clock > seconds:
                raise InputError(f"n, num_inference_steps: not done after {seconds} s; ask for fewer images or steps")

        chosen = {key: value for key, value in (params or {}).items() if value is not None}
        try:
            rows = _rows(model_input["n"], model_input["seed"])
            calls = sum(n for n, _ in rows) * self.generator.options(**chosen).num_inference_steps
            if calls > MAX_CALLS:
                raise InputError(f"n, num_inference_steps: {calls} steps of images in one request, at most {MAX_CALLS}")
            return np.concatenate([self.generator.sample(n, seed, progress=in_time, **chosen) for n, seed in rows])
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _rows(counts: Collection[object], seeds: Collection[object]) -> list[tuple[int, int]]:
    """Number of images and seed of each row.

    Raises:
        InputError: one is no whole number or below 1, or there are too many.
    """
    if len(counts) > MAX_IMAGES:
        raise InputError(f"n: {len(counts)} rows in one request, at most {MAX_IMAGES}")
    pairs = zip(counts, seeds, strict=True)
    rows = [(require_whole("n", _whole(n), 1), require_whole("seed", _whole(seed), 0)) for n, seed in pairs]
    if not 1 <= (total := sum(n for n, _ in rows)) <= MAX_IMAGES:
        raise InputError(f"n: {total} images in one request; must be 1 to {MAX_IMAGES}")
    return rows


def _whole(number: object) -> object:
    """A whole number that came as a float, as JSON's may."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


mlflow.models.set_model(ServedModel())
