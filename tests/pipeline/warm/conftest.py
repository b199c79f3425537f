"""What the tests of the warm process share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A new folder with a short path: that of a socket has a limit, which pytest's folders pass."""
    with tempfile.TemporaryDirectory(prefix="warm-") as name:
        yield Path(name)
