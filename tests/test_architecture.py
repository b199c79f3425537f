"""What dvc.yaml says of each stage, compared with the code; what starts fast. See also test_rooms.py."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ngldm.pipeline import workspace as paths
from ngldm.pipeline.closure import code_behind, is_code_of_results

ROOT = Path(__file__).parents[1]
PIPELINE = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
# Labels and lists that decide which stages exist or where MLflow files them, not what a stage computes.
NOT_INPUTS = {"noises", "training_labels", "samplers", "experiment"}


def covered(stage: str) -> set[Path]:
    """The files of code that a stage's deps name, folders unfolded."""
    found = set()
    for dep in PIPELINE[stage]["deps"]:
        if dep.startswith(("ngldm/", "stages/")):
            path = ROOT / dep
            found |= {file for file in path.rglob("*.*") if file.suffix != ".pyc"} if path.is_dir() else {path}
    return {path for path in found if is_code_of_results(path, ROOT)}


@pytest.mark.parametrize("stage", PIPELINE)
def test_code_deps_equal_the_import_closure(stage):
    """An edit re-runs what it affects, nothing else, and never leaves a stale result."""
    assert covered(stage) == set(code_behind(ROOT / "stages" / f"{stage}.py", ROOT))


def folders_inside(files: set[Path]) -> Iterator[Path]:
    """The folders below ngldm/ whose code files all are among `files`, the outermost only."""
    whole = set()
    for folder in sorted({parent for file in files for parent in file.parents if ROOT / "ngldm" in parent.parents}):
        code = {path for path in folder.rglob("*.py") if is_code_of_results(path, ROOT)}
        if code <= files and folder.parent not in whole:
            yield folder
        if code <= files:
            whole.add(folder)


@pytest.mark.parametrize("stage", PIPELINE)
def test_deps_name_a_folder_wherever_all_of_it_is_in_the_closure(stage):
    """So a file that is added to the folder is noticed, and dvc.yaml stays short."""
    closure = set(code_behind(ROOT / "stages" / f"{stage}.py", ROOT))
    whole = {folder.relative_to(ROOT).as_posix() for folder in folders_inside(closure)}
    named = {dep for dep in PIPELINE[stage]["deps"] if dep.startswith("ngldm/") and (ROOT / dep).is_dir()}
    assert named == whole


def test_dvc_ignores_what_python_writes_beside_its_sources():
    """Else importing a module would change the hash of the folder that it lies in."""
    assert {"__pycache__", "*.pyc"} <= set((ROOT / ".dvcignore").read_text().split())


def params_read(stage: str) -> set[str]:
    """Top-level keys that a stage reads as `params.<key>`."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    methods = {
        "networks": {"network", "unet", "mlp"},
        "noise_arguments": {"noise_options"},
        "sample_seed": {"sample"},  # and seed and label: of another seed the model is another too
        "training": {"seed"},  # and the label, which is in the command
        "study_models": {"study", "schedule", "diffusion", "train", "dataset"},
    }
    return {key for name in read for key in methods.get(name, {name})} - NOT_INPUTS


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
    training, noise, sampler = "${key}", "${item.noise}", "${item.sampler}"
    both = {
        "download": {paths.DATASET, paths.metrics("download")},
        "autoencoder": {
            paths.AUTOENCODER,
            paths.metrics("autoencoder"),
            paths.AUTOENCODER_PLOT,
            paths.RECONSTRUCTIONS,
        },
        "latents": {paths.LATENTS, paths.metrics("latents")},
        "reference": {paths.REFERENCE, paths.metrics("reference")},
        "theory": {paths.THEORY},
        "train": {
            paths.model(training),
            paths.metrics("train", training),
            paths.train_plot(training),
            paths.snapshots(training),
        },
        "curve": {paths.CURVE, paths.metrics("curve")},
        "sample": {
            paths.samples(noise, sampler),
            paths.metrics("sample", noise, sampler),
            paths.sample_plot(noise, sampler),
        },
        "evaluate": {paths.metrics("evaluate", noise)},
        "study": {paths.STUDY, paths.metrics("study")},
        "report": {paths.REPORTS, paths.SCORES},
    }
    assert {stage: declared_outputs(stage) for stage in PIPELINE} == {
        stage: {str(path) for path in outputs} for stage, outputs in both.items()
    }


def test_every_output_but_the_scores_is_ignored_by_git():
    """The scores are in git, so that an experiment has them only if its own report wrote them."""
    for stage in PIPELINE:
        for path in declared_outputs(stage):
            code = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode
            assert (code == 0) == (path != str(paths.SCORES)), f"{path} would be offered to git, or the scores not"


def test_stages_are_named_once():
    assert tuple(PIPELINE) == paths.STAGES


def test_every_stage_has_its_file():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"} == set(PIPELINE)


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
