"""The house's rules: who imports whom, what dvc.yaml says of each stage, what starts fast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ngldm.pipeline import workspace as paths
from ngldm.pipeline.closure import code_behind, is_code_of_results

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Labels and lists that decide which stages exist or where MLflow files them, not what a stage computes.
NOT_INPUTS = {"noises", "samplers", "experiment"}


def covered(stage: str) -> set[Path]:
    """The files of code that a stage's deps name, folders unfolded."""
    found = set()
    for dep in PIPELINE[stage]["deps"]:
        if dep.startswith(("ngldm/", "stages/")):
            path = ROOT / dep
            found |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return {path for path in found if is_code_of_results(path, ROOT)}


@pytest.mark.parametrize("stage", PIPELINE)
def test_code_deps_equal_the_import_closure(stage):
    """An edit re-runs what it affects, nothing else, and never leaves a stale result."""
    assert covered(stage) == set(code_behind(ROOT / "stages" / f"{stage}.py", ROOT))


def params_read(stage: str) -> set[str]:
    """Top-level keys that a stage reads as `params.<key>`."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    return {{"noise_arguments": "noise_options"}.get(key, key) for key in read} - NOT_INPUTS


@pytest.mark.parametrize("stage", [stage for stage in PIPELINE if stage != "report"])
def test_declared_params_equal_those_that_the_stage_reads(stage):
    declared = {key.split(".")[0] for key in PIPELINE[stage]["params"]}
    assert declared - NOT_INPUTS == params_read(stage)


def test_the_report_depends_on_the_whole_params_file():
    assert PIPELINE["report"]["params"] == [{"params.yaml": None}]


def declared_outputs(stage: str) -> set[str]:
    entries = [e for kind in ("outs", "metrics", "plots") for e in PIPELINE[stage].get(kind, [])]
    return {next(iter(e)) if isinstance(e, dict) else e for e in entries}


def test_paths_in_the_code_equal_those_in_dvc_yaml():
    noise, sampler = "${item.noise}", "${item.sampler}"
    both = {
        "download": {paths.DATASET, paths.DOWNLOAD_METRICS},
        "autoencoder": {paths.AUTOENCODER, paths.AUTOENCODER_METRICS, paths.AUTOENCODER_PLOT},
        "latents": {paths.LATENTS, paths.LATENTS_METRICS},
        "reference": {paths.REFERENCE, paths.REFERENCE_METRICS},
        "train": {paths.model(noise), paths.train_metrics(noise), paths.train_plot(noise), paths.snapshots(noise)},
        "curve": {paths.CURVE, paths.CURVE_METRICS},
        "sample": {
            paths.samples(noise, sampler),
            paths.sample_metrics(noise, sampler),
            paths.sample_plot(noise, sampler),
        },
        "evaluate": {paths.evaluate_metrics(noise, sampler)},
        "study": {paths.STUDY, paths.STUDY_METRICS},
        "report": {paths.REPORTS, paths.SCORES},
    }
    assert {stage: declared_outputs(stage) for stage in PIPELINE} == {
        stage: {str(path) for path in outputs} for stage, outputs in both.items()
    }


def test_every_output_is_ignored_by_git():
    for stage in PIPELINE:
        for path in declared_outputs(stage):
            code = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode
            assert code == 0, f"{path} would be offered to git"


def test_every_stage_has_its_file():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"} == set(PIPELINE)


def test_the_package_file_holds_no_code():
    """ngldm/__init__.py is in no stage's deps."""
    body = ast.parse((ROOT / "ngldm" / "__init__.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr, ast.Assign]


def test_help_and_validation_import_nothing_heavy():
    code = (
        "import sys, ngldm.pipeline.cli.main as m; m.load_params(); "
        "heavy = {'torch', 'torchvision', 'mlflow', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'numpy'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_stages_are_thin(path):
    assert len(path.read_text().splitlines()) < 100
