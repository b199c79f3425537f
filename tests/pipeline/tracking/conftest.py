"""A store in a folder of its own, and what the tests of this folder share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngldm.pipeline.config.params import Params, parse_params
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.store import Store
from ngldm.training.loop import Report


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of all these tests lives: making one costs seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def params(content: dict[str, Any]) -> Params:
    return parse_params(content)


@pytest.fixture
def store(folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(folder)
    return Store(params.experiment)


@pytest.fixture
def report() -> Callable[..., Report]:
    """What the training loop says of a step."""
    return lambda step=10, heldout_loss=None: Report(step, 0.5, 0.5, 1e-3, 1.0, 100.0, heldout_loss)


@pytest.fixture
def frames(store: Store) -> Callable[[Run], set[tuple[str, int]]]:
    """Key and step of each picture that a run keeps for MLflow's image view."""

    def found(run: Run) -> set[tuple[str, int]]:
        parts = [re.split("[%+]", Path(file.path).name) for file in store.client.list_artifacts(run.id, "images")]
        return {(key, int(step)) for key, _, step, *_ in parts}

    return found
