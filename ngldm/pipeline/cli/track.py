"""`ngldm track`: records that MLflow could not take."""

import os

import typer

from ngldm.pipeline.terminal import quietable

app = typer.Typer(help="Records for MLflow that could not be sent.", no_args_is_help=True)
PATIENT = "60"  # seconds for each request: nothing waits for this command but its user


def sync() -> None:
    """Send to MLflow what stages had to keep in unsent/ while the store was away. Exit with 1 if something is left."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT)
    from ngldm.pipeline.tracking.care.journal import experiments, folder, kept
    from ngldm.pipeline.tracking.store import Store

    if not kept():
        print("nothing is kept for this store")
        return
    for experiment in experiments():
        Store(experiment)
    if left := len(kept()):
        print(f"{left} journals are left in {folder()}: the store fails, or their stages are still running")
        raise typer.Exit(1)


app.command(name="sync")(quietable(sync))
app.callback()(lambda: None)  # a group, though it has one command
