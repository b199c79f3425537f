"""The stages with a pretrained autoencoder: it is measured, not trained; latents, a model and images follow."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

import ngldm
from ngldm.io.files import sha256_file
from ngldm.io.tensors import load_tensors
from ngldm.pipeline.config.compose import compose_params
from stages.autoencoder import autoencoder
from stages.latents import latents
from stages.sample import sample
from stages.train import train


@pytest.fixture
def theirs(smoke: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AutoencoderKL:
    """A workspace with the data set of recipe smoke, and beside it a small autoencoder of grey images."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8],
        norm_num_groups=4,
        latent_channels=3,
        scaling_factor=0.3,
    )
    model.save_pretrained(tmp_path / "vae")
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    shutil.copytree(root / "conf", "conf")
    shutil.copytree(smoke / "data" / "dataset", "data/dataset")
    return model.eval()


def test_the_stages_use_it_as_it_is(theirs: AutoencoderKL, tmp_path: Path) -> None:
    options = ["recipe=smoke", "noises=[laplace]", "autoencoder=diffusers", "network=dit"]
    options += [f"autoencoder.options.model={tmp_path / 'vae'}", "autoencoder.options.bundle_autoencoder=false"]
    compose_params(Path("params.yaml"), options)
    autoencoder("cpu")
    latents("cpu")
    train("laplace", "cpu")
    sample("laplace", "auto", "cpu")

    images = np.load("data/dataset/test.npy")
    with torch.no_grad():
        x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1.0
        z = theirs.encode(x).latent_dist.mean
        decoded = theirs.decode(z).sample.permute(0, 2, 3, 1).numpy().astype(np.float64)
    mse = np.square(np.clip(np.rint((decoded + 1.0) * 127.5), 0, 255) - images).mean()
    measured = json.loads(Path("metrics/autoencoder.json").read_text())
    assert measured["psnr_db"] == pytest.approx(10.0 * np.log10(255.0**2 / mse), abs=0.01)
    assert measured["weights_sha256"] == sha256_file(tmp_path / "vae" / "diffusion_pytorch_model.safetensors")

    about = json.loads(Path("data/latents/statistics.json").read_text())
    mean, std = (torch.tensor(about[key])[None, :, None, None] for key in ("mean", "std"))
    cached = torch.from_numpy(np.load("data/latents/test.npy"))
    torch.testing.assert_close(cached, (0.3 * z - mean) / std, rtol=1e-3, atol=1e-3)

    file = Path("models/laplace/model.safetensors")
    assert not any(name.startswith("autoencoder.") for name in load_tensors(file)[0])  # it refers to the weights
    made = np.load("samples/laplace/auto/images.npy")
    model = ngldm.load(file, "cpu").model
    assert model.autoencoder.weights_sha256 == measured["weights_sha256"]
    drawn = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        expected = theirs.decode((drawn * std + mean) / 0.3).sample.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(model.decode(drawn), np.clip((expected + 1.0) * 127.5, 0, 255), atol=0.51)
    assert made.shape[1:] == (8, 8, 1)
