"""All scores of one set of generated images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ngldm.scoring.frechet import frechet_spread
from ngldm.scoring.kid import kid
from ngldm.scoring.precision_recall import precision_recall
from ngldm.scoring.scorer import Scorer

STEPS = 4  # of `score`, for a progress bar


class ScoreConfig(Protocol):
    """What `score` reads of a configuration.

    Attributes:
        kid_subset_size, kid_subsets: of `kid`.
        bootstrap: draws that give the distance's spread.
        neighbours: k of precision and recall.
    """

    kid_subset_size: int
    kid_subsets: int
    bootstrap: int
    neighbours: int


@dataclass(frozen=True)
class Scores:
    """Scores of one set of images.

    Attributes:
        metric: name of the Frechet distance.
        distance: to the real images.
        spread: its standard deviation over bootstrap draws of the generated images.
        kid, kid_std: kernel distance, and its deviation over subsets; None with fewer images than two subsets.
        precision, recall: in [0, 1].
    """

    metric: str
    distance: float
    spread: float
    kid: float
    kid_std: float | None
    precision: float
    recall: float

    def named(self) -> dict[str, float | None]:
        """The figures under the names that tables and MLflow use, the distance under its metric's."""
        return {
            self.metric: self.distance,
            f"{self.metric}_std": self.spread,
            "kid": self.kid,
            "kid_std": self.kid_std,
            "precision": self.precision,
            "recall": self.recall,
        }


def score(
    scorer: Scorer,
    features: Tensor,
    config: ScoreConfig,
    advance: Callable[[int, str], None] = lambda count, note: None,
) -> Scores:
    """Every score of the images with these features.

    Args:
        features: (N, D), of the images that count.
        advance: called `STEPS` times with 1 and the name of the next score.
    """
    reference = scorer.reference
    distance = scorer.distance([features])
    advance(1, "KID")
    kernel = kid(reference.features, features, config.kid_subset_size, config.kid_subsets)
    advance(1, "spread")
    spread = frechet_spread(features, reference.mu, reference.sigma, config.bootstrap)
    advance(1, "precision and recall")
    # Both figures fall with the size of the real set: as many of it as were generated.
    manifold = precision_recall(reference.features[: len(features)], features, config.neighbours)
    advance(1, "")
    return Scores(scorer.metric, distance, spread, kernel.mean, kernel.std, manifold.precision, manifold.recall)
