"""The studies of a search: how each begins, and with what it is not continued."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.search.storage import open_storage
from ngldm.pipeline.search.studies import first_values, make_plan, open_studies, prepare


def test_the_first_trials_have_the_params_and_then_the_same_draws_for_all_noises(
    write_search: Callable[..., None], content: dict[str, Any]
) -> None:
    noises = {"laplace": {}, "student_t": {"df": {"low": 3.0, "high": 9.0}}}
    write_search(startup=3, noises=noises)
    plan = make_plan("tiny", None, None)
    one, other = first_values(plan, "laplace"), first_values(plan, "student_t")
    assert one[0]["train.lr"] == plan.content["train"]["lr"]
    assert other[0]["noise_options.student_t.df"] == 5.0  # conf/noise/student_t.yaml
    assert [values["train.lr"] for values in one] == [values["train.lr"] for values in other]
    assert len({values["train.lr"] for values in one}) == 3


def test_a_search_is_not_continued_with_other_settings_or_data(write_search: Callable[..., None]) -> None:
    write_search(trials=1)
    prepare(make_plan("tiny", None, None), 60)
    write_search(trials=1, space={"train.lr": {"low": 1e-4, "high": 2e-2, "log": True}})
    with pytest.raises(InputError, match=r"begun with other settings\.space\.train\.lr\.high"):
        prepare(make_plan("tiny", None, None), 60)
    write_search(trials=1)
    (Path("data/latents") / "train.npy").write_bytes(b"other")
    with pytest.raises(InputError, match=r"begun with other inputs\.data/latents/train\.npy"):
        prepare(make_plan("tiny", None, None), 60)


def test_each_noise_has_a_study_with_the_optimiser_and_the_pruner_of_the_file(
    write_search: Callable[..., None],
) -> None:
    write_search(noises={"laplace": {}, "gaussian": {}}, optimiser="cmaes")
    prepare(make_plan("tiny", None, None), 60)
    plan = make_plan("tiny", None, ["gaussian"])
    studies = open_studies(plan, open_storage(plan.storage), create=False)
    assert list(studies) == ["gaussian"]
    assert isinstance(studies["gaussian"].sampler, optuna.samplers.CmaEsSampler)
    assert isinstance(studies["gaussian"].pruner, optuna.pruners.SuccessiveHalvingPruner)
    names = optuna.get_all_study_names(open_storage(plan.storage))
    assert sorted(names) == ["tiny-gaussian", "tiny-laplace"]


def test_the_budget_may_grow_and_the_seeds_of_the_confirmation_may_change(write_search: Callable[..., None]) -> None:
    write_search(trials=1)
    prepare(make_plan("tiny", None, None), 60)
    write_search(trials=9, attempts=7, confirm={"train_seeds": 1})
    prepare(make_plan("tiny", None, None), 60)


def test_a_missing_shared_file_is_named(write_search: Callable[..., None]) -> None:
    write_search()
    Path("models/autoencoder.safetensors").unlink()
    with pytest.raises(InputError, match=r"models/autoencoder\.safetensors: no such file"):
        prepare(make_plan("tiny", None, None), 60)
