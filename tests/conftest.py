"""Fixtures shared by all tests."""

import os
from pathlib import Path
from typing import Any

# pytest-xdist runs two processes; threads on top of them only get in each other's way. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


@pytest.fixture
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture
def content() -> dict[str, Any]:
    """The tracked params.yaml as nested dictionaries, free to be changed by a test."""
    loaded: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
    return loaded
