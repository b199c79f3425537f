"""Time and memory of the scores of given features, ours, by the number of images; and of what peers need for them.

python -m benchmarks.scoring [--size smallest|small|full] [--out FOLDER]

The features are random numbers with the shape of Inception's. Peers are pytorch-fid (distance) and torch-fidelity
(KID, precision and recall). `full` goes to 50000 x 2048, where only our scores run.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.common import Row, peak_mib, pick, publish
from ngldm.scoring.distance.frechet import Moments, frechet_distance
from ngldm.scoring.evaluation.kid import kid
from ngldm.scoring.evaluation.spread import frechet_spread
from ngldm.scoring.further.precision_recall import precision_recall

RELATIVE = 1e-4  # of distances
IMAGES = 2.0  # on the edge of a ball, which may fall on either side by rounding


def two_sets(count: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets of features (count, dim) float32, at least 0 as after a ReLU, the second with a larger spread."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(64, dim, generator=generator) / 8.0
    return tuple(  # type: ignore[return-value]
        (scale * torch.randn(count, 64, generator=generator) @ mixing)
        .add_(0.3 * torch.randn(count, dim, generator=generator))
        .relu_()
        for scale in (1.0, 1.05)
    )


def measured(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returns, seconds, and the memory in MiB that it needs in addition."""
    kept: list[Any] = []
    start = time.perf_counter()
    peak = peak_mib(lambda: kept.append(run()))
    return kept[0], time.perf_counter() - start, peak


def ours(real: torch.Tensor, made: torch.Tensor, moments: Moments) -> dict[str, Callable[[], Any]]:
    def distance() -> float:
        own = Moments(made.shape[1]).update(made)
        return frechet_distance(moments.mean, moments.cov, own.mean, own.cov)

    def manifold() -> tuple[float, float]:
        found = precision_recall(real, made)
        return found.precision, found.recall

    return {
        "distance": distance,
        "spread": lambda: frechet_spread(made, moments.mean, moments.cov),
        "KID": lambda: kid(real, made, subset_size=min(1000, len(made) // 2)).mean,
        "precision and recall": manifold,
    }


def peers(real: torch.Tensor, made: torch.Tensor) -> dict[str, Callable[[], Any]]:
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    def distance() -> float:
        pair = [x.double().numpy() for x in (real, made)]
        moments = [part for x in pair for part in (x.mean(0), np.cov(x, rowvar=False))]
        return float(calculate_frechet_distance(*moments))

    def kernel() -> float:
        options = {"kid_subsets": 100, "kid_subset_size": min(1000, len(made) // 2), "verbose": False}
        return float(kid_features_to_metric(made, real, **options)["kernel_inception_distance_mean"])

    def manifold() -> tuple[float, float]:
        found = prc_features_to_metric(made, real, prc_neighborhood=3, prc_batch_size=10000, verbose=False)
        return found["precision"], found["recall"]

    return {"distance": distance, "KID": kernel, "precision and recall": manifold}


def scores(count: int, dim: int, with_peers: bool, device: str = "cpu") -> list[Row]:
    """A row for each score of `count` images on each side, whose features lie on the device."""
    real, made = (features.to(device) for features in two_sets(count, dim))
    moments = Moments(dim).update(real)
    others = peers(real, made) if with_peers else {}
    rows = []
    for name, run in ours(real, made, moments).items():
        value, seconds, peak = measured(run)
        row: Row = {"images": count, "score": name, "seconds": seconds, "MiB in addition": peak}
        if name in others:
            theirs, row["a peer's seconds"], row["a peer's MiB"] = measured(others[name])
            agree(name, value, theirs, count)
        rows.append(row)
    return rows


def agree(name: str, value: Any, theirs: Any, count: int) -> None:
    """Check that a peer finds the same. KID is not compared, as it draws other subsets.

    Raises:
        AssertionError: it does not.
    """
    if name == "distance" and abs(value / theirs - 1.0) > RELATIVE:
        raise AssertionError(f"{name}: {value} and {theirs}")
    if name == "precision and recall" and max(abs(a - b) for a, b in zip(value, theirs, strict=True)) > IMAGES / count:
        raise AssertionError(f"{name}: {value} and {theirs}")


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    sizes = pick(size, [(100, True)], [(2000, True)], [(2000, True), (10_000, False), (50_000, False)])
    dim = pick(size, 64, 2048, 2048)
    publish("scoring", {"scores": [row for count, both in sizes for row in scores(count, dim, both)]}, out)


if __name__ == "__main__":
    typer.run(main)
