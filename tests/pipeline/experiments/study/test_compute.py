"""A job of the study: a training and its scores follow from their seeds."""

import numpy as np
import pytest
import torch

from ngldm.data.cache.statistics import latent_extent
from ngldm.data.reference import Reference
from ngldm.io.images import UInt8Array
from ngldm.io.items import Items
from ngldm.model import Model
from ngldm.pipeline.experiments.study.compute import FurtherScores, Score, score_samplers, train_model
from ngldm.sampling.best import SamplerSettings
from ngldm.scoring.distance.frechet import Moments
from ngldm.scoring.distance.scorer import Scorer
from ngldm.training.task import Split, Task
from tests.pipeline.experiments.study.test_run import FIT

CONFIG = {
    "noise": {"name": "laplace", "params": {}},
    "schedule": {"name": "cosine", "num_train_timesteps": 20},
    "diffusion": {"forward": "markov", "objective": "x0", "weighting": "min_snr", "gamma": None},
    "unet": {
        "widths": [8],
        "blocks_per_level": 1,
        "attention_levels": [],
        "attention_head_dim": 8,
        "time_embedding": "sinusoidal",
        "dropout": 0.0,
    },
    "autoencoder": {"kind": "identity"},
    "image_shape": (1, 4, 4),
}
LATENTS = np.random.default_rng(0).normal(size=(32, 1, 4, 4)).astype(np.float32)
SAMPLERS: dict[str, SamplerSettings] = {
    "heun": {"method": "heun", "num_inference_steps": 3},
    "ancestral": {"method": "ancestral", "num_inference_steps": 4},
}


class Pixels:
    """Extractor of the mean and the first pixel."""

    name, metric, dim, weights_sha256 = "pixels", "fd", 2, "0"

    def __call__(self, images: UInt8Array) -> torch.Tensor:
        flat = torch.from_numpy(images).flatten(1).float()
        return torch.stack([flat.mean(1), flat[:, 0]], dim=1) / 50.0


def reference() -> Reference:
    features = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    moments = Moments(2).update(features)
    return Reference(moments.mean, moments.cov, features, {})


def trained(seed: int) -> Model:
    torch.manual_seed(seed)
    model = Model.build(CONFIG, None, None, latent_extent(LATENTS))
    train_model(model, Task(model.diffusion.loss, Split.of(LATENTS)), FIT, seed, "cpu")
    return model


def scores(seed: int, batch_size: int = 8, further: FurtherScores | None = None) -> list[Score]:
    scorer = Scorer(Pixels(), reference(), 16, (), 64, torch.device("cpu"))
    return score_samplers(trained(seed), SAMPLERS, [0, 1], 16, batch_size, scorer, further)


def test_scores_follow_from_the_seeds() -> None:
    first = scores(0)
    assert first == scores(0)
    assert [(s.sampler, s.sample_seed, s.network_calls) for s in first] == [
        ("heun", 0, 5),
        ("heun", 1, 5),
        ("ancestral", 0, 4),
        ("ancestral", 1, 4),
    ]
    assert len({s.value for s in [*first, *scores(1)]}) == 8
    assert all(0.0 <= s.outliers <= 1.0 for s in first)
    for one, other in zip(first, scores(0, batch_size=5), strict=True):  # up to rounding of the network
        assert one.value == pytest.approx(other.value, rel=1e-2)


def test_further_scores_are_of_the_whole_set_in_its_order_and_change_nothing_else() -> None:
    seen: list[tuple[Items, torch.Tensor]] = []

    def further(items: Items, features: torch.Tensor) -> dict[str, float]:
        seen.append((items, features))
        return {"count": float(len(items))}

    found = scores(0, batch_size=5, further=further)
    assert [score.further for score in found] == [{"count": 16.0}] * 4
    assert [score.value for score in found] == [score.value for score in scores(0, batch_size=5)]
    for items, features in seen:
        np.testing.assert_array_equal(features, Pixels()(items))


def test_a_set_with_an_image_that_is_not_finite_has_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of four batches holds a NaN; the other seed's set, and the outliers, are as they would be without."""
    plain, model, batches = scores(0, batch_size=4), trained(0), iter(range(100))
    decode = model.autoencoder.decode

    def broken(z: torch.Tensor) -> torch.Tensor:
        return decode(z) * (torch.nan if next(batches) == 1 else 1.0)

    monkeypatch.setattr(model.autoencoder, "decode", broken)
    scorer = Scorer(Pixels(), reference(), 16, (), 64, torch.device("cpu"))
    found = score_samplers(model, SAMPLERS, [0, 1], 16, 4, scorer, lambda items, features: {"x": 1.0})
    assert np.isnan(found[0].value)
    assert found[0].further == {}
    assert [score.value for score in found[1:]] == [score.value for score in plain[1:]]
    assert [score.outliers for score in found] == [score.outliers for score in plain]
