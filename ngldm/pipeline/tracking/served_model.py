"""The MLflow model: a bundle behind `predict`. MLflow stores and runs this file as code, so that no pickle is involved.

model = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
images = model.predict({"n": 16, "seed": 0}, params={"method": "ddim", "num_inference_steps": 50})

Without params it is the noise's best known sampler.
"""

from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from ngldm.model import load_model
from ngldm.sampling.best import best_sampler
from ngldm.sampling.generator import generate

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


class Generator(PythonModel):
    """Generates images; see the module's docstring."""

    def load_context(self, context: PythonModelContext) -> None:
        self.bundle = load_model(Path(context.artifacts["bundle"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Images for each row of (n, seed), one after the other: uint8 (sum of n, H, W, C)."""
        longest = self.bundle.schedule.num_train_timesteps
        options = best_sampler(self.bundle.noise.name, longest)
        chosen = {key: value for key, value in (params or {}).items() if value not in (BEST, BEST_STEPS)}
        if "method" in chosen:  # another algorithm than the best one, whose own settings do not carry over
            options = {"num_inference_steps": options["num_inference_steps"]}
        options |= chosen
        options["num_inference_steps"] = min(options["num_inference_steps"], longest)
        rows = zip(model_input["n"], model_input["seed"], strict=True)
        images = [generate(self.bundle, int(n), seed=int(seed), **options) for n, seed in rows]
        return np.concatenate(images)


mlflow.models.set_model(Generator())
