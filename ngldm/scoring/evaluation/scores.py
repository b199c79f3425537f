"""All scores of one set of generated images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from ngldm.data.reference import MAX_FEATURES
from ngldm.scoring.distance.scorer import Scorer
from ngldm.scoring.evaluation.kid import kid
from ngldm.scoring.evaluation.spread import frechet_spread
from ngldm.scoring.further.precision_recall import precision_recall

STEPS = 4  # of `score`, for a progress bar


class ScoreConfig(Protocol):
    """The settings that `score` reads.

    Attributes:
        kid_subset_size, kid_subsets: `subset_size` and `num_subsets` of `kid`.
        neighbours: k of precision and recall.
    """

    kid_subset_size: int
    kid_subsets: int
    neighbours: int


@dataclass(frozen=True)
class Scores:
    """Scores of one set of images.

    Attributes:
        metric: name of the Frechet distance.
        distance: Frechet distance to the real images.
        spread: its standard deviation over sets of as many generated images (`ngldm.scoring.evaluation.spread`).
        kid, kid_std: kernel distance, and its standard deviation over subsets; that is None if there are fewer images
            than in two subsets.
        precision, recall: in [0, 1].
        further: other scores by name (`ngldm.scoring.further`).
    """

    metric: str
    distance: float
    spread: float
    kid: float
    kid_std: float | None
    precision: float
    recall: float
    further: Mapping[str, float] = field(default_factory=dict)

    def named(self) -> dict[str, float | None]:
        """The scores by the names that tables and MLflow use. The distance has the name of its metric."""
        return {
            self.metric: self.distance,
            f"{self.metric}_std": self.spread,
            "kid": self.kid,
            "kid_std": self.kid_std,
            "precision": self.precision,
            "recall": self.recall,
            **self.further,
        }


def score(
    scorer: Scorer,
    features: Tensor,
    config: ScoreConfig,
    advance: Callable[[int, str], None] = lambda count, note: None,
) -> Scores:
    """All scores of a set of generated images.

    Args:
        scorer: has the real images.
        features: (N, D), of the first `scorer.count` generated images.
        config: settings of the scores.
        advance: called `STEPS` times with 1 and the name of the next score.
    """
    reference = scorer.reference
    features, real = features.to(scorer.computes_on), reference.features.to(scorer.computes_on)
    distance = scorer.distance([features])
    advance(1, "KID")
    kernel = kid(real, features, config.kid_subset_size, config.kid_subsets)
    advance(1, "spread")
    spread = frechet_spread(features, reference.mu, reference.sigma)
    advance(1, "precision and recall")
    # Precision and recall depend on the numbers of images, so as many real as generated images are taken. Their cost is
    # quadratic, so no more generated images are taken than the reference keeps of the real ones at most.
    few = features[:MAX_FEATURES]
    manifold = precision_recall(real[: len(few)], few, config.neighbours)
    advance(1, "")
    return Scores(scorer.metric, distance, spread, kernel.mean, kernel.std, manifold.precision, manifold.recall)
