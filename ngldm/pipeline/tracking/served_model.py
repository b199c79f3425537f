"""The MLflow model: a model file with a method `predict`. MLflow stores this file as code, so no pickle is needed.

    model = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
    images = model.predict({"n": 16, "seed": 0}, params={"method": "ddim", "num_inference_steps": 50})

Without params, the best known sampler of the noise is used. If a request has an option or a number that is not
allowed, the answer is an error with the reason (over HTTP: status 400).
"""

import logging

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from ngldm.io.errors import InputError
from ngldm.sampling.best import SamplerSettings
from ngldm.sampling.generator import load

MAX_IMAGES = 1000  # of one request, in all rows together; the answer is JSON, which is large
OPTIONS = tuple(SamplerSettings.__annotations__)


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
        chosen = {key: value for key, value in (params or {}).items() if value is not None}
        rows = [(int(n), int(seed)) for n, seed in zip(model_input["n"], model_input["seed"], strict=True)]
        try:
            _require_counts([n for n, _ in rows])
            return np.concatenate([self.generator.sample(n, seed, **chosen) for n, seed in rows])
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _require_counts(counts: list[int]) -> None:
    for count in counts:
        if count < 1:
            raise InputError(f"n: {count} must be at least 1")
    if not 1 <= sum(counts) <= MAX_IMAGES:
        raise InputError(f"n: {sum(counts)} images in one request; must be 1 to {MAX_IMAGES}")


mlflow.models.set_model(ServedModel())
