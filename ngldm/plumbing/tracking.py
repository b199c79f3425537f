"""All MLflow calls. One run per trained distribution; scoring appends to the run of the model that it scores.

A run is found by the SHA-256 of its model file, kept as a tag: an identifier that follows from the content, so that no
run id has to travel through DVC's outputs and change their hashes. A model scored again with other sampler settings
gets a run of its own beside the first, since MLflow's params cannot change.

Tracking never stops the work: when the store fails, one warning says so and the stage goes on without it.
"""

import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from ngldm.checkpoint import fingerprint
from ngldm.files import sha256_file
from ngldm.plumbing.params import Params

T = TypeVar("T")
MODEL_TAG, SAMPLE_TAG = "ngldm.model_sha256", "ngldm.sample_key"
TRAINING_SECTIONS = ("seed", "dataset", "autoencoder", "latents", "schedule", "diffusion", "unet", "train")


def main_root(start: Path | None = None) -> Path:
    """The root of the main repository, also from inside one of DVC's experiment copies under .dvc/tmp/exps."""
    here = (start or Path.cwd()).resolve()
    for parent in (here, *here.parents):
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


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
        logging.getLogger("alembic").setLevel(logging.ERROR)
        import mlflow
        from mlflow.exceptions import MlflowException

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        root = main_root()
        mlflow.set_tracking_uri(uri or f"sqlite:///{root / 'mlflow.db'}")
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(experiment)
        if found is None:
            location = None if uri else (root / "mlartifacts" / experiment).as_uri()
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens with the runs
                self.experiment_id = client.create_experiment(experiment, location, kind)
            except MlflowException:  # another process was faster
                self.experiment_id = client.get_experiment_by_name(experiment).experiment_id
        else:
            self.experiment_id = found.experiment_id
        self.client = client

    def attempt(self, action: Callable[[], T], otherwise: T) -> T:
        """Do it; on any failure warn once, give up on the store and return `otherwise`."""
        try:
            return action()
        except Exception as error:
            self.client = None
            print(f"warning: MLflow failed, going on without it: {error}", file=sys.stderr)
            return otherwise

    def create_run(self, params: Params, noise: str, name: str, tags: Mapping[str, str]) -> "Run":
        """A new run with the training's params and the tags that say where it comes from."""
        if self.client is None:
            return Run(self, None)

        def create() -> str:
            all_tags = {**_origin_tags(params, noise), **tags}
            run_id: str = self.client.create_run(self.experiment_id, tags=all_tags, run_name=name).info.run_id
            return run_id

        run = Run(self, self.attempt(create, None))
        run.params({"noise": noise, **flatten(training_params(params, noise))})
        return run

    @contextmanager
    def training_run(self, params: Params, noise: str, key: str) -> Iterator["Run"]:
        """A new run for one training, ended as FINISHED, or as FAILED or KILLED if the block raises.

        Args:
            key: the training's fingerprint, kept as a tag.
        """
        run = self.create_run(params, noise, noise, {"ngldm.fingerprint": key})
        try:
            yield run
        except BaseException as error:
            run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        run.finish()

    def run_of_model(self, params: Params, noise: str, sha: str, sampler: str) -> "Run":
        """The run to which a model's scores belong: the one that trained it, or a new one if that has other scores.

        Args:
            sha: SHA-256 of the model file.
            sampler: label of the sampler; with its options and the sections sample and evaluate, it decides.
        """
        sample_key = fingerprint([params.sample.model_dump(), params.evaluate.model_dump()])
        sampler_key = fingerprint(params.sampler_options[sampler].model_dump())
        wanted = {SAMPLE_TAG: sample_key, f"ngldm.sampler.{sampler}": sampler_key}

        def find() -> str | None:
            runs = self.client.search_runs(
                [self.experiment_id], f"tags.`{MODEL_TAG}` = '{sha}'", order_by=["attributes.start_time DESC"]
            )
            fits = (r for r in runs if all(r.data.tags.get(k, v) == v for k, v in wanted.items()))
            return next((r.info.run_id for r in fits), None)

        run_id = self.attempt(find, None) if self.client else None
        run = Run(self, run_id) if run_id else self.create_run(params, noise, noise, {MODEL_TAG: sha})
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
            run = self._plain_run(label, {**origin, "mlflow.parentRunId": parent.id or ""})
            run.params({**flatten(params.diffusion.model_dump()), **flatten(variant.model_dump(exclude_none=True))})
            for row in (row for row in summary if row["variant"] == label):
                values = {"fd": row["mean"], "fd_std_error": row["std_error"], "outliers": row["outliers"]}
                run.metrics({f"{k}.{row['sampler']}": v for k, v in values.items() if v == v})  # nan with one seed
            run.finish()
        parent.finish()

    def _plain_run(self, name: str, tags: Mapping[str, str]) -> "Run":
        def create() -> str:
            run_id: str = self.client.create_run(self.experiment_id, tags=dict(tags), run_name=name).info.run_id
            return run_id

        return Run(self, self.attempt(create, None) if self.client else None)

    def log_model(self, run: "Run", bundle: Path, noise: str, image_shape: tuple[int, int, int]) -> None:
        """Log the model file as a pyfunc, register it as ngldm-<noise>, tag run and version with its hash."""
        run.tags({MODEL_TAG: sha256_file(bundle)})
        if self.client is None or run.id is None:
            return

        def log() -> None:
            import mlflow

            from ngldm.plumbing.pyfunc import signature

            package = Path(__file__).parents[1]
            sha = sha256_file(bundle)
            with mlflow.start_run(run_id=run.id), warnings.catch_warnings(), redirect_stderr(StringIO()):
                warnings.simplefilter("ignore")  # advice on type hints and examples, a screenful for each model
                info = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(package / "plumbing" / "pyfunc.py"),
                    artifacts={"bundle": str(bundle)},
                    code_paths=[str(package)],
                    signature=signature(image_shape),
                    pip_requirements=[f"{p}=={version(p)}" for p in ("torch", "numpy", "safetensors", "mlflow")],
                    registered_model_name=f"ngldm-{noise}",
                )
            self.client.set_model_version_tag(f"ngldm-{noise}", str(info.registered_model_version), MODEL_TAG, sha)

        self.attempt(log, None)

    def update_best(self, noise: str, sha: str, score: float, context: Mapping[str, Any]) -> None:
        """Move the alias `best` of ngldm-<noise> to this model if it scores lower in the same context.

        Args:
            sha: SHA-256 of the model file.
            context: what scores must share to be comparable (data, extractor, number of images).
        """
        if self.client is None:
            return
        name, key = f"ngldm-{noise}", f"ngldm.score.{fingerprint(context)[:12]}"

        def update() -> None:
            versions = self.client.search_model_versions(f"name = '{name}'")
            mine = [v for v in versions if v.tags.get(MODEL_TAG) == sha]
            if not mine:
                return
            newest = max(mine, key=lambda v: int(v.version))
            own = min(score, float(newest.tags.get(key, "inf")))
            self.client.set_model_version_tag(name, newest.version, key, str(own))
            aliases = self.client.get_registered_model(name).aliases
            best = next((v for v in versions if str(v.version) == str(aliases.get("best"))), None)
            if best is None or float(best.tags.get(key, "inf")) >= own:
                self.client.set_registered_model_alias(name, "best", newest.version)

        self.attempt(update, None)


