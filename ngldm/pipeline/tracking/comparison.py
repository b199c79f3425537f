"""Finds and makes MLflow runs: a parent run for each comparison, and in it a run for each trained distribution.

Runs are found by tags. The tag of a training's run is the SHA-256 of its model file. The tag of a parent is the
fingerprint of the settings that its trainings share. So no output of DVC contains a run's id, which would change the
output's hash. If a model is scored again with other sampler settings, a second run is made for it, because MLflow's
params cannot change.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ngldm.data.results.study import StudyRow
from ngldm.io.files import entry, fingerprint, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.colours import style
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.config.variants import StudyModel
from ngldm.pipeline.experiments.summary import summarise, summarise_further
from ngldm.pipeline.tracking.dead import working_on_runs
from ngldm.pipeline.tracking.names import (
    description,
    differing,
    flatten,
    noise_params,
    recipe_params,
    run_name,
    source_tags,
)
from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG, MODEL_TAG, Store, one_at_a_time
from ngldm.sampling.best import resolve_sampler

SAMPLE_TAG, PARENT_TAG = "ngldm.sample_key", "ngldm.comparison"
STUDY_COMMAND = "dvc exp run study"
SHARED_SEED = "shared_seed"  # param of a training whose seed is not that of the rest
TRAINING_SECTIONS = (
    *("seed", "dataset", "autoencoder", "latents", "schedule", "diffusion", "network", "unet", "mlp", "train"),
)


def comparison(store: Store, params: Params) -> Run:
    """The parent of all trainings that differ only in their noise and seed. It is made if there is none.

    If the variable NGLDM_SWEEP is set, the parent is that of the sweep with this name.
    """
    sweep = os.environ.get("NGLDM_SWEEP")
    shared = params.model_dump(include=set(TRAINING_SECTIONS))
    key = fingerprint(["sweep", sweep] if sweep else shared)[:16]

    def find_or_make(client: Any) -> str | None:
        with one_at_a_time():
            found = client.search_runs([store.experiment_id], f"tags.`{PARENT_TAG}` = '{key}'", max_results=1)
            if found:
                existing = Run(store, found[0].info.run_id)
                existing.go_on()
                return existing.id
            changed = {} if sweep else _changed(shared, params)
            tags = {PARENT_TAG: key, "recipe": params.recipe, "dataset": params.dataset.name, **source_tags("dvc.yaml")}
            about = "All runs of the sweep" if sweep else "Trainings that differ in their noise and seed only"
            tags |= description(f"{about}, on {params.dataset.name}.", changed, "dvc exp run")
            run_id = store.create_run(sweep or run_name(f"{params.recipe} {params.dataset.name}", changed), tags)
            if not sweep:
                Run(store, run_id).params(flatten(shared))
            return run_id

    return Run(store, store.ask(find_or_make))


def _changed(settings: Mapping[str, Any], params: Params, label: str | None = None) -> dict[str, Any]:
    """The flat settings that differ from those of the recipe; nothing if conf/ does not have it."""
    usual = recipe_params(params, params.training(label).noise if label else None)
    if usual is None:
        return {}
    known: dict[str, Any] = usual.model_dump(include=set(TRAINING_SECTIONS))
    if label:
        noise = params.training(label).noise
        known |= noise_params(noise, usual.noise_options.get(noise, {"distribution": noise}))
    own = {**settings, "seed": params.seed}  # that of the training is in its label
    own.pop(SHARED_SEED, None)
    return differing(flatten(own), flatten(known))


def create_run(
    store: Store,
    params: Params,
    label: str,
    tags: Mapping[str, str],
    seconds: float | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Run:
    """A new run with the training's params, and with tags for noise, seed, data set, recipe, commit and source.

    Its name is the label and what differs from the recipe.

    Args:
        label: of the training.
        seconds: how long the training took, if it has ended.
        beside: settings of the scoring that differ from those of the recipe.
    """
    noise, seed = params.training(label)
    parent = comparison(store, params)
    if parent.id is None:
        return Run(store, None)
    content = training_params(params, label)
    changed = {**_changed(content, params, label), **(beside or {})}
    about = f"One training with {noise} noise and seed {seed}, recipe {params.recipe} on {params.dataset.name}."
    if experiment := os.environ.get("DVC_EXP_NAME"):
        about += f" `dvc exp apply {experiment}` brings its files back."
    all_tags = {
        **origin_tags(params, noise, "stages/train.py"),
        **description(about, changed, f"python -m stages.train --noise {label}"),
        **{"seed": str(seed), PARENT_ID: parent.id, **tags},
    }
    run = Run(store, store.create_run(run_name(label, changed), all_tags, seconds or 0.0), parent, seconds)
    run.params(flatten(content))
    return run


@contextmanager
def training_run(store: Store, params: Params, label: str, key: str) -> Iterator[Run]:
    """A new run for one training. It ends as FINISHED; if the block raises, as FAILED or KILLED.

    Before, it ends the runs of trainings that were killed. If the block sets `seconds` of the run, it lasts as long.

    Args:
        label: of the training.
        key: fingerprint of the training; it becomes a tag.
    """
    with working_on_runs(store):
        run = create_run(store, params, label, {"ngldm.fingerprint": key})
        try:
            with run.system_metrics():
                yield run
        except BaseException as error:
            run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        run.finish()


def run_of_model(store: Store, params: Params, label: str, sha: str, sampler: str) -> Run:
    """The run for a model's scores: the run of its training, or a new one if that has scores with other settings.

    Args:
        label: of the training.
        sha: SHA-256 of the model file.
        sampler: label of the sampler. Its settings and the sections `sample` and `evaluate` are compared.
    """
    sample = {**params.sample.model_dump(), "seed": params.sample_seed(label)}
    sample_key = fingerprint([sample, params.evaluate.model_dump()])
    options = resolve_sampler(
        params.sampler_options[sampler].settings(),
        params.noise_arguments(params.training(label).noise)["name"],
        params.schedule.num_train_timesteps,
    )
    wanted = {SAMPLE_TAG: sample_key, f"ngldm.sampler.{sampler}": fingerprint(options)}

    def find(client: Any) -> Run | None:
        runs = client.search_runs(
            [store.experiment_id], f"tags.`{MODEL_TAG}` = '{sha}'", order_by=["attributes.start_time DESC"]
        )
        for known in (r for r in runs if all(r.data.tags.get(k, v) == v for k, v in wanted.items())):
            run = Run(store, known.info.run_id, Run(store, known.data.tags.get(PARENT_ID)))
            if known.info.status != "FINISHED":  # a kill came before all was written
                run.go_on()
            return run
        return None

    run = store.ask(find) or create_run(
        store, params, label, {MODEL_TAG: sha}, _train_seconds(label), _changed_scoring(params, label, sampler)
    )
    run.step = params.train.max_steps
    run.tags(wanted)
    run.params(flatten({"sample": sample, "evaluate": params.evaluate.model_dump()}))
    run.params({f"sampler_options.{sampler}.{key}": value for key, value in options.items()})
    return run


def _changed_scoring(params: Params, label: str, sampler: str) -> dict[str, Any]:
    """The flat settings of sampling and scoring that differ from those of the recipe."""
    usual = recipe_params(params, params.training(label).noise)
    if usual is None:
        return {}

    def scoring(of: Params) -> dict[str, Any]:
        content = of.model_dump(include={"sample", "evaluate"})
        options = of.sampler_options.get(sampler)
        return flatten({**content, "sampler_options": {sampler: options.settings() if options else {}}})

    return differing(scoring(params), scoring(usual))


def _train_seconds(label: str) -> float | None:
    """How long a training took whose model came from DVC's cache; None if its file is not there."""
    file = workspace.metrics("train", label)
    return entry(read_json(file), "train_seconds", float) if file.is_file() else None


