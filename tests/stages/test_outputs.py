"""What is outside the stages' deps writes no output: with tracking, terminal and workspace replaced, the same bytes."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

from ngldm.pipeline import workspace

ROOT = Path(__file__).parents[2]
PIPELINE = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
ELSEWHERE = Path("elsewhere")
MADE = ("data", "metrics", "models", "plots", "samples", "snapshots", "study")
EXPERIMENTS = (
    "experiments.curve",
    "experiments.models",
    "experiments.scorer",
    "experiments.study.inputs",
    "experiments.study.run",
)
USERS = (
    *EXPERIMENTS,
    *("report.curve", "report.further", "report.pictures", "report.provenance", "report.results", "report.table"),
)


class Elsewhere:
    """`ngldm.pipeline.workspace`, every path of it below another folder."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(workspace, name)
        if isinstance(value, Path):
            return ELSEWHERE / value
        if callable(value) and name not in ("require_label", "main_root"):
            return lambda *labels: ELSEWHERE / value(*labels)
        return value


@contextmanager
def no_progress(*arguments: object, lower: str | None = None) -> Iterator[Callable[..., None]]:
    yield lambda *done: None


def follow(
    name: str, steps: int, reports: Iterable[Any], section: str, on_report: Callable[[Any], object] = id
) -> list[Any]:
    kept = []
    for report in reports:
        on_report(report)
        kept.append(report)
    return kept


TERMINAL = {"progress": no_progress, "follow": follow}


def replace_what_is_outside(stage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Returns the names that were replaced."""
    replaced = set()
    for name, value in vars(stage).items():
        home = getattr(value, "__module__", "")
        if home.startswith("ngldm.pipeline.tracking") or (home == "ngldm.pipeline.terminal" and name != "command"):
            monkeypatch.setattr(stage, name, TERMINAL.get(name, MagicMock()))
            replaced.add(name)
    monkeypatch.setattr(stage, "workspace", Elsewhere())
    for user in USERS:
        monkeypatch.setattr(import_module(f"ngldm.pipeline.{user}"), "workspace", Elsewhere())
    return replaced


def outputs(stage: str, noise: str, sampler: str) -> list[Path]:
    entries = [e for kind in ("outs", "metrics", "plots") for e in PIPELINE[stage].get(kind, [])]
    names = [next(iter(e)) if isinstance(e, dict) else e for e in entries]
    labels = {"${key}": noise, "${item.noise}": noise, "${item.sampler}": sampler}  # of the training: its noise
    for key, label in labels.items():
        names = [name.replace(key, label) for name in names]
    return [Path(name) for name in names]


def content(path: Path) -> Any:
    """A file's bytes; of figures all but the times, and where and when they were made."""
    if "metrics" in path.parts and path.suffix == ".json":
        known = json.loads(path.read_text())
        return {key: value for key, value in known.items() if key != "made" and not key.endswith("seconds")}
    return path.read_bytes()


def files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


@pytest.mark.parametrize("name", PIPELINE)
def test_replacing_tracking_terminal_and_workspace_changes_no_byte(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(smoke, tmp_path / "smoke", ignore=shutil.ignore_patterns("checkpoints", "mlartifacts", "mlflow.db"))
    monkeypatch.chdir(tmp_path / "smoke")
    for made in MADE:
        (ELSEWHERE / made).parent.mkdir(exist_ok=True)
        Path(made).rename(ELSEWHERE / made)
    stage = import_module(f"stages.{name}")
    assert replace_what_is_outside(stage, monkeypatch) >= {"summary" if name != "report" else "print_table"}
    expected = outputs(name, "laplace", "auto")
    for out in expected:
        shutil.rmtree(ELSEWHERE / out) if (ELSEWHERE / out).is_dir() else (ELSEWHERE / out).unlink(missing_ok=True)
    labels = {"train": ["laplace"], "evaluate": ["laplace"], "sample": ["laplace", "auto"]}.get(name, [])
    device = [] if name in ("download", "theory", "report") else ["cpu"]
    getattr(stage, name)(*labels, *device)
    for out in expected:
        before, after = files(smoke / out), files(ELSEWHERE / out)
        assert {file.relative_to(smoke) for file in before} == {file.relative_to(ELSEWHERE) for file in after}
        for file in before:
            assert content(ELSEWHERE / file.relative_to(smoke)) == content(file), file
