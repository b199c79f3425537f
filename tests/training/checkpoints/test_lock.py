"""The lock of a folder: one command at a time, free after a kill, and no file that stays. See test_checkpointer.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.training.checkpoints.lock import alone, if_free, locked

HOLDS = """
import sys, time
from pathlib import Path
from ngldm.training.checkpoints.lock import alone
with alone(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_until_its_process_ends_even_by_a_kill(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "laplace"
    other = subprocess.Popen([sys.executable, "-c", HOLDS, folder], cwd=root, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "holds\n"
    with if_free(folder) as free:
        assert not free
    assert locked(tmp_path, "*") == [folder]
    other.kill()
    other.communicate()
    with if_free(folder) as free:
        assert free
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_lock_stays_only_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "laplace"
    with alone(folder):
        folder.mkdir()
    assert locked(tmp_path, "lap*") == [folder]
    assert locked(tmp_path, "gauss*") == []
    folder.rmdir()
    with alone(folder):
        pass
    assert locked(tmp_path, "*") == []


def test_a_place_that_cannot_be_written_is_a_fault_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot keep checkpoints here"), alone(tmp_path / "file" / "laplace"):
        pass
