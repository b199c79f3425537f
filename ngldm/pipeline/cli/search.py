"""`ngldm search`: find the best settings of each noise, show them, confirm them on fresh seeds, write them to conf/."""

from typing import TYPE_CHECKING, Annotated

import typer

from ngldm.io.limits import MAX_REPEATS
from ngldm.pipeline.cli.catalogue import complete_search
from ngldm.pipeline.terminal import Device, print_table, progress

if TYPE_CHECKING:
    from optuna import Study

    from ngldm.pipeline.search.studies import Plan

app = typer.Typer(help="Search the best settings of each noise (docs/tuning.md).", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A file of conf/search, without .yaml.", autocompletion=complete_search)]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="NGLDM_SEARCH_STORAGE",
        help="Shared storage: path of a journal file, or URL of a database, postgresql+psycopg2://user@host/name.",
        show_default="searches/<name>.journal",
    ),
]
Workers = Annotated[int, typer.Option(min=1, max=MAX_REPEATS, help="Processes on this machine, with one thread each.")]
Noises = Annotated[
    list[str] | None, typer.Option("--noise", help="Only this noise; may be repeated.", show_default="all")
]


@app.command()
def run(
    name: Name,
    storage: Storage = None,
    noise: Noises = None,
    workers: Annotated[
        int, typer.Option(min=1, max=MAX_REPEATS, help="Processes on this machine, with one thread each.")
    ] = 1,
    grace: Annotated[
        int, typer.Option(min=3, max=86_400, help="Seconds without a sign of life after which a worker counts as dead.")
    ] = 60,
    device: Device = "auto",
) -> None:
    """Work on a search until each noise has its trials. Start as many workers as you like, also on other machines.

    Ctrl-C stops it at any time, and the same command continues it. Trainings go on from their checkpoints.
    """
    from ngldm.io.device import resolve_device
    from ngldm.pipeline.search.studies import make_plan, prepare
    from ngldm.pipeline.search.worker import work, work_together

    plan = make_plan(name, storage, noise)
    resolve_device(device)
    prepare(plan, grace)
    if workers == 1:
        work(plan, device, grace, lambda line: print(line, flush=True))
    else:
        work_together(plan, device, grace, workers)
    _print_best(plan)


@app.command()
def show(
    name: Name,
    storage: Storage = None,
    noise: Noises = None,
    write: Annotated[bool, typer.Option(help="Write tuning/summary.csv and importance.csv for the report.")] = False,
) -> None:
    """Show the best trial of each noise, what its scores depend on, and the scores on fresh seeds if there are some."""
    from ngldm.pipeline.search.results import importances, write_summary
    from ngldm.pipeline.search.studies import make_plan

    plan = make_plan(name, storage, noise)
    studies = _print_best(plan)
    shares = {label: importances(study) for label, study in studies.items()}
    keys = sorted({key for found in shares.values() for key in found}, key=lambda k: -_most(shares, k))
    if keys:
        rows = [[key, *(f"{found[key]:.2f}" if key in found else "-" for found in shares.values())] for key in keys]
        print_table(["setting", *shares], rows, "importance: share of the variance of the scores (fANOVA)")
    _print_confirmed()
    if write:
        write_summary(plan, studies)


def _most(shares: dict[str, dict[str, float]], key: str) -> float:
    return max(found.get(key, 0.0) for found in shares.values())


@app.command()
def confirm(
    name: Name,
    storage: Storage = None,
    workers: Annotated[
        int, typer.Option(min=1, max=MAX_REPEATS, help="Processes on this machine, with one thread each.")
    ] = 1,
    device: Device = "auto",
) -> None:
    """Train and score the winners again on seeds that the search did not use: tuning/confirmed/scores.csv.

    The score of a search's winner is too good, because it was chosen for being low. These scores are not.
    """
    from ngldm.data.dataset import open_dataset
    from ngldm.io.device import resolve_device
    from ngldm.io.errors import InputError
    from ngldm.pipeline import workspace
    from ngldm.pipeline.search.results import confirm as run_confirmation
    from ngldm.pipeline.search.results import confirm_jobs
    from ngldm.pipeline.search.storage import best_trial
    from ngldm.pipeline.search.studies import make_plan

    plan = make_plan(name, storage, None)
    shape, jobs = open_dataset(workspace.DATASET).item_shape, []
    for label, study in _studies(plan).items():
        best = best_trial(study)
        if best is None:
            raise InputError(
                f"{plan.study_name(label)}: has no complete trial yet; `ngldm search run {name}` makes them"
            )
        jobs += confirm_jobs(plan, label, best, shape)
    with progress(f"confirm {name}", len(jobs), "trainings") as advance:
        run_confirmation(jobs, str(resolve_device(device)), workers, advance)
    _print_confirmed()


@app.command()
def apply(name: Name, storage: Storage = None, noise: Noises = None) -> None:
    """Write the best settings of each noise as conf/tuned/<noise>.yaml, for `dvc exp run -S noise=... -S tuned=...`."""
    from ngldm.io.errors import InputError
    from ngldm.pipeline.search.results import write_tuned
    from ngldm.pipeline.search.storage import best_trial
    from ngldm.pipeline.search.studies import make_plan

    plan = make_plan(name, storage, noise)
    studies = _studies(plan)
    if not any(best_trial(study) for study in studies.values()):
        raise InputError(f"search {name!r} has no complete trial yet; `ngldm search run {name}` makes them")
    for label, study in studies.items():
        if best_trial(study):
            print(write_tuned(plan, label, study))
        else:
            print(f"{label}: no complete trial yet, nothing is written")


def _studies(plan: "Plan") -> "dict[str, Study]":
    from ngldm.pipeline.search.storage import open_storage
    from ngldm.pipeline.search.studies import open_studies

    return open_studies(plan, open_storage(plan.storage, create=False), create=False)


def _print_best(plan: "Plan") -> "dict[str, Study]":
    from ngldm.pipeline.report.tuning import SUMMARY_COLUMNS
    from ngldm.pipeline.search.results import summary_row

    studies = _studies(plan)
    columns = [column for column in SUMMARY_COLUMNS if column not in ("search", "sampler", "settings")]
    found = [summary_row(plan, label, study) for label, study in studies.items()]
    rows = [[f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in columns] for row in found]
    print_table(columns, rows, f"search {plan.name}: the best of each noise")
    for row in found:
        if row["settings"]:
            print(f"{row['noise']}: {row['settings']}\n  sampler: {row['sampler']}")
    return studies


def _print_confirmed() -> None:
    from ngldm.pipeline.report.tuning import confirmed_summary

    rows = [
        [row["variant"], f"{row['mean']:.4g}", f"{row['std_error']:.2g}", f"{row['ratio']:.3g}", row["seeds"]]
        for row in confirmed_summary()
    ]
    if rows:
        columns = ("noise", "mean", "standard error", "ratio to gaussian", "seeds")
        print_table(columns, rows, "the winners on fresh seeds (`ngldm search confirm`)")
