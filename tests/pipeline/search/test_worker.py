"""A worker: the budget of each noise is met exactly, whatever stops the search, and nothing is done twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.pipeline.experiments.trial import Bench
from ngldm.pipeline.search.storage import fill, open_storage
from ngldm.pipeline.search.studies import make_plan, open_studies, prepare
from ngldm.pipeline.search.worker import work

ROOT = Path(__file__).parents[3]
# NGLDM_SEARCH_TRIALS=30 NGLDM_SEARCH_KILLS=3 is the check of docs/tuning.md; CI has a smaller one.
TRIALS, KILLS = int(os.environ.get("NGLDM_SEARCH_TRIALS", "8")), int(os.environ.get("NGLDM_SEARCH_KILLS", "2"))
GOOD = (TrialState.COMPLETE, TrialState.PRUNED)


def trials(noise: str = "laplace", file: str = "searches/tiny.journal") -> list[FrozenTrial]:
    """As Optuna reads them, from a connection of their own."""
    return optuna.load_study(study_name=f"tiny-{noise}", storage=JournalStorage(JournalFileBackend(file))).trials


def slots(noise: str = "laplace") -> list[int]:
    return [trial.user_attrs["slot"] for trial in trials(noise) if trial.state in GOOD]


def run() -> list[str]:
    """Run a worker in this process. Returns the lines that it prints."""
    lines: list[str] = []
    plan = make_plan("tiny", None, None)
    prepare(plan, 60)
    work(plan, "cpu", 60, lines.append)
    return lines


def test_each_noise_gets_its_trials_in_turn_and_no_more(write_search: Callable[..., None]) -> None:
    write_search(noises={"laplace": {}, "gaussian": {}}, halving=None)
    lines = run()
    assert [line.split(":")[0] for line in lines] == [
        f"tiny-{noise} trial {slot}" for slot in range(3) for noise in ("laplace", "gaussian")
    ]
    assert sorted(slots("laplace")) == sorted(slots("gaussian")) == [0, 1, 2]
    assert run() == [], "nothing is left to do"
    write_search(noises={"laplace": {}, "gaussian": {}}, halving=None, trials=4)
    assert len(run()) == 2, "a greater budget continues"


def test_a_lower_budget_ends_the_search_there(write_search: Callable[..., None]) -> None:
    write_search(halving=None, trials=4)
    plan = make_plan("tiny", None, None)
    prepare(plan, 60)
    (study,) = open_studies(plan, open_storage(plan.storage), create=True).values()
    fill(study, [], 4, 5)  # as the workers do when they start
    write_search(halving=None, trials=2)
    assert len(run()) == 2
    assert run() == []
    write_search(halving=None, trials=3)
    assert len(run()) == 1
    assert sorted(slots("laplace")) == [0, 1, 2]


def test_trials_end_at_a_rung_when_others_were_better(
    write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Successive halving keeps the best half of the scores at a rung; scores that grow end every later training."""
    count = iter(range(1, 100))
    monkeypatch.setattr(Bench, "score", lambda self, model, sampler: float(next(count)))
    write_search()
    run()
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert [trial.user_attrs["steps"] for trial in trials()] == [10, 5, 5]
    assert trials()[1].intermediate_values == {5: 3.0}  # after the rung and the one sampler of the first


