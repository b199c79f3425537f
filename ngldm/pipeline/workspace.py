"""Where each stage writes. dvc.yaml names the same paths; a test holds the two equal."""

import os
from collections.abc import Sequence
from pathlib import Path

from ngldm.io.errors import unknown

RAW = Path("data/raw")  # downloads, at the main repository's root; not an output
DATASET = Path("data/dataset")
DOWNLOAD_METRICS = Path("metrics/download.json")
AUTOENCODER = Path("models/autoencoder.safetensors")
AUTOENCODER_METRICS = Path("metrics/autoencoder.json")
AUTOENCODER_PLOT = Path("plots/autoencoder.csv")
LATENTS = Path("data/latents")
LATENTS_METRICS = Path("metrics/latents.json")
REFERENCE = Path("data/reference")
REFERENCE_METRICS = Path("metrics/reference.json")
STUDY = Path("study")
STUDY_METRICS = Path("metrics/study.json")
CURVE = Path("plots/curve")
CURVE_METRICS = Path("metrics/curve.json")
REPORTS = Path("reports")
SCORES = Path("metrics/scores.json")


def model(noise: str) -> Path:
    return Path("models") / noise / "model.safetensors"


def train_metrics(noise: str) -> Path:
    return Path("metrics/train") / f"{noise}.json"


def train_plot(noise: str) -> Path:
    return Path("plots/train") / f"{noise}.csv"


def snapshots(noise: str) -> Path:
    return Path("snapshots") / noise


def samples(noise: str, sampler: str) -> Path:
    return Path("samples") / f"{noise}-{sampler}"


def sample_metrics(noise: str, sampler: str) -> Path:
    return Path("metrics/sample") / f"{noise}-{sampler}.json"


def sample_plot(noise: str, sampler: str) -> Path:
    return Path("plots/samples") / f"{noise}-{sampler}.png"


def evaluate_metrics(noise: str, sampler: str) -> Path:
    return Path("metrics/evaluate") / f"{noise}-{sampler}.json"


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
