"""`ngldm fid` against pytorch-fid on the same files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
    return folder_of(root / "a", 24, 200), folder_of(root / "b", 20, 120)


def test_fid_is_that_of_pytorch_fid_on_the_same_files(ngldm, sets, weights, tmp_path):
    import pytorch_fid.inception as module
    from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path
    from pytorch_fid.inception import InceptionV3

    state = torch.load(weights, weights_only=True)
    with pytest.MonkeyPatch.context() as patch:  # instead of a download
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: state)
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
    for ours, own in zip(read, statistics[0], strict=True):
        np.testing.assert_allclose(ours, own, rtol=1e-4, atol=1e-5)


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
