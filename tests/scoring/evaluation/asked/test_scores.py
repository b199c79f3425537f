"""Scores on request: which there are, and what is refused before the work."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.scoring.evaluation.asked.inception_score import inception_score
from ngldm.scoring.evaluation.asked.scores import asked_scores, check_asked
from ngldm.scoring.features.inception import InceptionExtractor


@dataclass(frozen=True)
class Asked:
    inception_score: bool = False
    extrapolate: bool = False


def scorer(extractor: Any = None, count: int = 100) -> Any:
    """With a reference of N(0, I) in 6 dimensions."""
    reference = SimpleNamespace(mu=torch.zeros(6).double(), sigma=torch.eye(6).double())
    own = extractor or SimpleNamespace(name="classifier", dim=6)
    return SimpleNamespace(extractor=own, reference=reference, count=count, metric="fd_x")


@pytest.fixture
def inception(monkeypatch: pytest.MonkeyPatch) -> InceptionExtractor:
    monkeypatch.setattr(InceptionExtractor, "__init__", lambda self: None)
    extractor = InceptionExtractor()
    extractor.class_weights = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    return extractor


FEATURES = torch.randn(100, 6, generator=torch.Generator().manual_seed(1))


def test_only_what_is_asked_for_is_computed(inception: InceptionExtractor) -> None:
    assert asked_scores(scorer(), FEATURES, Asked()) == {}
    assert asked_scores(scorer(), FEATURES, Asked(extrapolate=True)).keys() == {"fd_x_infinity"}
    both = asked_scores(scorer(inception), FEATURES, Asked(inception_score=True, extrapolate=True))
    value = inception_score(FEATURES, inception.class_weights)
    assert both.keys() == {"fd_x_infinity", "inception_score", "inception_score_spread"}
    assert (both["inception_score"], both["inception_score_spread"]) == value


def test_what_cannot_be_computed_is_refused(inception: InceptionExtractor) -> None:
    everything = Asked(inception_score=True, extrapolate=True)
    check_asked(scorer(count=3), Asked())
    with pytest.raises(InputError, match=r"evaluate\.extrapolate: 13 images are too few for 6 features"):
        check_asked(scorer(count=13), everything)
    with pytest.raises(InputError, match="needs the extractor inception, not classifier"):
        check_asked(scorer(), replace(everything))
    with pytest.raises(InputError, match="9 images, at least 10"):
        check_asked(scorer(inception, 9), Asked(inception_score=True))
