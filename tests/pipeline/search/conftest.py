"""A search with trials of a second, on recipe smoke."""

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
def write_search(workspace: Path) -> Callable[..., None]:
    """`write_search(trials=5)`: conf/search/tiny.yaml is `TINY` with other values."""

    def write(**changes: Any) -> None:
        YAML().dump({**TINY, **changes}, workspace / "conf" / "search" / "tiny.yaml")

    return write
