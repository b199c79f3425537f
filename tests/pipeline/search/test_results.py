"""What a search has found: its best trial, the importance of settings, conf/tuned, and the winners on fresh seeds."""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from ruamel.yaml import YAML

from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.study import run as jobs
from ngldm.pipeline.search.results import (
    confirm,
    confirm_jobs,
    importances,
    summary_row,
    values_of,
    write_summary,
    write_tuned,
)
from ngldm.pipeline.search.storage import best_trial
from ngldm.pipeline.search.studies import Plan, make_plan

NOISES = {"student_t": {"df": {"low": 3.0, "high": 9.0}}, "gaussian": {}}
SAMPLER = {"method": "heun", "num_inference_steps": 2}


@pytest.fixture
def plan(write_search: Callable[..., None]) -> Plan:
    write_search(noises=NOISES, trials=4)
    return make_plan("tiny", None, None)


@pytest.fixture
def study(plan: Plan) -> optuna.Study:
    """Four trials of student_t whose score is (lr - 0.003)^2 and does not depend on df; one failed, one was dropped."""
    made = optuna.create_study(study_name="tiny-student_t")
    space = {"train.lr": FloatDistribution(1e-4, 1e-2, log=True), "noise_options.student_t.df": FloatDistribution(3, 9)}
    for slot, (lr, df) in enumerate([(0.001, 4.0), (0.003, 8.0), (0.009, 5.0), (0.002, 3.5)]):
        value = 1e6 * (lr - 0.003) ** 2 + 1.0
        samplers = [
            {"settings": SAMPLER, "value": value, "calls": 3},
            {"settings": {"method": "ddim", "num_inference_steps": 4}, "value": 2 * value, "calls": 4},
        ]
        about = {"slot": slot, "steps": 10, "cpu_seconds": 1.5, "samplers": samplers}
        params = {"train.lr": lr, "noise_options.student_t.df": df}
        made.add_trial(optuna.create_trial(params=params, distributions=space, value=value, user_attrs=about))
    for about in ({"slot": 2}, {"slot": 2, "dropped": True}, {"slot": 1, "interrupted": True}):
        made.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs=about))
    return made


def test_the_summary_counts_each_slot_once_and_names_the_best(plan: Plan, study: optuna.Study) -> None:
    row = summary_row(plan, "student_t", study)
    assert (row["trials"], row["complete"], row["failed"], row["steps"], row["scored"]) == ("4/4", 4, 1, 40, 8)
    assert (row["best"], row["value"], row["cpu_seconds"]) == (1, 1.0, 6)
    assert row["settings"] == "train.lr 0.003, noise_options.student_t.df 8"
    assert row["sampler"] == "method heun, num_inference_steps 2"
    empty = summary_row(plan, "gaussian", optuna.create_study())
    assert (empty["trials"], empty["best"], empty["value"]) == ("0/4", "", "")


def test_importance_goes_to_what_the_score_depends_on(study: optuna.Study) -> None:
    space = {"train.lr": FloatDistribution(0.0, 1.0), "other": FloatDistribution(0.0, 1.0)}
    made = optuna.create_study()
    for i in range(30):
        params = {"train.lr": i / 30, "other": (i * 7 % 30) / 30}
        made.add_trial(optuna.create_trial(params=params, distributions=space, value=i / 30, user_attrs={"slot": i}))
    found = importances(made)
    assert found["train.lr"] > 0.9 > 0.1 > found["other"]
    assert importances(study)["sampler.method"] > 0.4  # ddim is twice as far for each model
    assert importances(optuna.create_study()) == {}


def test_the_tuned_file_gives_the_params_of_the_best_trial(plan: Plan, study: optuna.Study, root: Path) -> None:
    plan = replace(plan, search=plan.search.model_copy(update={"trials": 9}))
    file = write_tuned(plan, "student_t", study)
    assert file == Path("conf/tuned/student_t.yaml")
    assert "# The best of 4 trials of the search 'tiny'" in file.read_text(), "of those that have ended"
    compose_params(Path("tuned.yaml"), ["recipe=smoke", "noise=student_t", "tuned=student_t"])
    params = load_params(Path("tuned.yaml"))
    assert params.noise_arguments("student_t") == {"name": "student_t", "params": {"df": 8.0}}
    assert (params.train.lr, params.train.max_steps, params.samplers) == (0.003, 10, ["tuned"])
    assert params.sampler_options["tuned"].settings() == SAMPLER
    compose_params(Path("plain.yaml"), ["recipe=smoke", "noise=student_t"])
    plain = load_params(Path("plain.yaml"))
    changed = {"noise_options", "train", "samplers", "sampler_options"}
    assert params.model_dump(exclude=changed) == plain.model_dump(exclude=changed)


def test_without_a_tuned_file_the_params_are_the_tracked_ones(root: Path, tmp_path: Path, workspace: Path) -> None:
    compose_params(tmp_path / "default.yaml", [])
    assert (tmp_path / "default.yaml").read_bytes() == (root / "params.yaml").read_bytes()


def test_winners_are_confirmed_on_seeds_that_the_search_did_not_use(
    plan: Plan, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda workers, **settings: ThreadPoolExecutor(1))
    best = best_trial(study)
    assert best is not None
    made = confirm_jobs(plan, "student_t", best, (1, 8, 8))
    assert [job.seed for job in made] == [1000, 1001, 1002]
    assert made[0].scoring["sample_seeds"] == [1000, 1001, 1002]
    assert plan.search.seed not in (*[job.seed for job in made], *made[0].scoring["sample_seeds"])
    assert made[0].settings["noise"] == {"name": "student_t", "params": {"df": 8.0}}
    assert (made[0].train.lr, made[0].train.max_steps) == (0.003, 10)
    done: list[int] = []
    rows = confirm(made, "cpu", 1, done.append)
    assert sum(done) == 3
    with Path("tuning/confirmed/scores.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [(row["variant"], row["train_seed"], row["sample_seed"]) for row in written] == [
        ("student_t", str(train), str(sample)) for train in (1000, 1001, 1002) for sample in (1000, 1001, 1002)
    ]
    assert len({row["value"] for row in rows}) == 9


def test_the_tables_are_written_for_the_report(plan: Plan, study: optuna.Study) -> None:
    write_summary(plan, {"student_t": study})
    with Path("tuning/summary.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["noise"], row["value"]) == ("student_t", "1.0")
    with Path("tuning/importance.csv").open(newline="") as file:
        assert {row["setting"] for row in csv.DictReader(file)} >= {"train.lr", "noise_options.student_t.df"}


def test_lists_come_back_from_the_storage(write_search: Callable[..., None]) -> None:
    write_search(noises={"laplace": {}}, space={"unet.widths": {"choices": [[8, 16], [8, 8]]}})
    widths = optuna.distributions.CategoricalDistribution(("[8, 16]", "[8, 8]"))
    trial = optuna.create_trial(params={"unet.widths": "[8, 8]"}, distributions={"unet.widths": widths}, value=1.0)
    found: dict[str, Any] = values_of(make_plan("tiny", None, None), "laplace", trial)
    assert found == {"unet.widths": [8, 8]}
    assert YAML(typ="safe").load("[8, 8]") == found["unet.widths"]
