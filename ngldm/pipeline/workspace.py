"""The stages, and where each of them writes. dvc.yaml names the same stages and paths; a test compares the two."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ngldm.io.errors import unknown

# The stages, in the order in which they run.
STAGES = (
    *("download", "autoencoder", "latents", "reference", "theory", "train"),
    *("sample", "evaluate", "curve", "study", "report"),
)
RAW = Path("data/raw")  # downloaded files, in the main repository; not an output of a stage
DATASET = Path("data/dataset")
AUTOENCODER = Path("models/autoencoder.safetensors")
AUTOENCODER_PLOT = Path("plots/autoencoder.csv")
RECONSTRUCTIONS = Path("plots/reconstructions.png")
LATENTS = Path("data/latents")
REFERENCE = Path("data/reference")
FURTHER = REFERENCE / "further.npz"
THEORY = Path("metrics/theory")
STUDY = Path("study")
TUNING = Path("tuning")  # results of `ngldm search`, which no stage writes
CURVE = Path("plots/curve")
REPORTS = Path("reports")
SCORES = Path("metrics/scores.json")


def metrics(stage: str, *labels: str) -> Path:
    """The JSON file with a stage's figures.

    Args:
        stage: its name.
        labels: for a stage that runs once per training, or per training and sampler: their labels.
    """
    return Path("metrics", stage, f"{'-'.join(labels)}.json") if labels else Path("metrics", f"{stage}.json")


def model(noise: str) -> Path:
    """The model file of a training. Its label is that of its noise; with further seeds, as `laplace-s1`."""
    return Path("models") / noise / "model.safetensors"


def trained() -> list[str]:
    """The labels of the trainings whose model files are here, in alphabetical order."""
    return sorted(file.parent.name for file in Path("models").glob("*/model.safetensors"))


def train_plot(noise: str) -> Path:
    return Path("plots/train") / f"{noise}.csv"


def snapshots(noise: str) -> Path:
    return Path("snapshots") / noise


def samples(noise: str, sampler: str) -> Path:
    return Path("samples") / noise / sampler


def sample_plot(noise: str, sampler: str) -> Path:
    return Path("plots/samples") / f"{noise}-{sampler}.png"


def output_folders() -> list[Path]:
    """The folders that are there in which stages write files and folders beside those of other stages."""
    tops = ("data", "metrics", "models", "plots", "samples", "snapshots")
    return [Path(), *(folder for top in tops for folder in (Path(top), *Path(top).glob("*/")) if folder.is_dir())]


def require_label(kind: str, label: str, allowed: Sequence[str]) -> None:
    """Check that params.yaml lists the label that a command was given as --noise or --sampler.

    Args:
        kind: "noise" or "sampler".
        allowed: the labels in params.yaml.

    Raises:
        InputError: it does not.
    """
    if label not in allowed:
        raise unknown(kind, label, allowed)


def main_root(start: Path | None = None) -> Path:
    """The root of the main repository, even inside a copy that DVC makes for an experiment, under .dvc/tmp/exps."""
    here = (start or Path.cwd()).resolve()
    for parent in (here, *here.parents):
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


def store_file() -> Path | None:
    """The SQLite file of the MLflow store. None if MLFLOW_TRACKING_URI names another store.

    `mlflow.set_tracking_uri` sets that variable too.
    """
    file = main_root() / "mlflow.db"
    return file if os.environ.get("MLFLOW_TRACKING_URI", "") in ("", f"sqlite:///{file}") else None


def tracking_uri() -> str:
    """The address of the MLflow store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store_file()}"


def without_password(address: str) -> str:
    """An address of a store as messages may show it.

    What SQLAlchemy takes as a password need not be quoted as in the web's addresses: it may hold / and #. A user of the
    web's addresses who has no password may be a token.
    """
    shown = re.sub(r"(://[^:/?#]*):.*@", r"\1:***@", address)
    shown = re.sub(r"(?i)^(https?://)[^:/?#@]+@", r"\1***@", shown)
    return re.sub(r"(?i)([?&]\w*(?:password|passwd|pwd)=)[^&]*", r"\1***", shown)


def said_of(address: str, error: BaseException) -> str:
    """The first line of what a library says of an address, which it may quote, without the address's password."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.replace(address, without_password(address))
