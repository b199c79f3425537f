"""The scorer of the stages follows the section `evaluate`, and says when images are too few."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.config.sections import EvaluateParams
from ngldm.pipeline.experiments.scorer import stage_scorer


@pytest.fixture
def config(smoke: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> EvaluateParams:
    monkeypatch.chdir(smoke)
    return parse_params(content).evaluate


@pytest.mark.parametrize(
    ("protocol", "images", "count", "metric"),
    [("standard", 1600, 1600, "fd_classifier"), ("paper", 1600, 1000, "fd_paper_protocol")],
)
def test_it_follows_the_protocol(config: EvaluateParams, protocol: str, images: int, count: int, metric: str) -> None:
    scorer = stage_scorer(config.model_copy(update={"fid_protocol": protocol}), images, torch.device("cpu"))
    assert (scorer.count, scorer.metric, scorer.num_train) == (count, metric, 1500)


def test_a_line_says_that_images_are_few(config: EvaluateParams, capsys: pytest.CaptureFixture[str]) -> None:
    stage_scorer(config.model_copy(update={"fid_protocol": "paper"}), 32, torch.device("cpu"))
    assert capsys.readouterr().out.startswith("note: ")


def test_another_extractor_than_the_references_is_refused(config: EvaluateParams) -> None:
    with pytest.raises(InputError, match="rotation"):
        stage_scorer(config.model_copy(update={"extractor": "rotation"}), 32, torch.device("cpu"))
