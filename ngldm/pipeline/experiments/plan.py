"""The jobs of the study, from its params: each model with each training seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.data.dataset import open_dataset
from ngldm.model import item_settings
from ngldm.pipeline import workspace
from ngldm.pipeline.config.sections import EvaluateParams
from ngldm.pipeline.config.study import StudyParams
from ngldm.pipeline.config.variants import StudyModel
from ngldm.pipeline.experiments.compute import Job
from ngldm.sampling.best import resolve_sampler
from ngldm.scoring.further.points import point_score_names
from ngldm.scoring.further.scores import available_scores, choose_scores

Settings = Mapping[str, object]


def make_jobs(
    study: StudyParams, models: Sequence[StudyModel], networks: tuple[Settings, Settings], evaluate: EvaluateParams
) -> list[Job]:
    """The jobs of the study. If points get further scores, the training points of each data set come first.

    Args:
        networks: settings of the U-Net and of the MLP.
        evaluate: has the settings of scores.

    Raises:
        InputError: data are missing, or have no such score.
    """
    shapes = {model.label: _item_shape(model) for model in models}
    scores = {model.label: _scores(study.scores, model, shapes[model.label]) for model in models}
    first: dict[str, StudyModel] = {}  # of each data set
    for model in models:
        if study.scores and len(shapes[model.label]) == 1:
            first.setdefault(model.train_set, model)
    jobs = []
    for seed in range(study.train_seeds):
        for label, model in [*first.items(), *((model.label, model) for model in models)]:
            trained = label not in first
            job = Job(
                variant=label,
                seed=seed,
                settings=_settings(model, shapes[model.label], networks) if trained else None,
                samplers=_samplers(model) if trained else {},
                train=model.train,
                scoring=study.scoring(),
                inception_weights=evaluate.inception_weights,
                dataset=model.own_dataset(seed),
                scores=scores[model.label],
                neighbours=evaluate.neighbours,
            )
            jobs.append(job)
    return jobs


def _settings(model: StudyModel, item_shape: tuple[int, ...], networks: tuple[Settings, Settings]) -> dict[str, Any]:
    return {
        "noise": model.noise(),
        "schedule": model.schedule.model_dump(),
        "diffusion": model.diffusion.model_dump(),
        **item_settings(item_shape, *networks),
    }


def _samplers(model: StudyModel) -> dict[str, Any]:
    known = (model.noise()["name"], model.schedule.num_train_timesteps)
    return {label: resolve_sampler(options.settings(), *known) for label, options in model.samplers.items()}


def _item_shape(model: StudyModel) -> tuple[int, ...]:
    if model.dataset is not None and model.dataset.law is not None:
        return (model.dataset.law.dim,)
    return open_dataset(workspace.DATASET).item_shape


def _scores(wanted: Sequence[str], model: StudyModel, item_shape: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the further scores of a model. If none is wanted, the reference is not read."""
    if not wanted:
        return ()
    if model.dataset is not None and model.dataset.law is not None:
        available = point_score_names(model.dataset.law.dim, len(model.dataset.law.weights))
    else:
        available = available_scores(workspace.FURTHER, len(item_shape) == 1)
    return choose_scores(wanted, available, "study.scores")
