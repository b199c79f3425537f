"""A workspace for searches: recipe smoke, run once, and a search with trials of a second."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

TINY: dict[str, Any] = {
    "trials": 3,
    "startup": 1,
    "optimiser": "tpe",
    "attempts": 2,
    "halving": {"first": 5, "reduction": 2},
    "overrides": {"train.max_steps": 10, "train.checkpoint_every": 5, "train.snapshot_every": 0},
    "noises": {"laplace": {}},
    "space": {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    "sampling": {
        "settings": 1,
        "num_images": 32,
        "batch_size": 32,
        "max_calls": 10,
        "rung": {"method": "dpmpp_2m", "num_inference_steps": 3},
        "space": {
            "method": {"choices": ["dpmpp_2m", "ddim"]},
            "num_inference_steps": {"low": 2, "high": 5},
        },
    },
}


@pytest.fixture
def workspace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("data", "models", "conf"):
        shutil.copytree(smoke / name, tmp_path / name)
    for name in ("mlflow.db", "params.yaml"):
        shutil.copy(smoke / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_search(workspace: Path) -> Callable[..., None]:
    """`write_search(trials=5)`: conf/search/tiny.yaml is `TINY` with other values."""

    def write(**changes: Any) -> None:
        YAML().dump({**TINY, **changes}, workspace / "conf" / "search" / "tiny.yaml")

    return write
