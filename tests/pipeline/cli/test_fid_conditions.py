"""`ngldm fid` looks at both sides before the long work, and gives no figure without its conditions."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ngldm.scoring.features import extractor

RNG = np.random.default_rng(0)


class Flat:
    """Stands for Inception: 4 features of an image, and a count of the images that it saw."""

    dim, name, metric, weights_sha256, seen = 4, "flat", "fid", "d" * 64, 0

    def __init__(self, weights: Path, device: object, resizing: str) -> None:
        pass

    def __call__(self, images: np.ndarray) -> torch.Tensor:
        Flat.seen += len(images)
        x = torch.from_numpy(np.array(images)).float().flatten(1) / 255
        return torch.stack([x.mean(1), x.std(1), x[:, 0], x[:, -1]], 1)


@pytest.fixture(autouse=True)
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    Flat.seen = 0
    monkeypatch.setattr(extractor, "InceptionExtractor", Flat)
    monkeypatch.setattr(extractor, "inception_weights", lambda path: path)


def images(path: Path, count: int) -> Path:
    np.save(path, RNG.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    return path


def statistics(path: Path, mu: np.ndarray, sigma: np.ndarray) -> Path:
    np.savez(path, mu=mu, sigma=sigma)
    return path


def zipped(path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, images=np.zeros((4, 8, 8, 3), np.uint8))
    return path


NAN = np.array([0.0, np.nan, 0.0, 0.0])
BAD = {
    "nan_mu.npz": lambda path: statistics(path, NAN, np.eye(4)),
    "nan_sigma.npz": lambda path: statistics(path, np.zeros(4), np.diag(NAN)),
    "inf.npz": lambda path: statistics(path, np.zeros(4), np.diag([1.0, np.inf, 1.0, 1.0])),
    "negative.npz": lambda path: statistics(path, np.zeros(4), np.diag([1.0, 1.0, 1.0, -1.0])),
    "NAN.NPZ": lambda path: statistics(path.with_suffix(".npz"), NAN, np.eye(4)).rename(path),
    "zipped.npy": zipped,
    "empty.npy": lambda path: path.touch() or path,
    "small.npz": lambda path: statistics(path, np.zeros(3), np.eye(3)),
    "text.npz": lambda path: path.write_text("no zip") and path,
    "float.npy": lambda path: np.save(path, np.zeros((4, 8, 8, 3))) or path,
    "one.npy": lambda path: images(path, 1),
    "cut.npy": lambda path: path.write_bytes(images(path, 4).read_bytes()[:-1]) and path,
}


@pytest.mark.parametrize("name", [*BAD, "folder"])
@pytest.mark.parametrize("place", [0, 1])
def test_either_side_is_refused_before_an_image_is_scored(ngldm, tmp_path, name, place):
    if name == "folder":
        bad = tmp_path / "folder"
        bad.mkdir()
        for i in range(5):
            Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(bad / f"{i}.png")
        (bad / "4.png").write_bytes((bad / "4.png").read_bytes()[:900])  # the last one is cut short
    else:
        bad = BAD[name](tmp_path / name)
    sides = [images(tmp_path / "good.npy", 20)]
    sides.insert(place, bad)
    code, out, err = ngldm("fid", *sides, "--device", "cpu")
    assert code == 2, out
    assert name in err
    assert Flat.seen == 0
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["statistics", "statistics.npy", "folder.npz"])
def test_a_place_for_the_statistics_that_cannot_be_is_refused_before_an_image_is_scored(ngldm, tmp_path, name):
    (tmp_path / "folder.npz").mkdir()
    side = images(tmp_path / "a.npy", 20)
    code, _, err = ngldm("fid", side, side, "--save", tmp_path / name, "--device", "cpu")
    assert code == 2
    assert "--save" in err
    assert name in err
    assert Flat.seen == 0


def test_statistics_that_cannot_be_written_still_leave_the_distance(ngldm, tmp_path):
    (tmp_path / "file").touch()
    side = images(tmp_path / "a.npy", 20)
    code, out, err = ngldm("fid", side, side, "--save", tmp_path / "file" / "s.npz", "--device", "cpu")
    assert code == 2
    assert "fid: 0.000000" in out
    assert "--save" in err
    assert "Traceback" not in err


def test_kid_of_few_images_has_no_spread(ngldm, tmp_path):
    code, out, _ = ngldm("fid", images(tmp_path / "a.npy", 30), images(tmp_path / "b.npy", 25), "--device", "cpu")
    assert code == 0
    assert re.search(r"KID: -?[0-9.]+$", out, re.M)
    assert "+-" not in out
    assert "two subsets" in out


def test_kid_of_many_images_has_one(ngldm, tmp_path):
    code, out, _ = ngldm("fid", images(tmp_path / "a.npy", 2000), images(tmp_path / "b.npy", 2000), "--device", "cpu")
    assert code == 0
    (spread,) = re.findall(r"KID: -?[0-9.]+ \+- ([0-9.]+)", out)
    assert float(spread) > 0
    assert Flat.seen == 4000


def test_what_a_folder_leaves_out_is_said_once(ngldm, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "notes.docx").write_text("x")
    code, out, _ = ngldm("fid", folder, images(tmp_path / "a.npy", 30), "--device", "cpu")
    assert code == 0
    assert out.count("left out") <= 1


def test_extrapolation_needs_enough_images_of_the_second_set(ngldm, tmp_path: Path) -> None:
    first, second = images(tmp_path / "a.npy", 20), images(tmp_path / "b.npy", 9)
    code, _, err = ngldm("fid", first, second, "--extrapolate")
    assert code == 2
    assert "--extrapolate: 9 images are too few for 4 features" in err
    known = statistics(tmp_path / "c.npz", np.zeros(4), np.eye(4))
    code, _, err = ngldm("fid", first, known, "--extrapolate")
    assert code == 2
    assert "the second set must be images" in err
    assert Flat.seen == 0
    code, out, _ = ngldm("fid", known, first, "--extrapolate")
    assert code == 0
    assert "_infinity: " in out


def test_dinov2_scores_two_sets(ngldm, tmp_path: Path, dinov2_state) -> None:
    torch.save(dinov2_state(), tmp_path / "dinov2.pth")
    first, second = images(tmp_path / "a.npy", 12), images(tmp_path / "b.npy", 12)
    arguments = ("fid", first, second, "--extractor", "dinov2", "--weights", tmp_path / "dinov2.pth", "--device", "cpu")
    results = []
    for resizing in ("standard", "clean"):
        code, out, err = ngldm(*arguments, "--resizing", resizing)
        assert code == 0, err
        results.append(next(line for line in out.splitlines() if "KID" in line))
    assert results[0].startswith("fd_dinov2_128x2: ")
    assert results[1].startswith("fd_dinov2_128x2_clean: ")
    for bad, words in ((("--extractor", "vgg"), "unknown --extractor 'vgg'"), (("--resizing", "x"), "resizing 'x'")):
        code, _, err = ngldm(*arguments, *bad)
        assert code == 2
        assert words in err
