"""One module for each stage of dvc.yaml, with its command: `python -m stages.train --noise laplace`."""

import sys
from contextlib import suppress
from importlib import import_module

from ngldm.pipeline.signals import listen
from ngldm.pipeline.warm.client import let_warm_process_do_it

LATER = (
    "accelerate.utils",
    "alembic.command",
    "dvc.utils.hydra",
    "dvc.utils.serialize",
    "hydra",
    "mlflow.data.numpy_dataset",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor",
    "mlflow.tracing.processor.base_mlflow",
    "sqlalchemy.dialects.sqlite",
    "tabulate",
    "torch._dynamo",
)
# MLflow asks git for the commit, and IPython whether this is a notebook. The import of git fails without its program.
IF_USABLE = ("git", "IPython")


def prepare() -> None:
    """Import what the stages import within their functions: a warm process has it before them."""
    import_module("ngldm.pipeline.tracking.store").quieten()
    for name in LATER:
        import_module(name)
    for name in IF_USABLE:
        with suppress(ImportError):
            import_module(name)


if sys.argv[0] == "-m":  # `python -m stages.train`: the stage itself comes next, whose imports take seconds
    listen()
    let_warm_process_do_it()
