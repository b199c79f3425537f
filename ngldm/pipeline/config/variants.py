"""The models of the study: each variant on each of its data sets, with all settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ngldm.pipeline.config.dataset.section import DatasetParams
from ngldm.pipeline.config.reading.faults import composed
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import DiffusionParams, Fit, ScheduleParams, TrainParams
from ngldm.pipeline.config.study import TRAIN_SET, StudyParams, StudyVariant

OWN_KEYS = ("law", "transform", "train_size", "test_size", "seed")  # of a data set, that a variant may replace
BY_TRAINING = "train"  # as a seed: that of the training


@dataclass(frozen=True)
class StudyModel:
    """A variant on one data set.

    Attributes:
        label: of the variant; with `study.data` <data>_<variant>.
        key: of the variant in params.yaml.
        variant: as it is written there.
        schedule, diffusion, train: all settings.
        dataset: of points that the variant makes for itself; None takes those of the stage `download`.
        train_set: label of the training points of this data set, which are scored beside the models.
        seed_by_training: the seed of these points is that of the training.
        samplers: by their label.
    """

    label: str
    key: str
    variant: StudyVariant
    schedule: ScheduleParams
    diffusion: DiffusionParams
    train: Fit
    dataset: DatasetParams | None
    train_set: str
    seed_by_training: bool
    samplers: Mapping[str, SamplerOptions]

    def noise(self) -> dict[str, Any]:
        """`name` and `params` for `ngldm.noise.make_noise`."""
        options = dict(self.variant.noise)
        return {"name": options.pop("distribution"), "params": options}

    def own_dataset(self, train_seed: int) -> dict[str, Any] | None:
        """Arguments of `ngldm.data.sources.registry.make_dataset`, if the model has points of its own."""
        if self.dataset is None:
            return None
        seed = train_seed if self.seed_by_training else self.dataset.seed
        return {**self.dataset.model_dump(), "seed": seed}


@dataclass(frozen=True)
class Base:
    """The sections of which variants replace keys."""

    schedule: ScheduleParams
    diffusion: DiffusionParams
    train: TrainParams
    dataset: DatasetParams


def study_models(study: StudyParams, base: Base) -> list[StudyModel]:
    """Every variant on each of its data sets.

    Raises:
        ValueError: a replaced key or value is not allowed, or the data cannot be replaced; the message names the
            variant.
    """
    for data, own in study.data.items():  # also those that no variant uses
        if own:
            _replaced(base.dataset, own, f"study.data.{data}")
    found: dict[str, StudyModel] = {}
    for data in study.data or ("",):
        for name, variant in study.variants.items():
            if data and variant.data is not None and data not in variant.data:
                continue
            model = _model(study, base, name, data)
            if model.label in found or (study.scores and name.endswith(TRAIN_SET)):
                raise ValueError(f"{model.key}: the label {model.label!r} is taken; choose another")
            found[model.label] = model
    return list(found.values())


def _model(study: StudyParams, base: Base, name: str, data: str) -> StudyModel:
    variant, key = study.variants[name], f"study.variants.{name}"
    given = {f"study.data.{data}": study.data.get(data, {}), f"{key}.dataset": variant.dataset}
    given = {where: own for where, own in given.items() if own}
    dataset, by_training = base.dataset, False
    for where, own in given.items():
        dataset = _replaced(dataset, own, where)
        by_training = own.get("seed") == BY_TRAINING if "seed" in own else by_training
    prefix = f"{data}_" if data else ""
    own_points = any(replaced != "transform" for replaced in variant.dataset)
    chosen = variant.samplers or study.samplers
    return StudyModel(
        label=prefix + name,
        key=key,
        variant=variant,
        schedule=composed(ScheduleParams, base.schedule, variant.schedule, f"{key}.schedule"),
        diffusion=composed(DiffusionParams, base.diffusion, variant.replaced_diffusion(), f"{key}.diffusion"),
        train=composed(Fit, base.train, variant.train, f"{key}.train"),
        dataset=dataset if given else None,
        train_set=f"{prefix}{name}_{TRAIN_SET}" if own_points else prefix + TRAIN_SET,
        seed_by_training=by_training,
        samplers={label: study.samplers[label] for label in chosen},
    )


def _replaced(base: DatasetParams, own: Mapping[str, Any], key: str) -> DatasetParams:
    """The data set with some keys replaced. The seed stays if the new one is `BY_TRAINING`."""
    if base.name != "points":
        raise ValueError(f"{key}: {base.name!r} has images, whose autoencoder and reference all variants share")
    if base.law is None:
        raise ValueError(f"{key}: only points of a law (dataset.law) can be drawn anew; yours are a table")
    if unknown := [name for name in own if name not in OWN_KEYS]:
        raise ValueError(f"{key}.{unknown[0]}: unknown key; known here: {', '.join(OWN_KEYS)}")
    replaced = {name: value for name, value in own.items() if (name, value) != ("seed", BY_TRAINING)}
    if "law" in replaced:
        law = replaced["law"]
        if not isinstance(law, Mapping):
            raise ValueError(f"{key}.law: {law!r}, must be a mapping of some keys of dataset.law")
        replaced["law"] = composed(type(base.law), base.law, dict(law), f"{key}.law").model_dump()
    return composed(DatasetParams, base, replaced, key)
