"""`ngldm theorem1`: what it prints and draws, and what it refuses."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Ngldm = Callable[..., tuple[int, str, str]]


ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    write_latents(tmp_path, channels=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_latents(folder: Path, channels: int) -> None:
    latents = folder / "data" / "latents"
    latents.mkdir(parents=True, exist_ok=True)
    rng, shape = np.random.default_rng(0), (channels, 4, 4)
    for split in ("train", "test"):
        np.save(latents / f"{split}.npy", rng.standard_normal((64, *shape)).astype(np.float32))
    statistics = {"mean": [0.0] * channels, "std": [1.0] * channels, "latent_shape": shape}
    (latents / "statistics.json").write_text(json.dumps(statistics))


def test_theorem1_writes_table_and_figure(ngldm: Ngldm, workspace: Path) -> None:
    options = ("-n", "laplace", "-T", "1", "-T", "20", "--num-latents", "64", "--draws", "2", "--out", "found")
    code, out, err = ngldm("theorem1", *options)
    assert code == 0, err
    with (workspace / "found" / "theorem1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["forward"], row["steps"]) for row in rows] == [
        ("marginal", "1"),
        ("marginal", "20"),
        ("markov", "1"),
        ("markov", "20"),
    ]
    assert all(abs(float(row["rms_ratio"]) - 1.0) < 5 * float(row["rms_std_error"]) for row in rows)
    assert float(rows[0]["ratio"]) == pytest.approx(
        float(rows[2]["ratio"])
    )  # with one step the chain is the single draw
    assert float(rows[3]["kurtosis_left"]) < 1.0
    assert Image.open(workspace / "found" / "theorem1.png").size[0] > 600
    assert "laplace" in out


def test_without_a_folder_no_output_of_a_stage_is_changed(ngldm: Ngldm, workspace: Path) -> None:
    """A file in reports/ would make DVC run the stage `report` again, which removes it."""
    (workspace / "reports").mkdir()
    code, _, err = ngldm("theorem1", "-n", "laplace", "-T", "1", "--num-latents", "8", "--draws", "1")
    assert code == 0, err
    assert list((workspace / "reports").iterdir()) == []
    assert (workspace / "theorem1" / "theorem1.csv").is_file()


def test_all_are_those_that_fit_the_latents(ngldm: Ngldm, workspace: Path) -> None:
    """The default of `covariance` is for 2 channels."""
    write_latents(workspace, channels=3)
    code, out, err = ngldm("theorem1", "-n", "all", "-T", "1", "--num-latents", "4", "--draws", "1")
    assert code == 0, err
    assert "pyramid" in out
    assert "covariance" not in out


def test_of_few_latents_all_are_taken(ngldm: Ngldm, workspace: Path) -> None:
    tables = []
    for arguments in ((), ("--num-latents", "64")):
        code, _, err = ngldm("theorem1", "-n", "laplace", "-T", "1", "--draws", "1", *arguments)
        assert code == 0, err
        tables.append((workspace / "theorem1" / "theorem1.csv").read_bytes())
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("theorem1", "-n", "cauchyy"), "unknown noise 'cauchyy'"),
        (("theorem1", "--num-latents", "65"), "has 64 training latents"),
    ],
)
def test_bad_input_is_one_message(ngldm: Ngldm, workspace: Path, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = ngldm(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_theorem1_needs_latents(ngldm: Ngldm, workspace: Path) -> None:
    (workspace / "data" / "latents" / "train.npy").unlink()
    code, _, err = ngldm("theorem1")
    assert code == 2
    assert "train.npy" in err
