"""The stages, and where each of them writes. dvc.yaml names the same stages and paths; a test holds the two equal."""

import os
from collections.abc import Sequence
from pathlib import Path

from ngldm.io.errors import unknown

# The stages, in the order in which they run.
STAGES = (
    *("download", "autoencoder", "latents", "reference", "theory", "train"),
    *("sample", "evaluate", "curve", "study", "report"),
)
RAW = Path("data/raw")  # downloads, at the main repository's root; not an output
DATASET = Path("data/dataset")
AUTOENCODER = Path("models/autoencoder.safetensors")
AUTOENCODER_PLOT = Path("plots/autoencoder.csv")
RECONSTRUCTIONS = Path("plots/reconstructions.png")
LATENTS = Path("data/latents")
REFERENCE = Path("data/reference")
THEORY = Path("metrics/theory")
STUDY = Path("study")
CURVE = Path("plots/curve")
REPORTS = Path("reports")
SCORES = Path("metrics/scores.json")


def metrics(stage: str, *labels: str) -> Path:
    """A stage's own figures.

    Args:
        labels: the noise, or the noise and the sampler, of a stage that runs once for each.
    """
    return Path("metrics", stage, f"{'-'.join(labels)}.json") if labels else Path("metrics", f"{stage}.json")


def model(noise: str) -> Path:
    return Path("models") / noise / "model.safetensors"


def train_plot(noise: str) -> Path:
    return Path("plots/train") / f"{noise}.csv"


def snapshots(noise: str) -> Path:
    return Path("snapshots") / noise


def samples(noise: str, sampler: str) -> Path:
    return Path("samples") / noise / sampler


def sample_plot(noise: str, sampler: str) -> Path:
    return Path("plots/samples") / f"{noise}-{sampler}.png"


def require_label(kind: str, label: str, allowed: Sequence[str]) -> None:
    """Check a command's --noise or --sampler against params.yaml.

    Raises:
        InputError: params.yaml does not list it.
    """
    if label not in allowed:
        raise unknown(kind, label, allowed)


def main_root(start: Path | None = None) -> Path:
    """The root of the main repository, also from inside one of DVC's experiment copies under .dvc/tmp/exps."""
    here = (start or Path.cwd()).resolve()
    for parent in (here, *here.parents):
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


def store_file() -> Path | None:
    """The SQLite file of the MLflow store; None where MLFLOW_TRACKING_URI names another store.

    `mlflow.set_tracking_uri` sets that variable in its own process: ask before it.
    """
    return None if os.environ.get("MLFLOW_TRACKING_URI") else main_root() / "mlflow.db"


def tracking_uri() -> str:
    """Address of the MLflow store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store_file()}"
