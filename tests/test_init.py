"""The public face: light to import, complete, usable without the pipeline; docs/python.md runs as typed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ngldm
from benchmarks.fid import random_inception
from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.noise import registry

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)


def python(*arguments: object, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of 7x5 RGB images; no layer is zero, so that every weight shows."""
    config = {
        "noise": {"name": "laplace", "params": {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30},
        "diffusion": {"forward": "marginal", "objective": "x0", "weighting": "none", "gamma": None},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (3, 7, 5),
    }
    torch.manual_seed(0)
    made = Model.build(config)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    made.save(path)
    return path


# --- the names


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "scipy", "mlflow", "pydantic", "typer", "rich", "accelerate", "safetensors"}
    loaded = python("-c", "import sys, ngldm; dir(ngldm); ngldm.__version__; print(*sys.modules)").split()
    assert "ngldm" in loaded
    assert heavy & set(loaded) == set()


def test_every_name_is_there_and_no_other() -> None:
    for name in ngldm.__all__:
        assert getattr(ngldm, name) is not None
    assert dir(ngldm) == sorted(ngldm.__all__)
    with pytest.raises(AttributeError, match="module 'ngldm' has no attribute 'lode'"):
        ngldm.lode  # noqa: B018


def test_editors_and_type_checkers_see_the_same_names_from_the_same_places() -> None:
    tree = ast.parse(Path(ngldm.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert {*seen, "__version__"} == set(ngldm.__all__)
    for name, module in seen.items():
        assert getattr(ngldm, name) is getattr(sys.modules[module], name)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(ngldm.__file__).parent / "py.typed").is_file()


def test_python_dash_m_is_the_console_script() -> None:
    assert python("-m", "ngldm", "--version").strip() == ngldm.__version__


# --- load


ALONE = """
import sys

ABOVE = {"mlflow", "dvc", "hydra", "typer", "pydantic", "ruamel", "yaml", "rich", "jinja2", "matplotlib"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABOVE or name.startswith(("ngldm.pipeline", "stages")):
            raise ImportError(f"{name} is out of reach here")


sys.meta_path.insert(0, Refuse())
import numpy, ngldm

numpy.save("images.npy", ngldm.load(sys.argv[1], "cpu").sample(2, seed=0))
"""


def test_a_model_is_loaded_and_sampled_without_the_pipeline(model: Path, tmp_path: Path) -> None:
    python("-c", ALONE, model, cwd=tmp_path)
    images = np.load(tmp_path / "images.npy")
    assert (images.shape, images.dtype) == ((2, 7, 5, 3), np.uint8)
    assert images.std() > 5
    np.testing.assert_array_equal(images, ngldm.load(str(model), torch.device("cpu")).sample(2, seed=0))


@pytest.mark.parametrize("path", [None, 3, b"model.safetensors"])
def test_what_is_no_path_is_refused_by_name(path: object) -> None:
    with pytest.raises(InputError, match=f"path: {re.escape(repr(path))} .* must be a str or a pathlib.Path"):
        ngldm.load(path, "cpu")  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_refused_by_name(model: Path) -> None:
    with pytest.raises(InputError, match="device 'cuda:99'"):
        ngldm.load(model, "cuda:99")


# --- frechet_distance


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray, lambda array: torch.from_numpy(array).float()])
def test_the_distance_of_commuting_covariances_has_its_closed_form(kind) -> None:
    """|mu1 - mu2|^2 + sum (sqrt(a) - sqrt(b))^2 over the eigenvalues: 9 + 16 + 1 + 4."""
    first = kind(np.array([0.0, 0.0])), kind(np.diag([4.0, 9.0]))
    second = kind(np.array([3.0, 4.0])), kind(np.diag([1.0, 25.0]))
    assert ngldm.frechet_distance(*first, *second) == pytest.approx(30.0, rel=1e-6)


# --- docs/python.md


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A block of the page, run as typed in an empty folder; what it has defined."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))

    def call(index: int) -> dict:
        names: dict = {"__name__": "__main__"}
        exec(BLOCKS[index], names)
        return names

    return call


def test_the_page_has_its_five_programs() -> None:
    words = ("ngldm.load(", "optimizer.step()", "ngldm.dpmpp_2m(", "ngldm.frechet_distance(", "@ngldm.register(")
    assert len(BLOCKS) == len(words)
    assert all(word in block for word, block in zip(words, BLOCKS, strict=True))


def test_program_load_and_sample(run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(model.read_bytes())
    made = run(0)
    assert (made["images"].shape, made["slower"].shape) == ((16, 7, 5, 3), (4, 7, 5, 3))
    assert made["frames"].shape == (6, 4, 7, 5, 3)
    assert np.abs(made["frames"][-1].astype(int) - made["images"][:4]).max() <= 1  # image i is image i
    np.testing.assert_array_equal(np.asarray(Image.open("first.png")), made["images"][0])


def test_program_own_training_loop(run, capsys: pytest.CaptureFixture[str]) -> None:
    """At once the loss is about 1, the variance of x_0; what no network can learn at large t stays."""
    losses = run(1)["losses"]
    assert losses[0] == pytest.approx(1.0, abs=0.2)
    assert np.mean(losses[-20:]) < 0.75
    last = re.findall(r"step 300, loss ([\d.]+)", capsys.readouterr().out)
    assert float(last[0]) < 0.75


def test_program_our_sampler_on_a_foreign_network(run) -> None:
    """8000 values: standard errors 0.5 / sqrt(8000) and 0.5 / sqrt(16000), and what 50 steps leave."""
    samples = run(2)["samples"]
    assert float(samples.mean()) == pytest.approx(2.0, abs=0.03)
    assert float(samples.std()) == pytest.approx(0.5, abs=0.02)


def test_program_score_two_folders(run, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, low in (("folder1", 0), ("folder2", 128)):
        (tmp_path / name).mkdir()
        for index in range(3):
            image = Image.fromarray(generator.integers(low, 256, (32, 32, 3), dtype=np.uint8))
            image.save(tmp_path / name / f"{index}.png")
    random_inception(tmp_path).rename(tmp_path / "pt_inception.pth")
    made = run(3)
    same = ngldm.frechet_distance(*made["statistics"]("folder1"), *made["statistics"]("folder1"))
    assert same == pytest.approx(0.0, abs=1e-3 * made["fid"])
    assert made["fid"] > 0


def test_program_register_a_noise(run) -> None:
    """Run twice, as a notebook does; a half-normal starts at its mean, sqrt(2 / pi), below 0."""
    run(4)
    noise = run(4)["noise"]
    mean, std = (2 / np.pi) ** 0.5, (1 - 2 / np.pi) ** 0.5
    x = noise.sample((100_000,), torch.Generator().manual_seed(1))
    assert float(x.min()) == pytest.approx(-mean / std, abs=1e-3)
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)
