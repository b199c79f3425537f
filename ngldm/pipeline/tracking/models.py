"""Trained models in MLflow: logged so that they can be served, registered as ngldm-<noise>, the best one marked."""

import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, get_type_hints

import torch

import ngldm
from ngldm.io.files import fingerprint, sha256_file
from ngldm.io.tensors import to_items
from ngldm.pipeline.tracking.care.journal import Journal
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.store import MODEL_TAG, Store
from ngldm.sampling.best import RequestSettings

COUNT_TAG = "ngldm.scored_images"
EXAMPLE = ({"n": [2], "seed": [0]}, {"method": "ddim", "num_inference_steps": 5})
REQUIREMENTS = ("torch", "numpy", "safetensors", "scikit-learn", "accelerate", "mlflow")


def registered_name(noise: str) -> str:
    return f"ngldm-{noise}"


def signature(shape: tuple[int, ...]) -> Any:
    """Signature of the served model. Inputs: n and seed. Params: all sampling options, and a class.

    Output: n images, uint8 (n, H, W, C), or n points, float32 (n, d). A param that is not given is None, and then
    `ngldm.sampling.options.SamplingOptions.choose` sets it.

    Args:
        shape: of one item: (C, H, W) of images, (d,) of points.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    items = to_items(torch.empty(0, *shape))
    types = {str: DataType.string, int: DataType.long, float: DataType.double}
    options = [ParamSpec(key, types[kind], None) for key, kind in get_type_hints(RequestSettings).items()]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.long, "n"), ColSpec(DataType.long, "seed")]),
        outputs=Schema([TensorSpec(items.dtype, (-1, *items.shape[1:]))]),
        params=ParamSchema(options),
    )


def log_model(store: Store, run: Run, file: Path, noise: str, shape: tuple[int, ...]) -> str | None:
    """Log the model file as a pyfunc and register it. Run, model and version get its SHA-256 as a tag.

    Args:
        shape: of one item: (C, H, W) of images, (d,) of points.

    Returns:
        Id of the logged model, with which metrics are linked to it. None if the store has failed.
    """
    sha = sha256_file(file)
    run.tags({MODEL_TAG: sha})
    if not run.alive:
        return None

    def log(client: Any) -> str | None:
        if isinstance(client, Journal):
            about = {"file": str(file.resolve()), "sha": sha, "noise": noise, "shape": list(shape)}
            client.call("ensure_logged", run=run.id, **about)
            return None
        import mlflow

        package = Path(ngldm.__file__).parent
        with mlflow.start_run(run_id=run.id), warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")  # long advice on type hints, for each model
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(package / "pipeline" / "tracking" / "served_model.py"),
                artifacts={"bundle": str(file)},
                code_paths=[str(package)],
                signature=signature(shape),
                input_example=EXAMPLE,
                pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
                registered_model_name=registered_name(noise),
                tags={MODEL_TAG: sha, "noise": noise},
            )
        number = str(info.registered_model_version)
        client.set_model_version_tag(registered_name(noise), number, MODEL_TAG, sha)
        text = f"Latent diffusion with {noise} noise: a version for each training; `best` has the lowest distance."
        client.update_registered_model(registered_name(noise), text)
        found: str = info.model_id
        return found

    return store.ask(log, patient=True)


def logged_model(store: Store, sha: str) -> str | None:
    """Id of the newest logged model whose file has that SHA-256; None if there is none."""

    def find(client: Any) -> str | None:
        found = client.search_logged_models(
            [store.experiment_id],
            f"tags.`{MODEL_TAG}` = '{sha}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
            max_results=1,
        )
        return found[0].model_id if found else None

    return store.ask(find)


def ensure_logged(store: Store, run: Run, file: Path, sha: str, noise: str, shape: tuple[int, ...]) -> str | None:
    """Id of the logged model whose file has that SHA-256. If there is none, the model is logged now.

    A model is not logged yet if it came from DVC's cache and not from a training with this store.

    Args:
        file: the model file. It is logged only if its SHA-256 is `sha`.
        shape: of one item: (C, H, W) of images, (d,) of points.
    """
    found = logged_model(store, sha)
    if found is None and run.alive and file.is_file() and sha256_file(file) == sha:
        found = log_model(store, run, file, noise, shape)
    return found


def update_best(store: Store, noise: str, sha: str, score: float, context: Mapping[str, Any]) -> None:
    """Move the alias `best` of ngldm-<noise> to this model if its score is lower in the same context.

    Scores on other data, by another extractor or of another number of images cannot be compared. Then the alias stays,
    and a printed line says so. There is one exception: on the same data, a model with a score of more images replaces
    one with a score of fewer images (recipe smoke gives such scores).

    Args:
        sha: SHA-256 of the model file.
        score: Frechet distance; lower is better.
        context: what must be equal if scores are compared: `dataset_sha256`, the extractor's weights, `num_images`.
    """

    def update(client: Any) -> None:
        if isinstance(client, Journal):
            client.call("update_best", noise=noise, sha=sha, score=score, context=dict(context))
        else:
            _update_best(client, registered_name(noise), sha, score, context)

    store.ask(update)


def _update_best(client: Any, name: str, sha: str, score: float, context: Mapping[str, Any]) -> None:
    key, count = f"ngldm.score.{fingerprint(context)[:12]}", int(context.get("num_images", 0))
    scored = f"{COUNT_TAG}.{str(context.get('dataset_sha256', ''))[:12]}"  # tag: images of the largest score here
    versions = client.search_model_versions(f"name = '{name}'")
    mine = [v for v in versions if v.tags.get(MODEL_TAG) == sha]
    if not mine:
        return
    newest = max(mine, key=lambda v: int(v.version))
    own = min(score, float(newest.tags.get(key, "inf")))
    client.set_model_version_tag(name, newest.version, key, str(own))
    client.set_model_version_tag(name, newest.version, scored, str(max(count, int(newest.tags.get(scored, "0")))))
    alias = client.get_registered_model(name).aliases.get("best")
    best = next((v for v in versions if str(v.version) == str(alias)), None)
    if best is not None and best.version == newest.version:
        return
    more = best is not None and scored in best.tags and count > int(best.tags[scored])
    if best is None or (own < float(best.tags[key]) if key in best.tags else more):
        client.set_registered_model_alias(name, "best", newest.version)
    elif key not in best.tags:
        print(
            f"{name}@best stays at version {best.version}, scored on other data or by another extractor; "
            f"this is version {newest.version} (docs/tracking.md says how to move the alias)"
        )
