"""What others install: the package ngldm with all its files, and nothing of the pipeline around it."""

import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest


def test_the_wheel_holds_the_package_alone(root: Path, tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv, which builds the wheel, is not installed")
    call = ["uv", "build", "--wheel", "--out-dir", str(tmp_path), str(root)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if "Failed to resolve requirements from `build-system.requires`" in done.stderr:
        pytest.skip("the build backend, hatchling, is neither in uv's cache nor can it be downloaded")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    ls = ("ls-files", "--cached", "--others", "--exclude-standard", "ngldm")
    tracked = subprocess.run(["git", *ls], cwd=root, capture_output=True, text=True, check=True)
    assert sorted(names) == sorted(tracked.stdout.split())
