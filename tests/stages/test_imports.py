"""What a stage imports from its start to its end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a stage does not need, from its start to its end: torch's compiler (with sympy) takes a second to import.
NOT_NEEDED = {"torch._dynamo", "sympy", "mlflow", "pandas", "matplotlib", "torchvision", "sklearn", "dvc", "hydra"}
RUN = """
import runpy, sys
name, unwanted, *arguments = sys.argv[1:]
sys.argv = [name, *arguments]
try:
    runpy.run_module(f"stages.{name}", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
sys.exit(str(found) if (found := set(unwanted.split()) & set(sys.modules)) else 0)
"""


def test_a_warm_process_needs_neither_the_program_git_nor_ipython() -> None:
    code = (
        "import sys; sys.modules['IPython'] = None; import stages; stages.LATER = ()\n"  # they take seconds
        "stages.prepare(); print('git' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.parametrize(
    ("stage", "arguments"),
    [("latents", ()), ("sample", ("--noise", "laplace", "--sampler", "auto"))],
)
def test_a_stage_imports_nothing_that_it_does_not_need(
    stage: str, arguments: tuple[str, ...], smoke: Path, tmp_path: Path
) -> None:
    for name in ("conf", "data", "models", "params.yaml"):
        copy = shutil.copytree if (smoke / name).is_dir() else shutil.copy
        copy(smoke / name, tmp_path / name)
    command = [sys.executable, "-c", RUN, stage, " ".join(NOT_NEEDED), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
