"""What the tests of the warm process share."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.pipeline.warm.commands import Commands


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A new folder with a short path: that of a socket has a limit, which pytest's folders pass."""
    with tempfile.TemporaryDirectory(prefix="warm-") as name:
        yield Path(name)


@pytest.fixture
def commands(tmp_path: Path, sockets: Path) -> Iterator[Commands]:
    made = Commands(tmp_path, sockets)
    yield made
    for process in made.servers():
        with suppress(psutil.NoSuchProcess):  # it may have ended by itself
            process.kill()
        process.wait(10)
