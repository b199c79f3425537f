"""Where a report comes from: the commit, and the seconds of the stages that it compares."""

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
    assert provenance.provenance() == "no git repository"
