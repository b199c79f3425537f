"""The MLflow model: a bundle behind `predict`. MLflow stores and runs this file as code, so that no pickle is involved.

model = mlflow.pyfunc.load_model("models:/ngldm-laplace@best")
images = model.predict({"n": 16, "seed": 0}, params={"method": "ddim", "num_inference_steps": 50})

Without params it is the noise's best known sampler.
"""

from pathlib import Path

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

from ngldm.model import load_model
from ngldm.pipeline.tracking.models import BEST, BEST_STEPS
from ngldm.sampling.best import best_sampler
from ngldm.sampling.generator import generate


class Generator(PythonModel):
    """Generates images; see the module's docstring."""

    def load_context(self, context: PythonModelContext) -> None:
        self.bundle = load_model(Path(context.artifacts["bundle"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Images for each row of (n, seed), one after the other: uint8 (sum of n, H, W, C)."""
        longest = self.bundle.schedule.num_train_timesteps
        options = dict(best_sampler(self.bundle.noise.name, longest))
        chosen = {key: value for key, value in (params or {}).items() if value not in (BEST, BEST_STEPS)}
        if "method" in chosen:  # another algorithm than the best one, whose own settings do not carry over
            options = {"num_inference_steps": options["num_inference_steps"]}
        options |= chosen
        options["num_inference_steps"] = min(options["num_inference_steps"], longest)
        rows = zip(model_input["n"], model_input["seed"], strict=True)
        images = [generate(self.bundle, int(n), seed=int(seed), **options) for n, seed in rows]
        return np.concatenate(images)


mlflow.models.set_model(Generator())