def scored_against(about: Mapping[str, object]) -> dict[str, str]:
    """Tags that say which images and which extractor scores come from; reference.json has them."""
    sources = {DATA_TAG: about.get("dataset_sha256"), EXTRACTOR_TAG: about.get("weights_sha256")}
    return {tag: str(value) for tag, value in sources.items() if value is not None}


def record_study(store: Store, params: Params, rows: Sequence[StudyRow], about: Mapping[str, object]) -> None:
    """Write the study: a finished run for each model, with its settings and its mean scores by sampler, in one parent.

    Args:
        rows: of `ngldm.data.results.study.read_scores`.
        about: reference.json.
    """
    summary, further = summarise(rows, list(params.study.data)), summarise_further(rows)
    origin = {"recipe": params.recipe, "dataset": params.dataset.name, **source_tags("stages/study.py")}
    scoring = {"sample.num_images": params.study.num_images, **flatten({"evaluate": params.evaluate.model_dump()})}
    made = f"The study of recipe {params.recipe} on {params.dataset.name}"
    parent_tags = {**origin, **scored_against(about), **description(f"{made}.", {}, STUDY_COMMAND)}
    parent = Run(store, store.create_run("study", parent_tags))
    models = {model.label: model for model in params.study_models()}
    for label in dict.fromkeys([*models, *(row["variant"] for row in summary)]):
        model = models.get(label)  # the training points have none
        against = scored_against(about) if model is not None and model.dataset is None else {}
        own = _study_params(model) if model is not None else {}
        changed = flatten(model.variant.model_dump(exclude_none=True)) if model is not None else {}
        note = description(f"{made}: means of {label} over its seeds.", changed, STUDY_COMMAND)
        run = Run(store, store.create_run(label, {**origin, **against, **note, PARENT_ID: parent.id or ""}))
        run.params({**own, **scoring})
        for row in (row for row in summary if row["variant"] == label):
            values = {"fd": row["mean"], "fd_std_error": row["std_error"], "outliers": row["outliers"]}
            run.metrics(
                {f"{k}.{row['sampler']}": v for k, v in values.items()}
            )  # the error is NaN, and left out, if there is one seed
        for other in (row for row in further if row["variant"] == label):
            values = {other["score"]: other["mean"], f"{other['score']}_std_error": other["std_error"]}
            run.metrics({f"{k}.{other['sampler']}": v for k, v in values.items()})
        run.finish()
    parent.finish()