class Run:
    """One MLflow run; every method does nothing once the store has failed."""

    def __init__(self, store: Store, run_id: str | None) -> None:
        self.store, self.id = store, run_id

    def _do(self, action: Callable[[Any, str], Any]) -> None:
        if self.store.client is not None and self.id is not None:
            run_id = self.id
            self.store.attempt(lambda: action(self.store.client, run_id), None)

    def _log(self, kind: str, entity: str, rows: list[tuple[Any, ...]]) -> None:
        def log(client: Any, run_id: str) -> None:
            import mlflow.entities

            make = getattr(mlflow.entities, entity)
            for start in range(0, len(rows), 100):  # the server's limit for params and tags
                client.log_batch(run_id, **{kind: [make(*row) for row in rows[start : start + 100]]})

        self._do(log)

    def params(self, content: Mapping[str, Any]) -> None:
        self._log("params", "Param", [(key, str(value)) for key, value in content.items()])

    def metrics(self, content: Mapping[str, float | None], step: int = 0) -> None:
        """Entries that are None are left out."""
        now = int(time.time() * 1000)
        self._log("metrics", "Metric", [(k, float(v), now, step) for k, v in content.items() if v is not None])

    def tags(self, content: Mapping[str, str]) -> None:
        self._log("tags", "RunTag", list(content.items()))

    def report(self, report: Any) -> None:
        """A report of the training loop, as metrics train.* at its step."""
        self.metrics({f"train.{k}": v for k, v in vars(report).items() if k != "step"}, report.step)

    def image(self, file: Path, folder: str) -> None:
        self._do(lambda client, run_id: client.log_artifact(run_id, str(file), folder))

    def finish(self, status: str = "FINISHED") -> None:
        """`status`: FINISHED, FAILED or KILLED."""
        self._do(lambda client, run_id: client.set_terminated(run_id, status))


def training_params(params: Params, noise: str) -> dict[str, Any]:
    """Everything that a trained model depends on, as nested dictionaries."""
    content = params.model_dump(include=set(TRAINING_SECTIONS))
    return {**content, "noise_options": {noise: params.noise_options[noise]}}


def _origin_tags(params: Params, noise: str) -> dict[str, str]:
    return {"noise": noise, "dataset": params.dataset.name, "recipe": params.recipe, **_commit_tags()}


def _commit_tags() -> dict[str, str]:
    tags: dict[str, str] = {}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    if commit:
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
    for variable in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags
