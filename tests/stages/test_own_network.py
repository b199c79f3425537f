"""docs/howto-network.md as typed: a package with the page's network, trained by `dvc repro`."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import mlflow
import pytest
import torch
from torch.nn import functional as F

import ngldm
from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.build import AUTOENCODERS, build_autoencoder
from ngldm.networks.registry import NETWORKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto-network.md").read_text()


def block(kind: str, index: int = 0) -> str:
    """The page's block of that kind and number."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)[index]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with the page's module."""
    site = tmp_path / "site"
    (site / "my_networks-1.dist-info").mkdir(parents=True)
    (site / "my_networks.py").write_text(block("python"))
    (site / "my_networks-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my_networks\nVersion: 1\n")
    points = tomllib.loads(block("toml"))["project"]["entry-points"]
    lines = [f"[{group}]\n{name} = {module}\n" for group, found in points.items() for name, module in found.items()]
    (site / "my_networks-1.dist-info" / "entry_points.txt").write_text("".join(lines))
    monkeypatch.setattr(NETWORKS, "entries", dict(NETWORKS.entries))
    return site


def test_the_pages_network_trains_and_its_model_file_gives_images(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [line for kind in ("python", "toml") for line in block(kind).splitlines() if line]
    assert len(typed) + len(["the file in conf/", "uv pip install", "dvc exp run"]) <= 20
    folder = tmp_path / "repo"
    folder.mkdir()
    for name in ("ngldm", "stages", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "conf" / "network" / "small_conv.yaml").write_text(re.findall("`(kind: .*)`", PAGE)[0])
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": f"{site}{os.pathsep}{folder}", "DVC_NO_ANALYTICS": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"DVC_SITE_CACHE_DIR": str(tmp_path / "cache")}
    overrides = ["-S", "recipe=smoke", "-S", "noises=[laplace]", "-S", "network=small_conv"]
    for command in (["ngldm", "params", "--compose", *overrides], ["dvc", "repro", "train@laplace"]):
        call = [sys.executable, "-m", *command]
        done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    file = folder / "models" / "laplace" / "model.safetensors"
    with pytest.raises(InputError, match=r"unknown network\.kind 'small_conv'; choose one of: .*dit, mlp, unet"):
        ngldm.load(file, "cpu")  # without the package
    monkeypatch.syspath_prepend(site)
    generator = ngldm.load(file, "cpu")
    assert generator.sample(2, seed=0, method="ddim", num_inference_steps=4).shape == (2, 8, 8, 1)
    latents, width = generator.model.autoencoder.latent_shape[0], 32  # the default of the page's function
    assert generator.model.network[0].weight.shape == (width, latents + 1, 3, 3)

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.noise = 'laplace'")
    weights = [width * (latents + 1) * 9 + width, latents * width * 9 + latents]
    assert list(runs["params.network.parameters"]) == [str(sum(weights))]
    assert list(runs["params.network.kind"]) == ["small_conv"]
    sys.modules.pop("my_networks")


def test_the_pages_autoencoder_is_pixel_unshuffle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUTOENCODERS, "entries", dict(AUTOENCODERS.entries))
    exec(block("python", 1), {})
    model = build_autoencoder({"kind": "halves"}, (3, 6, 4))
    x = torch.randn(2, 3, 6, 4)
    assert torch.equal(model.encode(x), F.pixel_unshuffle(x, 2))
    assert torch.equal(model.decode(model.encode(x)), x)
    assert model.latent_shape == (12, 3, 2)
