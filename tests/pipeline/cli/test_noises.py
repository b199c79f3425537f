"""`ngldm noise`: what it prints and draws, and what it refuses."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.covariance import LedoitWolf

from ngldm.noise import make_noise

Ngldm = Callable[..., tuple[int, str, str]]


def test_show_prints_exact_and_sampled_moments_and_draws(ngldm: Ngldm, tmp_path: Path) -> None:
    picture = tmp_path / "gamma.png"
    code, out, _ = ngldm("noise", "show", "gamma", "-p", "concentration=4", "--out", str(picture))
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("skewness")).split()
    assert float(row[1]) == 1.0  # 2 / sqrt(4)
    assert abs(float(row[2]) - 1.0) < 6 * float(row[3])
    assert Image.open(picture).size[0] > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cauchyy",), "unknown noise 'cauchyy'"),
        (("student_t", "-p", "df=2"), "variance is infinite"),
        (("student_t", "-p", "df"), "'df' must be key=value"),
        (("mirrored", "-p", "base={"), "is not key=<YAML>"),
    ],
)
def test_bad_input_is_one_message(ngldm: Ngldm, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = ngldm("noise", "show", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_show_says_what_a_law_of_whole_images_is_like(ngldm: Ngldm) -> None:
    code, out, _ = ngldm("noise", "show", "multivariate_laplace")
    assert code == 0
    assert "elements share randomness; uncorrelated; symmetric; K_bar needs: scalar" in out
    row = next(line for line in out.splitlines() if line.startswith("excess kurtosis")).split()
    assert float(row[2]) == 3.0  # of the Laplace distribution
    assert abs(float(row[3]) - 3.0) < 6 * float(row[4])
    code, out, _ = ngldm("noise", "show", "power_law", "-p", "beta=0")
    assert "elements do not share randomness; correlated" in out
    assert "white control on 8 x 8 pixels: noise times 1.000" in out


def test_show_says_what_a_file_of_conf_noise_means(ngldm: Ngldm) -> None:
    code, out, err = ngldm("noise", "show", "pink_t")
    assert code == 0, err
    first, second = out.splitlines()[:2]
    base = '{"distribution": "multivariate_t", "df": 5.0}'
    file = Path("conf/noise/pink_t.yaml")
    assert first == f"pink_t is the distribution power_law with -p 'beta=1.0' -p 'base={base}', by {file}"
    assert second.startswith("power_law ")
    written = ngldm("noise", "show", "power_law", "-p", "beta=1.0", "-p", f"base={base}")[1]
    assert out.partition("\n")[2] == written
    assert "power_law {'beta': -1.0}" in ngldm("noise", "show", "pink", "-p", "beta=-1.0")[1]
    code, _, err = ngldm("noise", "show", "paper")
    assert code == 2
    assert "has 5 noises, of the distributions gaussian, laplace, exponential, uniform, gumbel" in err


def test_gallery_draws_a_row_for_each_noise(ngldm: Ngldm, tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    assert ngldm("noise", "gallery", "sphere", "--out", str(one))[0] == 0
    code, out, _ = ngldm("noise", "gallery", "student_t", "power_law {beta: -1.0}", "--out", str(two))
    assert code == 0
    assert out.strip() == str(two)
    (width, height), (same, double) = Image.open(one).size, Image.open(two).size
    assert (same, double) == (width, 2 * height)


@pytest.mark.parametrize(
    ("noise", "words"), [("cauchyy", "unknown noise"), ("sphere {", "'sphere {'"), ("sphere 3", "")]
)
def test_a_gallery_of_nothing_is_one_message(ngldm: Ngldm, tmp_path: Path, noise: str, words: str) -> None:
    code, _, err = ngldm("noise", "gallery", noise, "--out", str(tmp_path / "x.png"))
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "x.png").exists()


@pytest.fixture
def latents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """White training latents (500, 2, 8, 8), in the folder where the test now is."""
    folder = tmp_path / "data" / "latents"
    folder.mkdir(parents=True)
    values = np.random.default_rng(0).standard_normal((500, 2, 8, 8)).astype(np.float32)
    for split in ("train", "test"):
        np.save(folder / f"{split}.npy", values)
    (folder / "statistics.json").write_text('{"mean": [0.0, 0.0], "std": [1.0, 1.0], "latent_shape": [2, 8, 8]}')
    monkeypatch.chdir(tmp_path)
    return values


@pytest.mark.usefixtures("latents")
def test_spectrum_prints_a_file_for_conf(ngldm: Ngldm) -> None:
    """Latents that are white have the same power in each bin: 5 standard errors of a mean of squares."""
    code, out, err = ngldm("noise", "spectrum", "--bins", "3")
    assert code == 0, err
    assert out.startswith("# @package _global_\n")
    options = yaml.safe_load(out)["noise_options"]["latent_spectrum"]
    assert options["powers"] == pytest.approx([1.0] * 3, abs=5 * math.sqrt(2 / (1000 * 9)))
    assert make_noise(options.pop("distribution"), options).second_moment == 1.0


def test_covariance_writes_the_root_and_prints_a_file_for_conf(ngldm: Ngldm, latents: np.ndarray) -> None:
    code, out, err = ngldm("noise", "covariance", "--out", "root.npy")
    assert code == 0, err
    assert out.startswith("# @package _global_\n")
    options = yaml.safe_load(out)["noise_options"]["latent_covariance"]
    law = make_noise(options.pop("distribution"), options)
    law.check_item((2, 8, 8))
    expected = LedoitWolf().fit(latents.reshape(500, -1)).covariance_
    root = np.load("root.npy").reshape(128, 128).astype(np.float64)
    assert np.abs(root @ root - expected / expected.diagonal().mean()).max() < 1e-5
    code, _, err = ngldm("noise", "covariance", "--out", ".")
    assert code == 2
    assert "folder" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gallery", "gaussian", "--out", "."), "is a folder; give the name of a file"),
        (("show", "student_t", "-p", "df=[3"), "--param: 'df=[3' is not key=<YAML>"),
    ],
)
def test_bad_arguments_give_one_line(ngldm: Ngldm, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = ngldm("noise", *arguments)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
