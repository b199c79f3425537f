"""The house's rules: who imports whom, what dvc.yaml says of each stage, what starts fast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ngldm.plumbing import paths
from ngldm.plumbing.main import STAGES

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# From the bottom up; a module imports only from the rows above its own.
ROWS = [
    ["errors"],
    ["files", "noise_arguments", "noise_registry", "schedules", "unet", "extent"],
    ["noise_families"],
    ["noise_combinators"],
    ["noise"],
    ["forward", "timesteps"],
    ["diffusion", "starts", "theorem"],
    ["denoiser"],
    ["samplers"],
    ["images", "checkpoint", "ema", "frechet", "manifold", "archives"],
    ["datasets", "autoencoder", "training", "features", "reference"],
    ["latents", "downloads", "image_folder"],
    ["sources"],
    ["bundle"],
    ["generate", "batching"],
    ["study"],
]
# Labels and lists that decide which stages exist or where MLflow files them, not what a stage computes.
COMPUTES = {
    "figures.py",
    "findings.py",
    "report.py",
    "curve_jobs.py",
    "curve_report.py",
    "study_jobs.py",
    "study_report.py",
}  # plumbing that makes outputs, and so is among its stage's deps
NOT_INPUTS = {"noises", "samplers", "experiment"}


def imports(path: Path) -> set[Path]:
    """Files of the project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            file = ROOT / (name.replace(".", "/") + ".py")
            if name.split(".")[0] in ("ngldm", "stages") and file.is_file():
                found.add(file)
    return found


def closure(stage: str) -> set[str]:
    """A stage's own file and all core modules behind it; of the plumbing only what writes outputs, the report."""
    todo, seen = [ROOT / "stages" / f"{stage}.py"], set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            if "plumbing" not in path.parts or path.name in COMPUTES:
                todo += imports(path)
    kept = {path for path in seen if "plumbing" not in path.parts or path.name in COMPUTES}
    return {str(path.relative_to(ROOT)) for path in kept}


@pytest.mark.parametrize("stage", PIPELINE)
def test_code_deps_equal_the_import_closure(stage):
    """An edit re-runs what it affects, nothing else, and never leaves a stale result."""
    declared = {dep for dep in PIPELINE[stage]["deps"] if dep.endswith(".py")}
    assert declared == closure(stage)


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


def test_every_stage_is_a_command():
    assert tuple(PIPELINE) == STAGES


CORE = sorted(path for path in (ROOT / "ngldm").glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_modules_import_only_from_rows_above(path):
    row = next(i for i, names in enumerate(ROWS) if path.stem in names)
    above = {name for names in ROWS[:row] for name in names}
    assert {module.stem for module in imports(path)} <= above


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_knows_no_plumbing_and_no_tools(path):
    banned = {"mlflow", "dvc", "typer", "hydra", "yaml", "ruamel", "pydantic", "rich", "jinja2", "matplotlib"}
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
            assert "plumbing" not in node.module
    assert not names & banned


def test_the_package_file_holds_no_code():
    """ngldm/__init__.py is in no stage's deps."""
    body = ast.parse((ROOT / "ngldm" / "__init__.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr, ast.Assign]


def test_help_and_validation_import_nothing_heavy():
    code = (
        "import sys, ngldm.plumbing.main as m; m.load_params(); "
        "heavy = {'torch', 'torchvision', 'mlflow', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'numpy'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_stages_are_thin(path):
    assert len(path.read_text().splitlines()) < 100
