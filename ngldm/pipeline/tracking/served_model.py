"""The MLflow model: a model file behind `predict`. MLflow stores and runs this file as code, so no pickle is involved.

model = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
images = model.predict({"n": 16, "seed": 0}, params={"method": "ddim", "num_inference_steps": 50})

Without params it is the noise's best known sampler.
"""

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from ngldm.sampling.generator import load

BEST, BEST_STEPS = "best", 0  # MLflow wants a default of each parameter's type
EXAMPLE = ({"n": [2], "seed": [0]}, {"method": BEST, "num_inference_steps": BEST_STEPS})


def signature(image_shape: tuple[int, int, int]) -> ModelSignature:
    """Inputs n and seed; uint8 images (n, H, W, C) out; the sampler as parameters.

    Args:
        image_shape: (C, H, W).
    """
    channels, height, width = image_shape
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.long, "n"), ColSpec(DataType.long, "seed")]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, height, width, channels))]),
        params=ParamSchema(
            [
                ParamSpec("method", DataType.string, BEST),
                ParamSpec("num_inference_steps", DataType.long, BEST_STEPS),
            ]
        ),
    )


class ServedModel(PythonModel):
    """Generates images; see the module's docstring."""

    def load_context(self, context: PythonModelContext) -> None:
        self.generator = load(context.artifacts["bundle"], "cpu")

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Images for each row of (n, seed), one after the other: uint8 (sum of n, H, W, C)."""
        chosen = {key: value for key, value in (params or {}).items() if value not in (BEST, BEST_STEPS)}
        if "num_inference_steps" in chosen:
            longest = self.generator.model.diffusion.schedule.num_train_timesteps
            chosen["num_inference_steps"] = min(chosen["num_inference_steps"], longest)
        rows = zip(model_input["n"], model_input["seed"], strict=True)
        return np.concatenate([self.generator.sample(int(n), int(seed), **chosen) for n, seed in rows])


mlflow.models.set_model(ServedModel())
