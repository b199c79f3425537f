"""`ngldm ema`: a model file of another length, and scores of several lengths, of which each is that of such a file."""

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

import ngldm as face
from ngldm.io.tensors import load_tensors
from ngldm.model import load_model
from ngldm.pipeline import workspace as paths
from ngldm.scoring.distance.scorer import open_scorer
from ngldm.training.tracks import averaged
from stages.train import train

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Recipe smoke, trained once more with averages."""
    folder = tmp_path_factory.mktemp("ema")
    for name in ("conf", "data", "models"):
        shutil.copytree(smoke / name, folder / name)
    content = YAML(typ="safe").load(smoke / "params.yaml")
    content["train"]["ema"] = {"snapshots": 10}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        YAML().dump(content, Path("params.yaml"))
        train("laplace", "cpu")
        yield folder


@pytest.fixture(autouse=True)
def inside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def test_write_gives_a_model_that_generates(ngldm: Command, tmp_path: Path) -> None:
    out = tmp_path / "short.safetensors"
    code, said, err = ngldm("ema", "write", "--noise", "laplace", "--sigma-rel", 0.07, "--out", out)
    assert code == 0, err
    assert f"{out}: sigma_rel 0.07, error of the profile " in said
    written, before = load_model(out), load_model(paths.model("laplace"))
    wanted, _ = averaged(paths.snapshots("laplace") / "ema", 0.07)
    for key, value in written.network.named_parameters():
        assert torch.equal(value, wanted[key])
    assert any(not torch.equal(value, wanted[key]) for key, value in before.network.named_parameters())
    ours, theirs = (
        {k: v for k, v in load_tensors(f)[0].items() if not k.startswith("unet.")}
        for f in (out, paths.model("laplace"))
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)  # autoencoder, statistics
    assert load_tensors(out)[1] == {**load_tensors(paths.model("laplace"))[1], "ema_sigma_rel": 0.07}
    assert face.load(out).sample(2, seed=0).shape == (2, 8, 8, 1)
    code, _, err = ngldm("ema", "write", "--noise", "laplace", "--sigma-rel", 0.07, "--out", out)
    assert (code, err) == (2, f"error: --out: {out} exists\n")


def table(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_each_line_of_a_sweep_is_the_score_of_such_a_model(ngldm: Command, tmp_path: Path) -> None:
    """Sampled and scored here by the public interface, with NumPy's mean and error over the seeds."""
    chosen = [*("--sigma-rel", 0.05), *("--sigma-rel", 0.15), *("--seed", 3), *("--seed", 4), *("--num-images", 32)]
    code, said, err = ngldm(
        "ema", "sweep", "--noise", "laplace", *chosen, "--sampler", "ddim", "--out", tmp_path / "t.csv"
    )
    assert code == 0, err
    rows = table(tmp_path / "t.csv")
    assert [row["sigma_rel"] for row in rows] == ["", "0.05", "0.15"]
    assert all(
        name in said for name in ("as trained", "0.05", "0.15", "fd_classifier of 32 images by ddim, 2 sampling")
    )
    ngldm("ema", "write", "--noise", "laplace", "--sigma-rel", 0.15, "--out", tmp_path / "long.safetensors")
    scorer = open_scorer(paths.REFERENCE, 32)
    steps = YAML(typ="safe").load(Path("params.yaml"))["sampler_options"]["ddim"]
    values = {}
    for row, file in ((rows[0], paths.model("laplace")), (rows[2], tmp_path / "long.safetensors")):
        sets = [face.load(file).sample(32, seed=seed, **steps) for seed in (3, 4)]
        values[file] = np.array([scorer.distance(scorer.features(images, 32)) for images in sets])
        differences = values[file] - values[paths.model("laplace")]
        for name, found in (("value", values[file]), ("difference", differences)):
            assert float(row[name]) == pytest.approx(found.mean(), rel=1e-3, abs=1e-3)
        for name, found in (("std_error", values[file]), ("difference_error", differences)):
            assert float(row[name]) == pytest.approx(found.std(ddof=1) / 2**0.5, rel=0.05, abs=1e-3)
    assert rows[0]["value"] != rows[2]["value"] != rows[1]["value"]
    assert {row["metric"] for row in rows} == {"fd_classifier"}


def test_a_length_that_the_snapshots_do_not_carry_is_said(ngldm: Command, tmp_path: Path) -> None:
    arguments = ("ema", "write", "--noise", "laplace", "--sigma-rel", 0.01, "--out", tmp_path / "far.safetensors")
    code, said, _ = ngldm(*arguments)
    assert code == 0
    assert "note: --sigma-rel 0.01: the snapshots give its profile with an error of 4" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sigma-rel", 0.3), "sigma_rel: 0.3 must be above 0 and at most 0.2887"),
        (("--sigma-rel", 0.1, "--sampler", "euler"), "unknown --sampler 'euler'; choose one of: "),
        (("--sigma-rel", 0.1, "--noise", "gaussian"), "snapshots/gaussian/ema: no such file or folder; it comes from"),
        (("--sigma-rel", 0.1, "--noise", "../laplace"), "--noise: '../laplace' has a separator of paths"),
        (("--sigma-rel", 0.1, "--num-images", 10**12), "--num-images"),
        (("--sigma-rel", 0.1, "--out", "params.yaml/x.csv"), "params.yaml is a file, and no folder"),
    ],
)
def test_what_cannot_be_is_named(ngldm: Command, arguments: tuple[Any, ...], words: str) -> None:
    code, _, err = ngldm("ema", "sweep", "--noise", "laplace", "--num-images", 16, *arguments)
    assert code == 2
    assert words in err


def test_snapshots_of_another_network_are_refused(ngldm: Command, tmp_path: Path) -> None:
    shutil.copytree(Path.cwd(), tmp_path / "copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "copy")
        model = load_model(paths.model("laplace"))
        narrow = {**model.config, "unet": {**model.config["unet"], "widths": [8]}}  # type: ignore[dict-item]
        type(model).build({**narrow, "unet": {**narrow["unet"], "attention_levels": []}}).save(paths.model("laplace"))  # type: ignore[dict-item]
        code, _, err = ngldm(
            "ema", "write", "--noise", "laplace", "--sigma-rel", 0.1, "--out", tmp_path / "x.safetensors"
        )
        assert code == 2
        assert "its snapshots are of another network than the model's" in err
