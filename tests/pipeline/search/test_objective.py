"""One trial: its sampler settings are searched on the trained model, within the budget, and its best score counts."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.pipeline.experiments.trial import Bench
from ngldm.pipeline.search.studies import make_plan, prepare
from ngldm.pipeline.search.worker import work

SAMPLING = {
    "settings": 4,
    "num_images": 32,
    "batch_size": 32,
    "max_calls": 6,
    "rung": {"method": "dpmpp_2m", "num_inference_steps": 3},
    "space": {"method": {"choices": ["heun", "ddim"]}, "num_inference_steps": {"low": 2, "high": 12}},
}


def run() -> list[FrozenTrial]:
    plan = make_plan("tiny", None, None)
    prepare(plan, 60)
    work(plan, "cpu", 60, lambda line: None)
    storage = JournalStorage(JournalFileBackend("searches/tiny.journal"))
    return optuna.load_study(study_name="tiny-laplace", storage=storage).trials


def calls_of(settings: dict[str, Any]) -> int:
    """Heun's method calls the network twice a step, but once in the last (Karras et al. 2022, algorithm 1)."""
    steps = int(settings["num_inference_steps"])
    return 2 * steps - 1 if settings["method"] == "heun" else steps


def test_samplers_are_searched_within_the_budget_and_the_best_counts(write_search: Callable[..., None]) -> None:
    write_search(sampling=SAMPLING, halving=None, trials=2)
    first, second = run()
    for trial in (first, second):
        scores = trial.user_attrs["samplers"]
        assert len(scores) == 4
        assert len({tuple(score["settings"].items()) for score in scores}) == 4
        assert all(score["calls"] == calls_of(score["settings"]) <= 6 for score in scores)
        assert trial.value == min(score["value"] for score in scores)
        assert scores[0]["settings"] == SAMPLING["rung"]
    best = min(first.user_attrs["samplers"], key=lambda score: score["value"])["settings"]
    assert best in [score["settings"] for score in second.user_attrs["samplers"][:2]], "what was best is tried first"


def test_samplers_that_were_scored_before_a_stop_are_not_scored_again(
    write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    score, calls = Bench.score, iter(range(100))

    def stopped(self: Bench, model: Model, sampler: Any) -> float:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return score(self, model, sampler)

    monkeypatch.setattr(Bench, "score", stopped)
    write_search(sampling=SAMPLING, halving=None, trials=1)
    with pytest.raises(KeyboardInterrupt):
        run()
    first, again = run()
    assert len(first.user_attrs["samplers"]) == 2
    assert again.user_attrs["samplers"][:2] == first.user_attrs["samplers"]
    assert len(again.user_attrs["samplers"]) == 4
    assert next(calls) == 5, "two scores, the one that was stopped, and two more"


def test_a_sampler_that_fails_is_left_out(write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    score = Bench.score

    def fails(self: Bench, model: Model, sampler: Any) -> float:
        if sampler["method"] == "heun":
            raise InputError("images: NaN")
        return score(self, model, sampler)

    monkeypatch.setattr(Bench, "score", fails)
    write_search(sampling=SAMPLING, halving=None, trials=1)
    (trial,) = run()
    assert {score["settings"]["method"] for score in trial.user_attrs["samplers"]} == {"dpmpp_2m", "ddim"}


def test_a_model_that_no_sampler_can_sample_is_said_to_be_so(
    write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Bench, model: Model, sampler: Any) -> float:
        raise InputError("images: NaN")

    monkeypatch.setattr(Bench, "score", fails)
    write_search(sampling=SAMPLING, halving=None, trials=1)
    (trial,) = run()
    assert (trial.state.name, trial.user_attrs["ended"]) == ("PRUNED", "no sampler of sampling.space could be used")


def test_a_space_with_fewer_settings_than_asked_for_ends(write_search: Callable[..., None]) -> None:
    few = {**SAMPLING, "space": {"method": {"choices": ["ddim"]}, "num_inference_steps": {"choices": [2, 3]}}}
    write_search(sampling=few, halving=None, trials=1)
    (trial,) = run()
    assert len(trial.user_attrs["samplers"]) == 3  # with that of the rungs
