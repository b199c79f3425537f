"""Where and when a result was made."""

import platform
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch

from ngldm.io import processes
from ngldm.pipeline.origin import origin


def test_it_names_date_machine_and_versions() -> None:
    found = origin(torch.device("cpu"))
    made = datetime.strptime(found["date"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - made < timedelta(minutes=2)
    assert (found["python"], found["torch"]) == (platform.python_version(), torch.__version__)
    assert found["numpy"] == np.__version__
    assert found["machine"].startswith("cpu, ")
    assert platform.node() not in found["machine"].split()  # the machine's name says nothing to others


def test_it_names_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Quick 9000")
    monkeypatch.setattr(processes, "size", lambda: 4)
    assert origin(torch.device("cuda"))["machine"].startswith("4 x Quick 9000, ")
