"""Configs of diffusers' autoencoders that ask for endless work, for the hub, or for what gives wrong images."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.pretrained import CONFIG, WEIGHTS, PretrainedSettings, load_pretrained
from ngldm.networks.autoencoders.structure import make_empty

HUGE = 10**9
PLAIN = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 8],
    "latent_channels": 2,
    "norm_num_groups": 2,
    "sample_size": 8,
}
CONFIGS = [
    {"block_out_channels": [HUGE, HUGE]},
    {"block_out_channels": []},
    {"block_out_channels": "x"},
    {"block_out_channels": [8] * 1000},
    {"in_channels": HUGE},
    {"in_channels": "3"},
    {"in_channels": None},
    {"latent_channels": HUGE},
    {"layers_per_block": HUGE},
    {"layers_per_block": 0},
    {"norm_num_groups": 0},
    {"down_block_types": ["X"]},
    {"act_fn": "nope"},
    {"sample_size": 10**12},
    {"scaling_factor": float("nan")},
    {"scaling_factor": 0.0},
    {"scaling_factor": "x"},
    {"scaling_factor": [1]},
    {"shift_factor": "x"},
    {"shift_factor": 1e308},
]


@pytest.mark.parametrize("changed", CONFIGS, ids=lambda changed: str(changed)[:50])
def test_a_config_that_cannot_be_is_refused_before_memory_is_taken(changed: dict[str, object]) -> None:
    assert make_empty("AutoencoderKL", PLAIN).config["latent_channels"] == 2
    with pytest.raises(InputError, match=r"autoencoder\.options\.model: "):
        make_empty("AutoencoderKL", {**PLAIN, **changed})


@pytest.mark.parametrize("config", ["runwayml/stable-diffusion-v1-5", None, [], 3])
def test_a_config_is_a_mapping(config: object) -> None:
    """diffusers would ask the hub for a text."""
    with pytest.raises(InputError, match="must be a mapping"):
        make_empty("AutoencoderKL", config)


@pytest.mark.parametrize("name", ["os", None, 3, "UNet2DModel"])
def test_other_classes_are_refused(name: object) -> None:
    with pytest.raises(InputError, match="unknown class of a diffusers autoencoder"):
        make_empty(name, PLAIN)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    AutoencoderKL(**PLAIN).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    return tmp_path


def load(folder: Path) -> object:
    return load_pretrained((3, 8, 8), PretrainedSettings(str(folder)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: dict(list(weights.items())[3:]), "lacks"),
        (lambda weights: {key: value * float("nan") for key, value in weights.items()}, "NaN or infinite"),
        (lambda weights: {"x": torch.zeros(1)}, "asks for"),
    ],
)
def test_weights_that_are_missing_or_nan_are_never_taken(saved: Path, change, words: str) -> None:
    """diffusers gives random values to weights that a file lacks, with a warning only."""
    load(saved)
    save_file(change(load_file(saved / WEIGHTS)), saved / WEIGHTS)
    with pytest.raises(InputError, match=words):
        load(saved)


def test_a_config_of_more_weights_than_the_file_can_hold_is_refused(saved: Path) -> None:
    config = json.loads((saved / CONFIG).read_text())
    (saved / CONFIG).write_text(json.dumps({**config, "block_out_channels": [60_000, 60_000]}))
    with pytest.raises(InputError, match=r"asks for \d{11,} weights"):
        load(saved)


def test_a_file_never_makes_this_machine_ask_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **given: asked.append(given) or "/nowhere")
    structure = {"class": "AutoencoderKL", "config": PLAIN}
    settings = PretrainedSettings("a/b", download=True, bundle_autoencoder=False, structure=structure)
    with pytest.raises(InputError, match="no file"):
        load_pretrained((3, 8, 8), settings)
    assert [given["local_files_only"] for given in asked] == [True]
