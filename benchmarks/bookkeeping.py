"""What the stores of runs and trials cost as they grow: MLflow in SQLite, Optuna in a journal file and in SQLite.

python -m benchmarks.bookkeeping [--size smallest|small|full] [--out FOLDER]

Each row is one number of runs or trials, added to those of the row before; `full` has 10^4. The trials are added with
random values, as a search leaves them behind. Then TPE proposes `TIMED` more: 10^4 proposals would take hours.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.common import Row, pick, publish, timed

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

PARAMS, METRICS = 60, 40  # of a run: about what a training and its scores log
DIMENSIONS = 10  # of a trial
TIMED = 20  # trials that TPE proposes at each size


def mlflow_runs(counts: tuple[int, ...]) -> list[Row]:
    """Seconds to write one run, to find the best by a metric and to list a hundred; size of the file."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "mlflow.db"
        client = MlflowClient(f"sqlite:///{file}")
        experiment, done = client.create_experiment("many", Path(name).as_uri()), 0
        params = [Param(f"param{i}", str(i)) for i in range(PARAMS)]
        for count in counts:
            start, new = time.perf_counter(), count - done
            for k in range(done, count):
                run = client.create_run(experiment, run_name=f"run {k}").info.run_id
                metrics = [Metric(f"metric{i}", float((k * 7919) % 10007), k, 0) for i in range(METRICS)]
                client.log_batch(run, metrics=metrics, params=params)
                client.set_terminated(run)
            written = (time.perf_counter() - start) / new
            done = count
            best = timed(lambda: client.search_runs([experiment], order_by=["metrics.metric0 ASC"], max_results=1))
            listed = timed(lambda: client.search_runs([experiment], max_results=100))
            rows.append(
                {
                    "runs": count,
                    "write one, s": written,
                    "find the best, s": best,
                    "list 100, s": listed,
                    "MiB": file.stat().st_size / 2**20,
                }
            )
    return rows


def optuna_trials(counts: tuple[int, ...]) -> list[Row]:
    """Seconds of a trial without work: TPE's proposal of ten values and the store, by the kind of store."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        journal, database = Path(name) / "journal.log", Path(name) / "optuna.db"
        stores: dict[str, tuple[Callable[[], Any], Path]] = {
            "journal file": (lambda: JournalStorage(JournalFileBackend(str(journal))), journal),
            "SQLite": (lambda: f"sqlite:///{database}", database),
        }
        for kind, (storage, file) in stores.items():
            sampler = optuna.samplers.TPESampler(seed=0, multivariate=True)
            study = optuna.create_study(storage=storage(), sampler=sampler, study_name="many")
            done = 0
            for count in counts:
                trials = [_random_trial(number) for number in range(done, count)]
                added = timed(lambda study=study, trials=trials: study.add_trials(trials)) / len(trials)
                seconds = timed(lambda study=study: study.optimize(_objective, n_trials=TIMED)) / TIMED
                done = count + TIMED
                opened = timed(lambda s=storage: optuna.load_study(study_name="many", storage=s()).best_value)
                rows.append(
                    {
                        "store": kind,
                        "trials": count,
                        "add one, s": added,
                        "propose and add one, s": seconds,
                        "open and find the best, s": opened,
                        "MiB": file.stat().st_size / 2**20,
                    }
                )
    return rows


def _random_trial(seed: int) -> "FrozenTrial":
    """A finished trial with values as `_objective` asks for."""
    import optuna

    draw = random.Random(seed)
    values = [draw.uniform(-1.0, 1.0) for _ in range(DIMENSIONS)]
    space = optuna.distributions.FloatDistribution(-1.0, 1.0)
    names = [f"x{i}" for i in range(DIMENSIONS)]
    return optuna.create_trial(
        params=dict(zip(names, values, strict=True)),
        distributions=dict.fromkeys(names, space),
        value=_distance(values),
    )


def _objective(trial: "Trial") -> float:
    return _distance([trial.suggest_float(f"x{i}", -1.0, 1.0) for i in range(DIMENSIONS)])


def _distance(values: list[float]) -> float:
    return sum((value - 0.1 * i) ** 2 for i, value in enumerate(values))


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    counts = pick(size, (5, 30), (100, 1000), (100, 1000, 10_000))
    publish("bookkeeping", {"MLflow": mlflow_runs(counts), "Optuna": optuna_trials(counts)}, out)


if __name__ == "__main__":
    typer.run(main)
