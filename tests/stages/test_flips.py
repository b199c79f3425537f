"""The stages with both sides of the images: latents of each, a training on either, and a resumed one on the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.compose import compose_params
from stages.autoencoder import autoencoder
from stages.download import download
from stages.latents import latents
from stages.train import train

PHOTOGRAPHS = ["recipe=smoke", "noises=[laplace]", "dataset=photographs", "dataset.size=8", "dataset.train_size=80"]
PHOTOGRAPHS += ["dataset.test_size=20", "autoencoder.kind=identity", "+latents.flips=true"]


@pytest.fixture
def compose(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "conf", "conf")
    return lambda *options: compose_params(Path("params.yaml"), list(options))


def test_the_stages_train_on_both_sides(compose: Callable[..., None], steps: Callable[..., int]) -> None:
    compose(*PHOTOGRAPHS)
    download()
    autoencoder("cpu")
    latents("cpu")
    pixels = np.load(paths.DATASET / "train.npy").astype(np.float64)[..., 0]
    both = np.stack([pixels, pixels[:, :, ::-1]], 1)  # (80, 2, 8, 8)
    cached = np.load(paths.LATENTS / "train.npy").reshape(80, 2, 8, 8)
    np.testing.assert_allclose(cached, (both - both.mean()) / both.std(), atol=1e-5)
    assert json.loads((paths.LATENTS / "statistics.json").read_text())["sides"] == 2

    train("laplace", "cpu")
    last = paths.train_plot("laplace").read_text().splitlines()[-1]
    assert float(last.split(",")[1]) == pytest.approx(20 * 32 / 80)  # epochs: an image counts once
    expected = sha256_file(paths.model("laplace"))
    steps(lambda: train("laplace", "cpu"), 15)
    train("laplace", "cpu")
    assert sha256_file(paths.model("laplace")) == expected


def test_digits_are_refused_before_anything_is_written(compose: Callable[..., None]) -> None:
    with pytest.raises(InputError, match=r"params\.yaml:\n  latents\.flips: true does not fit the data set 'digits'"):
        compose("recipe=smoke", "+latents.flips=true")
    assert not Path("params.yaml").exists()
