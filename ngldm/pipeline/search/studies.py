"""A search that has been checked, and its Optuna studies, one for each noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngldm.io.errors import InputError, unknown
from ngldm.io.files import differences, require
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.params import PARAMS_FILE, load_raw, parse_params
from ngldm.pipeline.experiments import trial as trial_code
from ngldm.pipeline.search import storage
from ngldm.pipeline.search.check import check_space
from ngldm.pipeline.search.config import PRIOR, Search, load_search
from ngldm.pipeline.search.space import base_content, get, present, suggest, trial_space
from ngldm.pipeline.workspace import without_password

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

MADE_FROM = "made_from"


@dataclass(frozen=True)
class Plan:
    """A search that has been checked.

    Attributes:
        name: of its file in conf/search.
        search: the file.
        content: of params.yaml.
        storage: path of a journal file, or URL.
        noises: labels of the noises to work on.
    """

    name: str
    search: Search
    content: dict[str, Any]
    storage: str
    noises: Sequence[str]

    def base(self, label: str) -> dict[str, Any]:
        return base_content(self.content, self.search, label)

    def study_name(self, label: str) -> str:
        return f"{self.name}-{label}"


def make_plan(name: str, storage_url: str | None, noises: Sequence[str] | None) -> Plan:
    """Check the files of a search.

    Args:
        storage_url: None is the default journal file.
        noises: labels; None is all of the search.

    Raises:
        InputError: an unknown search or noise, or a space that is not allowed.
    """
    search, content = load_search(name), load_raw(PARAMS_FILE)
    parse_params(content)
    for label in noises or ():
        if label not in search.noises:
            raise unknown("noise", label, search.noises)
    check_space(content, search)
    return Plan(name, search, content, storage_url or storage.default_storage(name), noises or list(search.noises))


def prepare(plan: Plan, grace: int) -> None:
    """Make the studies, if the files that all trials share are there.

    Raises:
        InputError: a file is missing, the storage cannot be reached, or a study was begun with others.
    """
    for path in trial_code.INPUTS.files():
        require(path, "the stages `latents` and `reference`")
    open_studies(plan, storage.open_storage(plan.storage, grace), create=True)


def open_studies(plan: Plan, connection: "BaseStorage", create: bool) -> "dict[str, Study]":
    """The Optuna study of each noise.

    Args:
        create: make those that are missing.

    Raises:
        InputError: one was begun with other settings, data or code, or it is missing and not to be made.
    """
    import optuna

    known = {study.study_name for study in optuna.get_all_study_summaries(connection, include_best_trial=False)}
    if not create and (missing := [label for label in plan.noises if plan.study_name(label) not in known]):
        raise InputError(
            f"{without_password(plan.storage)}: no study {plan.study_name(missing[0])!r}; "
            f"`ngldm search run {plan.name}` makes it"
        )
    studies = {}
    for label in plan.noises:
        study = optuna.create_study(
            study_name=plan.study_name(label),
            storage=connection,
            sampler=_optimiser(plan.search),
            pruner=_pruner(plan.search),
            load_if_exists=True,
        )
        if create:
            _require_same(study, _behind(plan, label))
        studies[label] = study
    return studies


def _behind(plan: Plan, label: str) -> dict[str, Any]:
    """All that the scores of a study depend on."""
    settings = plan.search.model_dump(exclude={*PRIOR, "noises"}, exclude_defaults=True)
    settings["noise"] = plan.search.model_dump(include={"noises"}, exclude_defaults=True)["noises"][label]
    base = plan.base(label)
    read = {key: base[key] for key in ("schedule", "diffusion", "unet", "mlp", "train", "noise_options", "evaluate")}
    return made_from({**settings, "params": read}, trial_code.INPUTS.files(), Path(trial_code.__file__))


def _require_same(study: "Study", behind: Mapping[str, Any]) -> None:
    old = study.user_attrs.get(MADE_FROM)
    if old is None:
        study.set_user_attr(MADE_FROM, behind)
    elif changed := differences(old, behind):
        raise InputError(
            f"study {study.study_name}: begun with other {', '.join(changed)}. Scores of different settings, data or "
            "code cannot be compared: use another --storage, or copy the search's file to another name"
        )


def _optimiser(search: Search) -> "BaseSampler":
    """Without a seed: two workers that drew the same values would do the same work."""
    from optuna import samplers

    if search.optimiser == "cmaes":
        return samplers.CmaEsSampler(n_startup_trials=search.startup, warn_independent_sampling=False)
    if search.optimiser == "random":
        return samplers.RandomSampler()
    return samplers.TPESampler(n_startup_trials=search.startup, group=True)


def _pruner(search: Search) -> "BasePruner":
    from optuna import pruners

    if search.halving is None:
        return pruners.NopPruner()
    return pruners.SuccessiveHalvingPruner(
        min_resource=search.halving.first, reduction_factor=search.halving.reduction, min_early_stopping_rate=0
    )


def first_values(plan: Plan, label: str) -> list[dict[str, Any]]:
    """The values of the first slots: those of params.yaml, then random ones, the same for all noises."""
    import optuna

    space, base = trial_space(plan.search, label), plan.base(label)
    values = [present(space, lambda key: get(base, key))]
    for slot in range(1, min(plan.search.startup, plan.search.trials)):
        sampler = optuna.samplers.RandomSampler(seed=plan.search.seed + slot)
        asked = optuna.create_study(sampler=sampler).ask()
        suggest(asked, space)
        values.append(dict(asked.params))
    return values[: plan.search.startup]
