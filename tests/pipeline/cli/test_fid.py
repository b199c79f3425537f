"""`ngldm fid` against pytorch-fid on the same files, and `ngldm generate`."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ngldm.model import Model
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.pipeline.cli.fid import read_batches
from ngldm.pipeline.config.params import Params, parse_params
from ngldm.sampling.best import BEST_SAMPLERS
from ngldm.scoring.features.inception import _state_dict_instead_of_download

RNG = np.random.default_rng(0)
STANDIN = os.environ.get("NGLDM_INCEPTION")  # a file of trained weights, for the full comparison


def folder_of(path: Path, count: int, level: int) -> Path:
    path.mkdir()
    smooth = RNG.integers(0, level, (count, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    for i, image in enumerate(smooth + RNG.integers(0, 30, smooth.shape, dtype=np.uint8)):
        Image.fromarray(image).save(path / f"{i:03}.png")
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of FID's network, or the trained ones that NGLDM_INCEPTION names."""
    if STANDIN:
        return Path(STANDIN)
    import pytorch_fid.inception as module

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:  # the network as it is before it takes the downloaded weights
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: None)
        network = module.fid_inception_v3()
    for layer in network.modules():  # torchvision's initial weights let the signal die out on the way
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sets")
    return folder_of(root / "a", 100, 200), folder_of(root / "b", 80, 120)


def test_fid_is_that_of_pytorch_fid_on_the_same_files(ngldm, sets, weights, tmp_path):
    from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path
    from pytorch_fid.inception import InceptionV3

    with _state_dict_instead_of_download(torch.load(weights, weights_only=True)):
        network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    statistics = [compute_statistics_of_path(str(path), network, 50, 2048, "cpu", 0) for path in sets]
    theirs = calculate_frechet_distance(*statistics[0], *statistics[1])
    code, out, err = ngldm("fid", *sets, "--weights", weights, "--save", tmp_path / "a.npz", "--device", "cpu")
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("fd_inception: "))
    assert float(line.split()[1]) == pytest.approx(theirs, abs=1e-3)
    assert theirs > 10 * 1e-3  # the two sets differ by more than the tolerance
    assert "below 2049" in out

    # Statistics instead of images, ours and theirs
    code, out, err = ngldm("fid", tmp_path / "a.npz", sets[1], "--weights", weights, "--device", "cpu")
    assert float(out.split("fd_inception: ")[1].split()[0]) == pytest.approx(theirs, abs=1e-3)
    read = compute_statistics_of_path(str(tmp_path / "a.npz"), network, 50, 2048, "cpu")
    again = calculate_frechet_distance(*read, *statistics[1])
    assert again == pytest.approx(theirs, abs=1e-3)


def test_fid_refuses_what_it_cannot_score(ngldm, sets, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "small.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.save(tmp_path / "float.npy", np.zeros((4, 8, 8, 3)))
    (tmp_path / "other").mkdir()
    for name in "ab":
        (tmp_path / "other" / f"{name}.png").write_text("no image")
    torch.save({"x": torch.zeros(1)}, tmp_path / "foreign.pth")
    for arguments, words in (
        ((sets[0], tmp_path / "none"), "no such file"),
        ((sets[0], tmp_path / "empty"), "no image"),
        ((tmp_path / "small.npz", sets[0]), "(2048,)"),
        ((tmp_path / "float.npy", sets[0]), "must be uint8"),
        ((tmp_path / "other", sets[0]), "not an image"),
    ):
        code, _, err = ngldm("fid", *arguments, "--weights", weights)
        assert code == 2, err
        assert words in err, err
        assert "Traceback" not in err
    code, _, err = ngldm("fid", *sets, "--weights", tmp_path / "foreign.pth")
    assert code == 2
    assert "does not hold the weights" in err


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {
        "noise": {"name": "laplace", "params": {}},
        "diffusion": {"forward": "marginal", "objective": "x0", "weighting": "none", "gamma": 5.0},
        "schedule": {"name": "linear", "num_train_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.02},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (3, 8, 8),
        "dataset": "x",
    }
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    torch.manual_seed(0)
    bundle = Model.build(config, build_autoencoder({"kind": "identity"}, (3, 8, 8)))
    with torch.no_grad():  # a fresh network's last layer is 0, which makes all images one grey
        for parameter in bundle.unet.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    bundle.save(path)
    return path


def images(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("0*.png"))]).astype(int)


