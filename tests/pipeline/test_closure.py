"""The code behind a module: followed through imports, hashed, and always that of the copy that runs."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ngldm.pipeline.closure import ROOT, code_behind, code_hash, made_from

STAGES = sorted(path for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
JOBS = [ROOT / "ngldm" / "pipeline" / "experiments" / name for name in ("curve.py", "study/run.py")]
STAGE = dict(zip(JOBS, ("curve", "study"), strict=True))

PROJECT = {
    "ngldm/__init__.py": "from ngldm.lazy import face\n",
    "ngldm/lazy.py": "face = 1\n",
    "ngldm/a/__init__.py": '"""Docstring alone."""\n',
    "ngldm/a/direct.py": "from ngldm.b import names\n",
    "ngldm/a/inside.py": "def f():\n    import ngldm.a.deep\n",
    "ngldm/a/deep.py": "from . import relative\n",
    "ngldm/a/relative.py": "",
    "ngldm/a/unrelated.py": "",
    "ngldm/b/__init__.py": "from ngldm.b.names import one\n",
    "ngldm/b/names.py": "one = 1\n",
    "ngldm/pipeline/terminal.py": "import ngldm.a.unrelated\n",
    "ngldm/pipeline/report/page.py": 'import numpy\nTEMPLATE = "page.html"\n',
    "ngldm/pipeline/report/page.html": "<p>",
    "ngldm/pipeline/report/notes.txt": "not read",
    "stages/one.py": "from ngldm.a import direct, inside\nfrom ngldm.pipeline import terminal\n"
    "import ngldm.pipeline.report.page\n",
}
BEHIND = {
    "ngldm/a/deep.py",
    "ngldm/a/direct.py",
    "ngldm/a/inside.py",
    "ngldm/a/relative.py",
    "ngldm/b/__init__.py",
    "ngldm/b/names.py",
    "ngldm/pipeline/report/page.html",
    "ngldm/pipeline/report/page.py",
    "stages/one.py",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, content in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_imports_are_followed_wherever_they_stand_and_files_that_are_read_count(project: Path) -> None:
    found = code_behind(project / "stages" / "one.py", project)
    assert {path.relative_to(project).as_posix() for path in found} == BEHIND


@pytest.mark.parametrize("name", PROJECT)
def test_the_hash_changes_with_each_file_behind_and_with_no_other(project: Path, name: str) -> None:
    module = project / "stages" / "one.py"
    before = code_hash(module, project)
    with (project / name).open("a") as file:
        file.write("\n")
    assert (code_hash(module, project) != before) is (name in BEHIND)


def test_a_new_import_brings_its_file_in(project: Path) -> None:
    module = project / "stages" / "one.py"
    (project / "ngldm/a/relative.py").write_text("import ngldm.a.unrelated")
    assert project / "ngldm/a/unrelated.py" in code_behind(module, project)


def copy_of_the_code(folder: Path, *packages: str) -> Path:
    for package in packages:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("module", [*STAGES, *JOBS], ids=lambda path: path.stem)
def test_the_hash_is_the_same_in_a_copy(module: Path, tmp_path: Path) -> None:
    copy = copy_of_the_code(tmp_path, "ngldm", "stages")
    assert code_hash(copy / module.relative_to(ROOT), copy) == code_hash(module)


@pytest.mark.parametrize("module", JOBS, ids=lambda path: path.stem)
def test_a_job_needs_no_stages(module: Path, tmp_path: Path) -> None:
    """As in a wheel, which holds the package alone."""
    copy = copy_of_the_code(tmp_path, "ngldm")
    assert code_hash(copy / module.relative_to(ROOT), copy) == code_hash(module)


@pytest.mark.parametrize("module", JOBS, ids=lambda path: path.stem)
def test_no_code_of_its_stage_is_outside_a_jobs_hash(module: Path) -> None:
    """But for the stage itself and the list of snapshots, which only finds the jobs."""
    stage = ROOT / "stages" / f"{STAGE[module]}.py"
    outside = set(code_behind(stage)) - set(code_behind(module))
    assert stage in outside
    assert outside <= {stage, ROOT / "ngldm" / "data" / "snapshots.py"}


def test_nothing_imports_the_packages_lazy_names() -> None:
    """The closure does not follow them: `ngldm/__init__.py` would bring in the whole library."""
    for path in [*(ROOT / "ngldm").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module == "ngldm" and path.name != "__main__.py":
                for alias in node.names:
                    place = ROOT / "ngldm" / alias.name
                    assert alias.name == "__version__" or place.is_dir() or place.with_suffix(".py").is_file(), path


def test_a_stage_in_a_copy_of_the_repository_hashes_the_copy(tmp_path: Path) -> None:
    """DVC runs `exp run --temp` in a copy; ngldm is installed from the original, or lies in PYTHONPATH."""
    copy = copy_of_the_code(tmp_path, "ngldm", "stages")
    probe = "from pathlib import Path\nfrom ngldm.pipeline import closure\nprint(closure.code_hash(Path(__file__)))\n"
    (copy / "stages" / "probe.py").write_text(probe + "import ngldm.io.errors\n")
    call = [sys.executable, "-m", "stages.probe"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def hashed() -> str:
        done = subprocess.run(call, cwd=copy, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    before = hashed()
    assert before == code_hash(copy / "stages" / "probe.py", copy)
    with (copy / "ngldm" / "io" / "errors.py").open("a") as file:
        file.write("# edited\n")
    assert hashed() != before


def test_what_a_result_is_made_from_changes_with_each_part(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("1")
    first = made_from({"lr": 1}, [data], JOBS[0])
    assert made_from({"lr": 1}, [data], JOBS[0]) == first
    assert made_from({"lr": 2}, [data], JOBS[0]) != first
    assert made_from({"lr": 1}, [data], JOBS[1]) != first
    data.write_text("2")
    assert made_from({"lr": 1}, [data], JOBS[0]) != first


def test_no_code_of_results_imports_the_lazy_face(root: Path) -> None:
    """`ngldm/__init__.py` imports by name at run time, so the closure would miss what lies behind it."""
    behind = {file for stage in (root / "stages").glob("*.py") for file in code_behind(stage, root)}
    assert len(behind) > 50
    for file in behind:
        if file.suffix == ".py":
            assert not re.search(r"^\s*(import ngldm( as \w+)?$|from ngldm import )", file.read_text(), re.M), file
