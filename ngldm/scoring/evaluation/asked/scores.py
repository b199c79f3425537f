"""The scores that the section `evaluate` of params.yaml asks for, and the checks before them."""

from typing import Protocol

from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.scoring.distance.scorer import Scorer
from ngldm.scoring.evaluation.asked.extrapolation import distance_at_infinity, smallest_set
from ngldm.scoring.evaluation.asked.inception_score import SPLITS, inception_score
from ngldm.scoring.features.inception import InceptionExtractor


class Asked(Protocol):
    """The settings of `asked_scores`.

    Attributes:
        inception_score: whether to compute the Inception Score.
        extrapolate: whether to compute the distance for infinitely many images.
    """

    inception_score: bool
    extrapolate: bool


def check_asked(scorer: Scorer, asked: Asked) -> None:
    """Check before any work that the scores can be computed.

    Raises:
        InputError: the extractor or the number of images does not allow it.
    """
    if asked.extrapolate:
        smallest_set(scorer.count, scorer.extractor.dim)
    if asked.inception_score and not isinstance(scorer.extractor, InceptionExtractor):
        raise InputError(f"evaluate.inception_score: needs the extractor inception, not {scorer.extractor.name}")
    if asked.inception_score and scorer.count < SPLITS:
        raise InputError(f"evaluate.inception_score: {scorer.count} images, at least {SPLITS} are needed")


def asked_scores(scorer: Scorer, features: Tensor, asked: Asked) -> dict[str, float]:
    """`inception_score` with `inception_score_spread`, and `<metric>_infinity`, where they are asked for.

    Args:
        features: (N, D) of the generated images.
    """
    found: dict[str, float] = {}
    if asked.inception_score and isinstance(scorer.extractor, InceptionExtractor):
        value = inception_score(features, scorer.extractor.class_weights)
        found |= {"inception_score": value.mean, "inception_score_spread": value.std}
    if asked.extrapolate:
        reference = scorer.reference
        found[f"{scorer.metric}_infinity"] = distance_at_infinity(features, reference.mu, reference.sigma)
    return found
