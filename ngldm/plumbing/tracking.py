"""The MLflow store and which run is whose. A parent per comparison, below it a run per trained distribution.

Everything is found by content, so that no run id has to travel through DVC's outputs and change their hashes: a run by
the SHA-256 of its model file, a parent by the fingerprint of what its trainings share, both kept as tags. A model
scored again with other sampler settings gets a run of its own beside the first, since MLflow's params cannot change.

Tracking never stops the work: when the store fails, one warning says so and the stage goes on without it.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ngldm.checkpoint import fingerprint
from ngldm.plumbing.params import Params
from ngldm.plumbing.registry import MODEL_TAG
from ngldm.plumbing.runs import PARENT_ID, Run

T = TypeVar("T")
SAMPLE_TAG, PARENT_TAG = "ngldm.sample_key", "ngldm.comparison"
LOCK_SECONDS = 120  # the first process makes the store's tables meanwhile; that takes seconds
TRAINING_SECTIONS = ("seed", "dataset", "autoencoder", "latents", "schedule", "diffusion", "unet", "train")


def main_root(start: Path | None = None) -> Path:
    """The root of the main repository, also from inside one of DVC's experiment copies under .dvc/tmp/exps."""
    here = (start or Path.cwd()).resolve()
    for parent in (here, *here.parents):
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep the other processes of this repository from doing the same: making tables, an experiment, a parent."""
    from filelock import FileLock

    with FileLock(main_root() / "mlflow.db.lock", timeout=LOCK_SECONDS):
        yield


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class Store:
    """A connection to the MLflow store, or, once it has failed, to nothing."""

    def __init__(self, experiment: str) -> None:
        self.client: Any = None
        self.experiment_id = ""
        self.attempt(lambda: self._connect(experiment), None)

    def _connect(self, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # at the end of each run, twice
        # A server that is gone costs seconds before the warning, not the four minutes of MLflow's own retries.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        import mlflow
        from mlflow.exceptions import MlflowException

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        root = main_root()
        mlflow.set_tracking_uri(uri or f"sqlite:///{root / 'mlflow.db'}")
        with one_at_a_time():  # two processes that make the same tables would break each other
            client = mlflow.MlflowClient()
            found = client.get_experiment_by_name(experiment)
            if found is None:
                location = None if uri else (root / "mlartifacts" / experiment).as_uri()
                try:
                    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens with the runs
                    self.experiment_id = client.create_experiment(experiment, location, kind)
                except MlflowException:  # a process on another machine was faster
                    self.experiment_id = client.get_experiment_by_name(experiment).experiment_id
            else:
                self.experiment_id = found.experiment_id
        self.client = client

    def attempt(self, action: Callable[[], T], otherwise: T, give_up: bool = True) -> T:
        """Do it; on any failure warn, give up on the store unless told otherwise, and return `otherwise`."""
        try:
            return action()
        except Exception as error:
            if give_up:
                self.client = None
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            print(f"warning: MLflow failed, going on without it: {reason[0]}", file=sys.stderr)
            return otherwise

    def comparison(self, params: Params) -> Run:
        """The parent of all trainings that share everything but their noise, or of NGLDM_SWEEP's; made if need be."""
        sweep = os.environ.get("NGLDM_SWEEP")
        shared = params.model_dump(include=set(TRAINING_SECTIONS))
        key = fingerprint(["sweep", sweep] if sweep else shared)[:16]

        def find_or_make() -> str:
            with one_at_a_time():
                found = self.client.search_runs([self.experiment_id], f"tags.`{PARENT_TAG}` = '{key}'", max_results=1)
                if found:
                    self.client.update_run(found[0].info.run_id, status="RUNNING")
                    run_id: str = found[0].info.run_id
                    return run_id
                tags = {PARENT_TAG: key, "recipe": params.recipe, "dataset": params.dataset.name, **_commit_tags()}
                name = sweep or f"{params.recipe} {params.dataset.name} {key[:6]}"
                run_id = self.client.create_run(self.experiment_id, tags=tags, run_name=name).info.run_id
                if not sweep:
                    Run(self, run_id).params(flatten(shared))
                return run_id

        return Run(self, self.attempt(find_or_make, None) if self.client else None)

    def create_run(self, params: Params, noise: str, name: str, tags: Mapping[str, str]) -> Run:
        """A new run with the training's params and the tags that say where it comes from."""
        parent = self.comparison(params)
        if not parent.alive:
            return Run(self, None)

        def create() -> str:
            all_tags = {**_origin_tags(params, noise), PARENT_ID: parent.id, **tags}
            run_id: str = self.client.create_run(self.experiment_id, tags=all_tags, run_name=name).info.run_id
            return run_id

        run = Run(self, self.attempt(create, None), parent)
        run.params({"noise": noise, **flatten(training_params(params, noise))})
        return run

    @contextmanager
    def training_run(self, params: Params, noise: str, key: str) -> Iterator[Run]:
        """A new run for one training, ended as FINISHED, or as FAILED or KILLED if the block raises.

        Args:
            key: the training's fingerprint, kept as a tag.
        """
        run = self.create_run(params, noise, noise, {"ngldm.fingerprint": key})
        try:
            with run.system_metrics():
                yield run
        except BaseException as error:
            run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        run.finish()

    def run_of_model(self, params: Params, noise: str, sha: str, sampler: str) -> Run:
        """The run to which a model's scores belong: the one that trained it, or a new one if that has other scores.

        Args:
            sha: SHA-256 of the model file.
            sampler: label of the sampler; with its options and the sections sample and evaluate, it decides.
        """
        sample_key = fingerprint([params.sample.model_dump(), params.evaluate.model_dump()])
        sampler_key = fingerprint(params.sampler_options[sampler].model_dump())
        wanted = {SAMPLE_TAG: sample_key, f"ngldm.sampler.{sampler}": sampler_key}

        def find() -> Run | None:
            runs = self.client.search_runs(
                [self.experiment_id], f"tags.`{MODEL_TAG}` = '{sha}'", order_by=["attributes.start_time DESC"]
            )
            fits = (r for r in runs if all(r.data.tags.get(k, v) == v for k, v in wanted.items()))
            return next((Run(self, r.info.run_id, Run(self, r.data.tags.get(PARENT_ID))) for r in fits), None)

        found = self.attempt(find, None) if self.client else None
        run = found or self.create_run(params, noise, noise, {MODEL_TAG: sha})
        run.step = params.train.max_steps
        run.tags(wanted)
        settings = {"sample": params.sample, "evaluate": params.evaluate}
        run.params(flatten({key: section.model_dump() for key, section in settings.items()}))
        options = params.sampler_options[sampler].arguments(params.noise_arguments(noise)["name"])
        run.params({f"sampler_options.{sampler}.{key}": value for key, value in options.items()})
        return run

    def record_study(self, params: Params, rows: list[dict[str, Any]]) -> None:
        """A finished run for each variant of the study, under one parent: its settings, its mean score by sampler.

        Args:
            rows: of study/scores.csv.
        """
        from ngldm.plumbing.study_report import summarise

        summary = summarise(rows)
        origin = {"recipe": params.recipe, "dataset": params.dataset.name, **_commit_tags()}
        parent = self._plain_run("study", origin)
        for label, variant in params.study.variants.items():
            run = self._plain_run(label, {**origin, PARENT_ID: parent.id or ""})
            run.params({**flatten(params.diffusion.model_dump()), **flatten(variant.model_dump(exclude_none=True))})
            for row in (row for row in summary if row["variant"] == label):
                values = {"fd": row["mean"], "fd_std_error": row["std_error"], "outliers": row["outliers"]}
                run.metrics({f"{k}.{row['sampler']}": v for k, v in values.items()})  # no spread with one seed
            run.finish()
        parent.finish()

    def _plain_run(self, name: str, tags: Mapping[str, str]) -> Run:
        def create() -> str:
            run_id: str = self.client.create_run(self.experiment_id, tags=dict(tags), run_name=name).info.run_id
            return run_id

        return Run(self, self.attempt(create, None) if self.client else None)


def training_params(params: Params, noise: str) -> dict[str, Any]:
    """Everything that a trained model depends on, as nested dictionaries."""
    content = params.model_dump(include=set(TRAINING_SECTIONS))
    return {**content, "noise_options": {noise: params.noise_options[noise]}}


def _origin_tags(params: Params, noise: str) -> dict[str, str]:
    from ngldm.plumbing.figures import style

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