def _study_params(model: StudyModel) -> dict[str, Any]:
    """The settings of a model of the study: all of its diffusion and own data, else those that the variant replaces."""
    own = flatten({"dataset": model.dataset.model_dump(exclude_none=True)}) if model.dataset is not None else {}
    variant = model.variant.model_dump(exclude_none=True, exclude={"dataset", "diffusion"})
    return {**flatten(model.diffusion.model_dump()), **flatten(variant), **own}


def training_params(params: Params, label: str) -> dict[str, Any]:
    """All params that a trained model depends on, as nested dictionaries. `seed` is that of the training.

    Args:
        label: of the training.
    """
    noise, seed = params.training(label)
    content = {**params.model_dump(include=set(TRAINING_SECTIONS)), "seed": seed}
    if seed != params.seed:
        content[SHARED_SEED] = params.seed
    return {**noise_params(noise, params.noise_options[noise]), **content}


def origin_tags(params: Params, noise: str, file: str) -> dict[str, str]:
    """Tags of a run of one noise.

    Args:
        file: that makes the run.
    """
    colour = style(noise, [*params.noises, noise])["color"]
    origin = {"noise": noise, "dataset": params.dataset.name, "recipe": params.recipe}
    return {**origin, "mlflow.runColor": colour, **source_tags(file)}