def test_generate_writes_the_same_images_whatever_the_batch(ngldm, model, tmp_path):
    for name, more in (("a", ()), ("b", ("--batch-size", 3)), ("c", ("--seed", 1))):
        code, out, err = ngldm("generate", "--model", model, "--num-images", 7, "--out", tmp_path / name, *more)
        assert code == 0, err
        assert "7 images" in out
        assert (tmp_path / f"{name}.png").is_file()  # the grid: beside the samples, so that no score counts it
        assert read_batches(tmp_path / name, 4)[0] == 7
    a, b, c = (images(tmp_path / name) for name in "abc")
    assert a.shape == (7, 8, 8, 3)
    assert np.abs(a - b).max() <= 1
    assert np.abs(a - c).max() > 10


def test_generate_passes_on_step_noise_and_x0_handling(ngldm, model, tmp_path):
    ancestral = ("--sampler", "ancestral", "--steps", 5)
    for name, more in (
        ("own", ancestral),
        ("step", (*ancestral, "--step-noise", "gaussian")),
        ("clip", (*ancestral, "--x0-handling", "clip", "--x0-limit", 0.1, "--seed", 0)),
        ("last", (*ancestral, "--seed", 10**12 - 1)),
    ):
        code, _, err = ngldm("generate", "--model", model, "--num-images", 3, "--out", tmp_path / name, *more)
        assert code == 0, err
    own = images(tmp_path / "own")
    assert all(np.abs(own - images(tmp_path / name)).max() > 10 for name in ("step", "clip", "last"))


def test_generate_refuses_what_it_cannot_do(ngldm, model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "taken.png").touch()
    out = ("--out", tmp_path / "new")
    for arguments, words in (
        (("--model", model, "--noise", "laplace", *out), "give one of them"),
        (("--model", model, "--out", tmp_path / "full"), "not an empty folder"),
        (("--model", model, "--out", tmp_path / "taken"), "taken.png, the place of the grid, exists"),
        (("--model", model, "--sampler", "ddim", *out), "give both"),
        (("--model", model, "--sampler", "euler", "--steps", 5, *out), "'euler'"),
        (("--model", model, "--sampler", "heun", "--steps", 5, "--eta", 0.5, *out), "eta: not an option"),
        (("--model", model, "--sampler", "ddim", "--steps", 21, *out), "21"),
        (("--model", model, "--seed", 10**12, *out), "999999999999"),
        (("--model", model, "--step-noise", "gaussian", *out), "--step-noise: not an option of dpmpp_2m"),
        (("--model", model, "--sampler", "ddim", "--steps", 5, "--step-noise", "x_T", *out), "step_noise: 'x_T'"),
        (("--model", model, "--x0-handling", "cut", *out), "x0_handling 'cut'"),
        (("--model", model, "--x0-handling", "range", "--x0-limit", 2.0, *out), "--x0-limit: not an option"),
        (("--model", tmp_path / "none", *out), "no such file"),
        (("--model", "models:/nothing@best", *out), "models:/nothing@best"),
    ):
        code, _, err = ngldm("generate", *arguments)
        assert code == 2, err
        assert words in err, err
        assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_the_best_samplers_are_those_of_the_configuration(content):
    params: Params = parse_params(content)
    auto = params.sampler_options["auto"]
    assert {name: auto.arguments(name) for name in auto.choices or {}} == BEST_SAMPLERS
