"""A store with the runs of two sweeps, written by MLflow's own client."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import mlflow
import pytest

ROOT = Path(__file__).parents[4]
SHARED = {"recipe": "smoke", "dataset": "digits"}
RUNS = [  # name, noise, lr, distance, recall, commit; the first is the oldest
    ("laplace", "laplace", "0.001", 9.0, 0.1, "old"),
    *((f"laplace lr={lr}", "laplace", lr, distance, 0.2 + distance / 100, "new") for lr, distance in
      (("0.0002", 5.0), ("0.0005", 3.0), ("0.001", 4.0))),
    ("gumbel lr=2e-4", "gumbel", "0.0002", 7.0, 0.9, "new"),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("ngldm")
    client.create_experiment("empty")
    start = 1_700_000_000_000

    def add(name: str, tags: dict[str, str], params: dict[str, str], metrics: dict[str, float]) -> str:
        nonlocal start
        start += 60_000
        run: str = client.create_run(experiment, start, tags, name).info.run_id
        for key, value in params.items():
            client.log_param(run, key, value)
        for key, number in metrics.items():
            client.log_metric(run, key, number)
        client.set_terminated(run, "FINISHED", start + 42_000)
        return run

    rates = add("rates", SHARED, {}, {"lowest.fd_classifier.auto": 1.0})
    for name, distance in (("a", 2.0), ("b", 1.0)):
        tags = {**SHARED, "git_commit": "new", "mlflow.parentRunId": rates, "noise": name}
        add(name, tags, {"noise": name}, {"fd_classifier.auto": distance})
    for name, noise, lr, distance, recall, commit in RUNS:
        parent = add(f"smoke digits {lr}", {**SHARED, "git_commit": commit}, {"train.lr": lr}, {})
        tags = {**SHARED, "git_commit": commit, "mlflow.parentRunId": parent, "noise": noise}
        metrics = {"fd_classifier.auto": distance, "fd_classifier_std.auto": 0.1, "recall.auto": recall}
        add(
            name,
            tags,
            {"noise": noise, "train.lr": lr},
            {**metrics, "fd_classifier.by_step": 8.0, "train_seconds": 41.5},
        )
    add("uniform", {**SHARED, "git_commit": "new", "noise": "uniform"}, {"noise": "uniform"}, {})  # not scored
    return folder


@pytest.fixture
def there(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def table(out: str) -> list[str]:
    """The lines of a table: its heading, then its rows."""
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    return [lines[0], *lines[2:]]


@pytest.fixture
def lines() -> Callable[[str], list[str]]:
    return table


@pytest.fixture
def names() -> Callable[[str], list[str]]:
    """The first column of a table, without its heading."""
    return lambda out: [line.split("  ")[0] for line in table(out)[1:]]


@pytest.fixture(autouse=True)
def the_environment_stays() -> Iterator[None]:
    """What a command sets for MLflow is taken back."""
    with patch.dict(os.environ):
        yield
