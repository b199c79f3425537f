"""A pipeline of diffusers as a model file: the same network, the same images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

import ngldm
from ngldm.interop.diffusers import Pipeline, Scheduler
from ngldm.interop.diffusers.checkpoint import load_checkpoint
from ngldm.io.errors import InputError
from ngldm.model import Model, load_model
from ngldm.sampling.generator import Generator

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
        ({"class_embed_type": "timestep"}, DDPMScheduler(), "class_embed_type is 'timestep'"),
        ({"class_embed_type": "identity"}, DDPMScheduler(), "class_embed_type is 'identity'"),
        ({"num_class_embeds": 1}, DDPMScheduler(), "num_classes: 1, must be at least 2"),
        ({"sample_size": None}, DDPMScheduler(), "no sample_size"),
        ({}, DDPMScheduler(beta_schedule="sigmoid"), "unknown beta_schedule 'sigmoid'"),
    ],
)
def test_what_cannot_be_taken_is_refused(config: dict, scheduler: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        load_checkpoint(save(tmp_path, unet(**config), scheduler))


def compare(model: Model, network: UNet2DModel, labels: list[int], theirs: list[int]) -> None:
    """Labels of ours, and those of theirs that mean the same, give the same numbers."""
    x = torch.randn(len(labels), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for t in (0, 40, 99):
            expected = network(x, t, torch.tensor(theirs)).sample
            assert torch.equal(model.network(x, torch.full((len(x),), t + 1), torch.tensor(labels)), expected)


def test_a_network_with_classes_is_the_same_for_each_also_from_its_file_and_after_export(tmp_path: Path) -> None:
    network = unet(num_class_embeds=3)
    model = load_checkpoint(save(tmp_path / "theirs", network, DDPMScheduler(100)))
    assert model.classes is not None
    assert (model.classes.names, model.classes.label_dropout) == (("0", "1", "2"), 0.0)
    compare(model, network, [0, 1, 2], [0, 1, 2])
    model.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    Pipeline.of(again).save_pretrained(tmp_path / "ours")
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exported = Pipeline.from_pretrained(tmp_path / "ours").model(x, 40, torch.tensor([1, 2])).sample
        assert torch.equal(exported, network(x, 40, torch.tensor([1, 2])).sample)
    network.to(memory_format=torch.channels_last)  # the layout of a loaded model, which decides the last bit
    compare(again, network, [2, 0], [2, 0])
    with pytest.raises(InputError, match="guidance_scale"):
        Generator(again).sample(2, seed=0, guidance_scale=2.0)


@pytest.mark.parametrize(("no_class", "names"), [(3, "012"), (0, "123")])
def test_the_label_that_means_no_class_is_that_of_guidance(no_class: int, names: str, tmp_path: Path) -> None:
    network = unet(num_class_embeds=4)
    model = load_checkpoint(save(tmp_path / "theirs", network, DDPMScheduler(100)), no_class=no_class)
    assert model.classes is not None
    assert "".join(model.classes.names) == names
    compare(model, network, [0, 1, 2, 3], [*map(int, names), no_class])
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 50])
    with torch.no_grad():
        assert torch.equal(model.network(x, t), network(x, t - 1, torch.full((2,), no_class)).sample)
    guided = Generator(model).sample(2, seed=0, guidance_scale=2.0, num_inference_steps=3)
    assert guided.shape == (2, 8, 8, 3)


@pytest.mark.parametrize(
    ("config", "no_class", "words"),
    [({"num_class_embeds": 4}, 4, "no_class: 4"), ({}, 0, "no_class: 0, but the network .* has no classes")],
)
def test_a_label_that_is_not_there_is_refused(config: dict, no_class: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        load_checkpoint(save(tmp_path, unet(**config), DDPMScheduler()), no_class=no_class)


def without(file: Path, name: str) -> None:
    weights = load_file(file)
    del weights[name]
    save_file(weights, file, {"format": "pt"})


NETWORK = "unet/diffusion_pytorch_model.safetensors"
DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("model_index.json", Path.unlink, "no such file or folder; it comes from diffusers"),
    ("scheduler/scheduler_config.json", Path.unlink, "no such file or folder; it comes from diffusers"),
    ("unet/config.json", Path.unlink, "diffusers cannot load it"),
    ("unet/config.json", lambda file: file.write_text("{"), "diffusers cannot load it"),
    ("unet/config.json", lambda file: file.write_text(file.read_text().replace(": 4,", ": 5,")), "divisible by"),
    (NETWORK, Path.unlink, "diffusers cannot load it"),
    (NETWORK, lambda file: file.write_bytes(file.read_bytes()[:1000]), "diffusers cannot load it"),
    (NETWORK, lambda file: without(file, "conv_in.weight"), r"its weights lack .*conv_in\.weight"),
]


@pytest.mark.parametrize(("file", "damage", "words"), DAMAGES)
def test_damage_is_named(file: str, damage: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    folder = save(tmp_path, unet(), DDPMScheduler())
    damage(folder / file)
    with pytest.raises(InputError, match=words) as refused:
        load_checkpoint(folder)
    assert str(folder) in str(refused.value)


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
