"""What a search has found: the best trial of each noise, what its score depends on, and its scores on fresh seeds."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from ngldm.data.results.study import StudyRow, write_scores
from ngldm.io.files import atomic_path, write_csv
from ngldm.model import item_settings
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments.study.compute import Job
from ngldm.pipeline.experiments.study.run import run_jobs
from ngldm.pipeline.report.tuning import CONFIRMED, IMPORTANCE, IMPORTANCE_COLUMNS, SUMMARY, SUMMARY_COLUMNS
from ngldm.pipeline.search import storage
from ngldm.pipeline.search.config import FOLDER
from ngldm.pipeline.search.objective import SCORES, SECONDS, STEPS, winner
from ngldm.pipeline.search.space import TUNED, Values, made_params, put, suggest, trial_space
from ngldm.pipeline.search.studies import Plan
from ngldm.pipeline.workspace import TUNING
from ngldm.sampling.best import SamplerSettings

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TUNED_FOLDER = FOLDER.parent / "tuned"


def summary_row(plan: Plan, label: str, study: "Study") -> dict[str, Any]:
    """What was done for a noise, and its best trial. The columns are `SUMMARY_COLUMNS`."""
    good, every = storage.good_trials(study), study.get_trials(deepcopy=False)
    best = storage.best_trial(study)
    row: dict[str, Any] = {
        "search": plan.name,
        "noise": label,
        "trials": f"{len(good)}/{plan.search.trials}",
        "complete": sum(trial.state.name == "COMPLETE" for trial in good),
        "failed": sum(len(storage.failures(every, slot)) for slot in range(plan.search.trials)),
        "steps": sum(trial.user_attrs.get(STEPS, 0) for trial in good),
        "scored": sum(len(trial.user_attrs.get(SCORES, ())) for trial in good),
        "cpu_seconds": round(sum(trial.user_attrs.get(SECONDS, 0.0) for trial in good)),
    }
    if best is None:
        return {**row, "best": "", "value": "", "sampler": "", "settings": ""}
    chosen = winner(best)
    return {
        **row,
        "best": best.user_attrs[storage.SLOT],
        "value": best.value,
        "sampler": written(chosen["settings"]),
        "settings": written(values_of(plan, label, best)),
    }


def written(values: dict[str, Any]) -> str:
    """Settings on one line: key value, key value."""
    shown = {key: f"{value:.4g}" if isinstance(value, float) else json.dumps(value) for key, value in values.items()}
    return ", ".join(f"{key} {value.strip(chr(34))}" for key, value in shown.items())


def values_of(plan: Plan, label: str, trial: "FrozenTrial") -> Values:
    """Key of params.yaml to the value that a trial had."""
    from optuna.trial import FixedTrial

    return suggest(FixedTrial(trial.params), trial_space(plan.search, label))  # type: ignore[arg-type]


def importances(study: "Study") -> dict[str, float]:
    """The share of each setting in the variance of the scores (fANOVA); those of the sampler begin with `sampler.`.

    Settings that only some trials have are left out, and so are all if there are too few trials.
    """
    found = _importance(study)
    found |= {f"sampler.{key}": share for key, share in _importance(_sampler_study(study)).items()}
    return found


def _importance(study: "Study") -> dict[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(complete) < 2 or len({trial.value for trial in complete}) < 2:
        return {}
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def _sampler_study(study: "Study") -> "Study":
    """A study whose trials are the sampler settings of all models: log of the score over the best of the same model."""
    import optuna

    made = optuna.create_study()
    models = [trial.user_attrs.get(SCORES, ()) for trial in storage.good_trials(study)]
    choices: dict[str, set[Any]] = {}
    for score in (score for scores in models for score in scores):
        for key, value in score["settings"].items():
            choices.setdefault(key, set()).add(value)
    for scores in models:
        least = min((score["value"] for score in scores), default=0.0)
        for score in scores if least > 0.0 else ():
            distributions = {key: _distribution(choices[key]) for key in score["settings"]}
            value = math.log(score["value"] / least)
            made.add_trial(optuna.create_trial(params=score["settings"], distributions=distributions, values=[value]))
    return made


def _distribution(values: set[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(type(value) in (int, float) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(sorted(values, key=str))


def write_summary(plan: Plan, studies: "dict[str, Study]") -> None:
    """Write tuning/summary.csv and tuning/importance.csv, which the report shows."""
    write_csv(TUNING / SUMMARY, SUMMARY_COLUMNS, [summary_row(plan, label, study) for label, study in studies.items()])
    rows = [
        {"noise": label, "setting": key, "share": share}
        for label, study in studies.items()
        for key, share in importances(study).items()
    ]
    write_csv(TUNING / IMPORTANCE, IMPORTANCE_COLUMNS, rows)


def write_tuned(plan: Plan, label: str, study: "Study") -> Path:
    """Write the best settings of a noise as conf/tuned/<noise>.yaml, for `-S tuned=<noise>`.

    Args:
        study: of the noise, with at least one complete trial.
    """
    best = storage.best_trial(study)
    assert best is not None
    content: dict[str, Any] = {}
    base = plan.base(label)
    put(content, f"noise_options.{label}", base["noise_options"][label])
    for key, value in {**plan.search.overrides, **values_of(plan, label, best)}.items():
        put(content, key, value)
    content |= {"samplers": [TUNED], "sampler_options": {TUNED: winner(best)["settings"]}}
    path = TUNED_FOLDER / f"{label}.yaml"
    recipe = plan.content["recipe"]
    with atomic_path(path) as temporary, temporary.open("w") as file:
        file.write("# @package _global_\n")
        file.write(f"# The best of {len(storage.good_trials(study))} trials of the search {plan.name!r}, trial ")
        file.write(f"{best.user_attrs[storage.SLOT]}; `ngldm search apply` wrote it.\n")
        file.write(f"# dvc exp run -S recipe={recipe} -S noise={label} -S tuned={label}\n")
        YAML().dump(content, file)
    return path


def confirm_jobs(plan: Plan, label: str, best: "FrozenTrial", item_shape: tuple[int, ...]) -> list[Job]:
    """The trainings and scores of a winner on seeds that the search did not use."""
    settings = winner(best)["settings"]
    params = made_params(plan.base(label), values_of(plan, label, best), settings)
    return fresh_jobs(plan, label, params, settings, item_shape)


def fresh_jobs(
    plan: Plan, variant: str, params: Params, sampler: SamplerSettings, item_shape: tuple[int, ...]
) -> list[Job]:
    """The trainings and scores of settings on seeds that the search did not use.

    Args:
        variant: what the rows of the table are called.
        params: with one noise.
        sampler: its settings.
        item_shape: of an image or a point.
    """
    config = plan.search.confirm
    model = {
        "noise": params.noise_arguments(params.noises[0]),
        "schedule": params.schedule.model_dump(),
        "diffusion": params.diffusion.model_dump(),
        **item_settings(item_shape, **params.networks()),
    }
    scoring = {
        "sample_seeds": [config.first_seed + number for number in range(config.sample_seeds)],
        "num_images": plan.search.sampling.num_images,
        "batch_size": plan.search.sampling.batch_size,
    }
    train = Fit(**params.train.model_dump(include=set(Fit.model_fields)))
    return [
        Job(variant, seed, model, {TUNED: sampler}, train, scoring, params.evaluate.weights)
        for seed in range(config.first_seed, config.first_seed + config.train_seeds)
    ]


def confirm(jobs: list[Job], device: str, workers: int, advance: Callable[[int], None]) -> list[StudyRow]:
    """Run the jobs, which are kept, and write tuning/confirmed/scores.csv."""
    rows = run_jobs(jobs, device, workers, advance)
    write_scores(rows, TUNING / CONFIRMED)
    return rows