def test_a_search_that_the_user_stops_goes_on_with_the_same_values(
    write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_search(attempts=1)  # a stop is no failed attempt
    score, calls = Bench.score, iter(range(100))

    def stopped(self: Bench, model: Model, sampler: Any) -> float:
        if next(calls) == 1:  # the score of the first trial's sampler, after its rung
            raise KeyboardInterrupt
        return score(self, model, sampler)

    monkeypatch.setattr(Bench, "score", stopped)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert slots() == []
    run()
    first, again = trials()[0], next(trial for trial in trials()[1:] if trial.user_attrs["slot"] == 0)
    assert (first.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.params == again.params
    assert again.intermediate_values == first.intermediate_values, "the rung was not scored again"
    assert first.user_attrs["mlflow_run"] == again.user_attrs["mlflow_run"]
    assert sorted(slots()) == [0, 1, 2]


def test_a_trial_that_fails_is_tried_again_and_then_given_up(
    write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_search(attempts=2, halving=None)
    score = Bench.score
    monkeypatch.setattr(Bench, "score", lambda *args: (_ for _ in ()).throw(RuntimeError("the disk is full")))
    lines = run()
    assert lines == [
        f"tiny-laplace trial {slot}: failed (RuntimeError: the disk is full)" for slot in (0, 1, 2, 0, 1, 2)
    ]
    monkeypatch.setattr(Bench, "score", score)
    assert run() == []
    write_search(attempts=3, halving=None)
    run()
    assert sorted(slots()) == [0, 1, 2]


def test_a_storage_that_is_lost_ends_the_worker_with_one_line(write_search: Callable[..., None]) -> None:
    write_search(halving=None)
    plan, lines = make_plan("tiny", None, None), list[str]()
    prepare(plan, 60)

    def damage(line: str) -> None:
        lines.append(line)
        with Path("searches/tiny.journal").open("a") as journal:
            journal.write("not JSON\n")

    with pytest.raises(
        InputError, match=r"--storage: .*tiny.journal was lost while the search ran \(Expecting value"
    ) as lost:
        work(plan, "cpu", 60, damage)
    assert "\n" not in str(lost.value)
    assert len(lines) == 1, "no trial is said to be another worker's"


def test_a_training_that_diverges_has_used_its_trial(
    write_search: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(self: Bench, model: Model, sampler: Any) -> float:
        raise InputError("latents: 3 of 32 hold NaN")

    monkeypatch.setattr(Bench, "score", diverged)
    write_search()
    lines = run()
    assert [trial.state for trial in trials()] == [TrialState.PRUNED] * 3
    assert "hold NaN" in lines[0]


def test_values_that_exclude_each_other_cost_no_trial(write_search: Callable[..., None]) -> None:
    """eps cannot be predicted where x_T is pure noise (`ngldm.diffusion.names.require_signal`)."""
    space = {
        "schedule.name": {"choices": ["rectified_flow", "cosine"]},
        "diffusion.objective": {"choices": ["eps", "x0"]},
    }
    write_search(trials=6, space=space, halving=None, optimiser="random")
    run()
    assert sorted(slots()) == list(range(6))
    drawn = {(t.params["schedule.name"], t.params["diffusion.objective"]) for t in trials() if t.state in GOOD}
    assert ("rectified_flow", "eps") not in drawn


def test_cma_es_runs_too(write_search: Callable[..., None]) -> None:
    space = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "train.ema_decay": {"low": 0.1, "high": 0.9}}
    write_search(trials=5, optimiser="cmaes", space=space, halving=None)
    run()
    assert sorted(slots()) == list(range(5))
    assert any(key.startswith("cma:") for trial in trials() for key in trial.system_attrs), "CMA-ES kept its state"


def test_every_trial_is_a_run_below_that_of_its_study(write_search: Callable[..., None]) -> None:
    import mlflow

    write_search(trials=2, halving=None)
    run()
    client = mlflow.MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    experiment = client.get_experiment_by_name(make_plan("tiny", None, None).content["experiment"])
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parent = next(found for found in runs if found.info.run_name == "tiny-laplace")
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(child.info.run_name for child in children) == ["trial 0", "trial 1"]
    assert {r.info.status for r in [parent, *children]} == {"FINISHED"}
    values = {trial.user_attrs["slot"]: trial.value for trial in trials()}
    assert {int(child.info.run_name.split()[1]): child.data.metrics["fd"] for child in children} == values
    assert all("train.lr" in child.data.params for child in children)


def test_a_search_killed_at_several_points_ends_with_its_trials_and_no_duplicate(
    write_search: Callable[..., None],
) -> None:
    write_search(trials=TRIALS, startup=2, attempts=10)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ngldm", "search", "run", "tiny", "--device", "cpu"]
    journal, chance, killed = Path("searches/tiny.journal"), random.Random(0), 0
    while killed < KILLS:
        done = (killed + 1) * TRIALS // (KILLS + 2)  # of the trials, when the worker is killed in the midst of the next
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while process.poll() is None and not (journal.is_file() and _finished(journal) >= done):
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 0.3))
        process.kill()
        assert process.stdout is not None
        assert process.wait() == -signal.SIGKILL, process.stdout.read()
        killed += 1
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(slots()) == list(range(TRIALS))
    assert Counter(trial.state in GOOD for trial in trials())[True] == TRIALS
    lost = [trial for trial in trials() if trial.state not in GOOD]
    assert lost, "no kill has hit a trial"
    for trial in lost:
        good = next(t for t in trials() if t.state in GOOD and t.user_attrs["slot"] == trial.user_attrs["slot"])
        assert trial.params.items() <= good.params.items(), "a killed trial is repeated with its values"
    values = [tuple(sorted(trial.params.items())) for trial in trials() if trial.state in GOOD]
    assert len(set(values)) == TRIALS, "no two trials are the same"


def _finished(journal: Path) -> int:
    """Trials that have ended well, by the lines that Optuna has written: operation 6 sets a state, 1 and 2 are good."""
    lines = [json.loads(line) for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return sum(line["op_code"] == 6 and line["state"] in (1, 2) for line in lines)
