"""The MLflow model: a model file with a method `predict`. MLflow stores this file as code, so no pickle is needed.

    model = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
    images = model.predict({"n": 16, "seed": 0}, params={"method": "ddim", "num_inference_steps": 50})

Without params, the best known sampler of the noise is used.
"""

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

from ngldm.pipeline.tracking.models import BEST, BEST_STEPS
from ngldm.sampling.generator import load


class ServedModel(PythonModel):
    """Generates images. The docstring of the module has an example."""

    def load_context(self, context: PythonModelContext) -> None:
        self.generator = load(context.artifacts["bundle"], "cpu")

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """The images of all rows (n, seed), one after the other: uint8 (sum of n, H, W, C)."""
        chosen = {key: value for key, value in (params or {}).items() if value not in (BEST, BEST_STEPS)}
        if "num_inference_steps" in chosen:
            longest = self.generator.model.diffusion.schedule.num_train_timesteps
            chosen["num_inference_steps"] = min(chosen["num_inference_steps"], longest)
        rows = zip(model_input["n"], model_input["seed"], strict=True)
        return np.concatenate([self.generator.sample(int(n), int(seed), **chosen) for n, seed in rows])


mlflow.models.set_model(ServedModel())
