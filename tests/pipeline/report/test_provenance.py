"""Where a report comes from: the commit, the experiment, and what the stages noted of date, machine and versions."""

import json
import platform
import shutil
from pathlib import Path

import pytest

from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report import provenance


def test_seconds_leave_out_what_is_no_longer_compared(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    params = load_params()
    alone = params.model_copy(update={"noises": ["laplace"]})
    stages = [stage for stage, _ in provenance.stage_seconds(alone)]
    assert stages[:5] == ["download", "autoencoder", "latents", "reference", "train@laplace"]
    assert not any("gaussian" in stage for stage in stages)


def test_provenance_says_when_there_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == "no git repository"


def test_date_machine_and_versions_are_those_of_the_stages(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(smoke / "metrics", tmp_path / "metrics")
    shutil.copy(smoke / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    found = {row["stage"]: row for row in provenance.origins(load_params())}
    assert list(found) == ["train@gaussian", "train@laplace", "evaluate@gaussian", "evaluate@laplace"]
    assert {row["python"] for row in found.values()} == {platform.python_version()}
    file = Path("metrics/train/laplace.json")
    content = json.loads(file.read_text())
    content["made"]["machine"] = "another"
    file.write_text(json.dumps(content))
    assert provenance.origins(load_params())[1]["machine"] == "another"
    del content["made"]  # as versions wrote it that did not know it
    file.write_text(json.dumps(content))
    assert [row["stage"] for row in provenance.origins(load_params())] == [s for s in found if s != "train@laplace"]


def test_the_experiment_is_that_of_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert provenance.experiment() is None
    monkeypatch.setenv("DVC_EXP_NAME", "hazy-mole")
    assert provenance.experiment() == "hazy-mole"
