"""Which MLflow run is whose: a parent per comparison, below it a run per trained distribution.

Everything is found by content, so that no run id has to travel through DVC's outputs and change their hashes: a run by
the SHA-256 of its model file, a parent by the fingerprint of what its trainings share, both kept as tags. A model
scored again with other sampler settings gets a run of its own beside the first, since MLflow's params cannot change.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ngldm.io.files import fingerprint
from ngldm.pipeline.colours import style
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.report.study import summarise
from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import MODEL_TAG, Store, one_at_a_time
from ngldm.sampling.best import resolve_sampler

SAMPLE_TAG, PARENT_TAG = "ngldm.sample_key", "ngldm.comparison"
TRAINING_SECTIONS = ("seed", "dataset", "autoencoder", "latents", "schedule", "diffusion", "unet", "train")


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def comparison(store: Store, params: Params) -> Run:
    """The parent of all trainings that share everything but their noise, or of NGLDM_SWEEP's; made if need be."""
    sweep = os.environ.get("NGLDM_SWEEP")
    shared = params.model_dump(include=set(TRAINING_SECTIONS))
    key = fingerprint(["sweep", sweep] if sweep else shared)[:16]

    def find_or_make(client: Any) -> str | None:
        with one_at_a_time():
            found = client.search_runs([store.experiment_id], f"tags.`{PARENT_TAG}` = '{key}'", max_results=1)
            if found:
                client.update_run(found[0].info.run_id, status="RUNNING")
                existing: str = found[0].info.run_id
                return existing
            tags = {PARENT_TAG: key, "recipe": params.recipe, "dataset": params.dataset.name, **_commit_tags()}
            name = sweep or f"{params.recipe} {params.dataset.name} {key[:6]}"
            run_id = store.create_run(name, tags)
            if not sweep:
                Run(store, run_id).params(flatten(shared))
            return run_id

    return Run(store, store.ask(find_or_make))


def create_run(store: Store, params: Params, noise: str, name: str, tags: Mapping[str, str]) -> Run:
    """A new run with the training's params and the tags that say where it comes from."""
    parent = comparison(store, params)
    if parent.id is None:
        return Run(store, None)
    all_tags = {**_origin_tags(params, noise), PARENT_ID: parent.id, **tags}
    run = Run(store, store.create_run(name, all_tags), parent)
    run.params({"noise": noise, **flatten(training_params(params, noise))})
    return run


@contextmanager
def training_run(store: Store, params: Params, noise: str, key: str) -> Iterator[Run]:
    """A new run for one training, ended as FINISHED, or as FAILED or KILLED if the block raises.

    Args:
        key: the training's fingerprint, kept as a tag.
    """
    run = create_run(store, params, noise, noise, {"ngldm.fingerprint": key})
    try:
        with run.system_metrics():
            yield run
    except BaseException as error:
        run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.finish()


def run_of_model(store: Store, params: Params, noise: str, sha: str, sampler: str) -> Run:
    """The run to which a model's scores belong: the one that trained it, or a new one if that has other scores.

    Args:
        sha: SHA-256 of the model file.
        sampler: label of the sampler; with its options and the sections sample and evaluate, it decides.
    """
    sample_key = fingerprint([params.sample.model_dump(), params.evaluate.model_dump()])
    options = resolve_sampler(
        params.sampler_options[sampler].settings(),
        params.noise_arguments(noise)["name"],
        params.schedule.num_train_timesteps,
    )
    wanted = {SAMPLE_TAG: sample_key, f"ngldm.sampler.{sampler}": fingerprint(options)}

    def find(client: Any) -> Run | None:
        runs = client.search_runs(
            [store.experiment_id], f"tags.`{MODEL_TAG}` = '{sha}'", order_by=["attributes.start_time DESC"]
        )
        fits = (r for r in runs if all(r.data.tags.get(k, v) == v for k, v in wanted.items()))
        return next((Run(store, r.info.run_id, Run(store, r.data.tags.get(PARENT_ID))) for r in fits), None)

    found = store.ask(find)
    run = found or create_run(store, params, noise, noise, {MODEL_TAG: sha})
    run.step = params.train.max_steps
    run.tags(wanted)
    settings = {"sample": params.sample, "evaluate": params.evaluate}
    run.params(flatten({key: section.model_dump() for key, section in settings.items()}))
    run.params({f"sampler_options.{sampler}.{key}": value for key, value in options.items()})
    return run


def record_study(store: Store, params: Params, rows: list[dict[str, Any]]) -> None:
    """A finished run for each variant of the study, under one parent: its settings, its mean score by sampler.

    Args:
        rows: of study/scores.csv.
    """
    summary = summarise(rows)
    origin = {"recipe": params.recipe, "dataset": params.dataset.name, **_commit_tags()}
    parent = Run(store, store.create_run("study", origin))
    for label, variant in params.study.variants.items():
        run = Run(store, store.create_run(label, {**origin, PARENT_ID: parent.id or ""}))
        run.params({**flatten(params.diffusion.model_dump()), **flatten(variant.model_dump(exclude_none=True))})
        for row in (row for row in summary if row["variant"] == label):
            values = {"fd": row["mean"], "fd_std_error": row["std_error"], "outliers": row["outliers"]}
            run.metrics({f"{k}.{row['sampler']}": v for k, v in values.items()})  # no spread with one seed
        run.finish()
    parent.finish()


def training_params(params: Params, noise: str) -> dict[str, Any]:
    """Everything that a trained model depends on, as nested dictionaries."""
    content = params.model_dump(include=set(TRAINING_SECTIONS))
    return {**content, "noise_options": {noise: params.noise_options[noise]}}


def _origin_tags(params: Params, noise: str) -> dict[str, str]:
    colour = style(noise, [*params.noises, noise])["color"]
    origin = {"noise": noise, "dataset": params.dataset.name, "recipe": params.recipe}
    return {**origin, "mlflow.runColor": colour, **_commit_tags()}


def _commit_tags() -> dict[str, str]:
    tags: dict[str, str] = {}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    if commit:
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
    for variable in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags
