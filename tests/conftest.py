"""Fixtures shared by all tests."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist runs two test processes; threads on top only get in the way

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
