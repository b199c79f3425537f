"""All scores of one set of images: each is what its own function gives, under the name that tables use."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance

from ngldm.data.reference import Reference
from ngldm.io.images import UInt8Array
from ngldm.scoring.distance.frechet import Moments
from ngldm.scoring.distance.scorer import Scorer
from ngldm.scoring.evaluation.kid import kid
from ngldm.scoring.evaluation.scores import STEPS, score
from ngldm.scoring.evaluation.spread import frechet_spread
from ngldm.scoring.further.precision_recall import precision_recall


@dataclass
class Config:
    kid_subset_size: int = 20
    kid_subsets: int = 5
    neighbours: int = 3


class Unused:
    name, metric, dim, weights_sha256 = "unused", "fd", 4, "0"

    def __call__(self, images: UInt8Array) -> torch.Tensor:
        raise AssertionError("the features are there already")


def test_every_score_is_there_under_its_name() -> None:
    generator = torch.Generator().manual_seed(0)
    real, made = torch.randn(60, 4, generator=generator), torch.randn(40, 4, generator=generator) + 0.5
    moments = Moments(4).update(real)
    scorer = Scorer(
        Unused(), Reference(moments.mean, moments.cov, real, {"metric": "fid"}), 40, (), 60, torch.device("cpu")
    )
    seen: list[tuple[int, Any]] = []
    found = score(scorer, made, Config(), lambda count, note: seen.append((count, note))).named()
    kernel, manifold = kid(real, made, 20, 5), precision_recall(real[:40], made, 3)
    assert found == {
        "fid": scorer.distance([made]),
        "fid_std": frechet_spread(made, moments.mean, moments.cov),
        "kid": kernel.mean,
        "kid_std": kernel.std,
        "precision": manifold.precision,
        "recall": manifold.recall,
    }
    assert sum(count for count, _ in seen) == STEPS
    x, y = (part.double().numpy() for part in (real, made))
    theirs = calculate_frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))
    assert found["fid"] == pytest.approx(theirs, rel=1e-6)
