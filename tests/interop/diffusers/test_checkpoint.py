"""A pipeline of diffusers as a model file: the same network, the same images."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel

import ngldm
from ngldm.interop.diffusers import Pipeline, Scheduler
from ngldm.interop.diffusers.checkpoint import load_checkpoint
from ngldm.io.errors import InputError

LEVELS = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}


def unet(**config: object) -> UNet2DModel:
    torch.manual_seed(0)
    settings = {"sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
    return UNet2DModel(**{**settings, "attention_head_dim": 4, **LEVELS, **config}).eval()


def save(folder: Path, network: UNet2DModel, scheduler: object) -> Path:
    DDPMPipeline(unet=network, scheduler=scheduler).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_the_images_are_those_of_diffusers(prediction_type: str, tmp_path: Path) -> None:
    network = unet()
    scheduler = DDIMScheduler(
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        clip_sample_range=0.8,
        beta_schedule="scaled_linear",
    )
    load_checkpoint(save(tmp_path / "theirs", network, scheduler)).save(tmp_path / "model.safetensors")
    model = ngldm.load(tmp_path / "model.safetensors", "cpu").model

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (3, 4)]

    options = {"method": "ddim", "num_inference_steps": 10, "x0_handling": "clip", "x0_limit": 0.8}
    found = []
    theirs = partial(DDIMPipeline(unet=network, scheduler=scheduler), use_clipped_model_output=True)  # eps too, as ours
    for pipeline in (Pipeline.of(model, **options), theirs):
        made = pipeline(batch_size=2, generator=generators(), num_inference_steps=10, output_type="pil").images
        found.append(np.stack([np.asarray(image, dtype=int) for image in made]))
    assert np.abs(found[0] - found[1]).max() <= 1
    assert found[1].std() > 5


def test_the_network_is_the_same_also_after_export(tmp_path: Path) -> None:
    network = unet(in_channels=1, out_channels=1, sample_size=(8, 12))
    model = load_checkpoint(save(tmp_path / "theirs", network, DDPMScheduler(100)), "mnist")
    assert model.item_shape == (1, 8, 12)
    assert model.config["dataset"] == "mnist"
    Pipeline.of(model).save_pretrained(tmp_path / "ours")
    again = Pipeline.from_pretrained(tmp_path / "ours")
    assert isinstance(again.scheduler, Scheduler)
    x = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.model(x, 40).sample, network(x, 40).sample)


@pytest.mark.parametrize(
    ("config", "scheduler", "words"),
    [
        ({"out_channels": 6}, DDPMScheduler(), "takes 3 channels and gives 6"),
        ({"num_class_embeds": 10}, DDPMScheduler(), "num_class_embeds is 10"),
        ({"sample_size": None}, DDPMScheduler(), "no sample_size"),
        ({}, DDPMScheduler(beta_schedule="sigmoid"), "unknown beta_schedule 'sigmoid'"),
    ],
)
def test_what_cannot_be_taken_is_refused(config: dict, scheduler: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        load_checkpoint(save(tmp_path, unet(**config), scheduler))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="model_index"):
        load_checkpoint(tmp_path / "empty")
    block = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, **block)
    LDMPipeline(vqvae=vae, unet=unet(), scheduler=DDIMScheduler()).save_pretrained(tmp_path / "latent")
    with pytest.raises(InputError, match="a pipeline of scheduler, unet, vqvae; only unet and scheduler"):
        load_checkpoint(tmp_path / "latent")
