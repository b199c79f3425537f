"""Loading files: the way without faults. tests/faults/test_downloads.py has the faults."""

from pathlib import Path
from typing import Any

import pytest

from ngldm.data.web import download, open_address
from ngldm.io.errors import InputError


def test_a_file_appears_whole(server: Any, tmp_path: Path) -> None:
    server.files["a.bin"] = b"content" * 1000
    download("key", f"{server.url}a.bin", tmp_path / "deep" / "a.bin", 10**6)
    assert (tmp_path / "deep" / "a.bin").read_bytes() == server.files["a.bin"]
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_an_answer_can_be_read(server: Any) -> None:
    server.files["a.bin"] = b"content"
    with open_address("key", f"{server.url}a.bin") as answer:
        assert (answer.length, answer.read()) == (7, b"content")


def test_a_missing_file_is_named(server: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"key: http://127.*/a\.bin cannot be downloaded \(HTTP Error 404"):
        download("key", f"{server.url}a.bin", tmp_path / "a.bin", 10)
