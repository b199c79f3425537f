"""The study: what is averaged over what, and that a training and its scores follow from their seeds."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ngldm.data.reference import Reference
from ngldm.data.statistics import LatentExtent, latent_extent
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.model import Model
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.experiments import study as study_jobs
from ngldm.pipeline.experiments.study import Score, fresh_bundle, score_samplers, train_bundle
from ngldm.pipeline.report.study import study_table, summarise
from ngldm.pipeline.report.table import show
from ngldm.scoring.frechet import Moments
from ngldm.scoring.scorer import Scorer
from stages import study as stage

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
FIT = SimpleNamespace(
    max_steps=5,
    batch_size=8,
    lr=1e-3,
    weight_decay=0.0,
    warmup_steps=0,
    lr_schedule="constant",
    ema_decay=0.5,
    grad_clip=1.0,
    precision="fp32",
    compile=False,
    log_every=5,
    eval_every=5,
)
LATENTS = np.random.default_rng(0).normal(size=(32, 1, 4, 4)).astype(np.float32)
SAMPLERS: dict[str, dict[str, Any]] = {
    "heun": {"method": "heun", "num_inference_steps": 3},
    "ancestral": {"method": "ancestral", "num_inference_steps": 4},
}


class Pixels:
    """Extractor of the mean and the first pixel."""

    name, metric, dim, weights_sha256 = "pixels", "fd", 2, "0"

    def __call__(self, images: UInt8Array) -> torch.Tensor:
        flat = torch.from_numpy(images).flatten(1).float()
        return torch.stack([flat.mean(1), flat[:, 0]], dim=1) / 50.0


def scorer() -> Scorer:
    features = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    moments = Moments(2).update(features)
    return Scorer(Pixels(), Reference(moments.mean, moments.cov, features, {}), 16, (), 64, "cpu")


def trained(seed: int) -> Model:
    def build() -> Model:
        autoencoder = build_autoencoder({"kind": "identity"}, (1, 4, 4))
        return Model.build(CONFIG, autoencoder, None, latent_extent(LATENTS))

    bundle = fresh_bundle(build, seed)
    train_bundle(bundle, LATENTS, FIT, seed, "cpu")
    return bundle


def scores(seed: int, batch_size: int = 8) -> list[Score]:
    return score_samplers(trained(seed), SAMPLERS, [0, 1], 16, batch_size, scorer())


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


def test_extent_by_hand() -> None:
    latents = np.array([[[[1.0, 2.0]]], [[[3.0, -2.0]]]], dtype=np.float32)
    extent: LatentExtent = latent_extent(latents, batch_size=1)
    assert extent.mean.flatten().tolist() == [2.0, 0.0]
    assert extent.std.flatten().tolist() == [1.0, 2.0]
    assert (extent.low.flatten().tolist(), extent.high.flatten().tolist()) == ([1.0, -2.0], [3.0, 2.0])


def test_jobs_carry_the_inception_weights_to_the_extractor(
    content: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content["study"]["variants"] = {"a": {"noise": {"distribution": "laplace"}}}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    content["evaluate"] |= {"extractor": "inception", "inception_weights": "here.pth"}
    jobs: list[study_jobs.Job] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "load_params", lambda: parse_params(content))
    monkeypatch.setattr(stage, "run_job", lambda job, device: jobs.append(job) or [])
    monkeypatch.setattr(stage, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    stage.study("cpu")
    assert [job.inception_weights for job in jobs] == ["here.pth"] * 3

    asked: list[dict[str, Any]] = []

    def scorer(folder: Path, num_images: int, **options: Any) -> None:
        asked.append(options)
        raise InputError("far enough")

    cache = SimpleNamespace(train=LATENTS, statistics=None)
    autoencoder = build_autoencoder({"kind": "identity"}, (1, 4, 4))
    monkeypatch.setattr(
        "ngldm.pipeline.experiments.study.open_dataset", lambda path: SimpleNamespace(image_shape=(1, 4, 4))
    )
    monkeypatch.setattr("ngldm.pipeline.experiments.study.open_cache", lambda path: cache)
    monkeypatch.setattr("ngldm.pipeline.experiments.study.load_autoencoder", lambda *args: autoencoder)
    monkeypatch.setattr("ngldm.pipeline.experiments.study.train_bundle", lambda *args: None)
    monkeypatch.setattr(study_jobs, "open_scorer", scorer)
    with pytest.raises(InputError, match="far enough"):
        study_jobs._compute(jobs[0], "cpu")
    assert [call["inception_weights"] for call in asked] == ["here.pth"]


def row(variant: str, train_seed: int, sample_seed: int, value: float) -> dict[str, Any]:
    about = {"noise": variant.split("_")[0], "sampler": "s", "network_calls": 10, "outliers": 0.5}
    return {"variant": variant, "train_seed": train_seed, "sample_seed": sample_seed, "value": value, **about}


def test_the_standard_error_comes_from_the_trainings() -> None:
    """Trainings' means 1 and 3: standard deviation sqrt(2), over sqrt(2); not from six draws as if independent."""
    rows = [row("laplace_a", t, s, 1.0 + 2.0 * t) for t in range(2) for s in range(3)]
    rows += [row("gaussian_a", 0, s, 4.0) for s in range(3)] + [row("gaussian_b", 0, 0, 5.0)]
    laplace, gaussian, other = summarise(rows)
    assert (laplace["mean"], laplace["seeds"], laplace["ratio"]) == (2.0, "2x3", 0.5)
    assert laplace["std_error"] == pytest.approx(1.0)
    assert laplace["std"] == pytest.approx(math.sqrt(6 / 5))
    assert math.isnan(gaussian["std_error"])
    assert other["ratio"] == 1.25
    assert "| laplace_a | s | 10 | 2 |" in study_table([laplace], show)


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"noise": {}}, "study.variants.a.noise.distribution: missing"),
        ({"noise": {"distribution": "laplace"}, "samplers": ["none"]}, "study.variants.a.samplers: 'none' is none of"),
        ({"noise": {"distribution": "laplace"}, "objective": "score"}, "study.variants.a.objective: 'score'"),
        ({"noise": {"distribution": "laplace"}, "schedule": {"name": "spiral"}}, "variants.a.schedule.name: 'spiral'"),
        (
            {"noise": {"distribution": "laplace"}, "objective": "eps", "schedule": {"zero_terminal_snr": True}},
            "variants.a.objective: 'eps'",
        ),
        (
            {"noise": {"distribution": "laplace"}, "samplers": ["s"], "schedule": {"num_train_timesteps": 3}},
            "study.samplers.s.num_inference_steps: 5 is above",
        ),
    ],
)
def test_bad_variants_are_named(variant: dict[str, Any], words: str, content: dict[str, Any]) -> None:
    content["study"]["variants"] = {"a": variant}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    with pytest.raises(InputError, match=words):
        parse_params(content)
