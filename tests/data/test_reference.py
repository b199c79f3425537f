"""The real images' statistics and features on disk: they come back, pytorch-fid reads them, damage is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import compute_statistics_of_path

from ngldm.data.reference import KeptRows, kept_rows, load_reference, save_reference
from ngldm.io.errors import InputError
from ngldm.io.files import write_json
from ngldm.scoring.distance.frechet import Moments

ABOUT = {"extractor": "classifier", "metric": "fd_classifier", "weights_sha256": "a" * 64}


def statistics(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    moments = Moments(features.shape[1]).update(features)
    return moments.mean, moments.cov


FEATURES = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    save_reference(tmp_path, *statistics(FEATURES), FEATURES)
    write_json(tmp_path / "reference.json", ABOUT)
    return tmp_path


def test_a_reference_comes_back(reference: Path) -> None:
    loaded, moments = load_reference(reference), Moments(6).update(FEATURES)
    assert torch.equal(loaded.mu, moments.mean)
    assert torch.equal(loaded.sigma, moments.cov)
    assert torch.equal(loaded.features.sort(0).values, FEATURES.sort(0).values)
    assert loaded.mu.dtype == loaded.sigma.dtype == torch.float64
    assert loaded.about == ABOUT


def test_pytorch_fid_reads_the_statistics(reference: Path) -> None:
    mu, sigma = compute_statistics_of_path(str(reference / "statistics.npz"), None, 1, 6, "cpu")
    np.testing.assert_allclose(mu, FEATURES.double().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sigma, np.cov(FEATURES.double().numpy(), rowvar=False), rtol=1e-10)


def test_at_most_ten_thousand_features_are_kept(tmp_path: Path) -> None:
    many, rows = torch.arange(10_001.0)[:, None], KeptRows(kept_rows(10_001), 1)
    for batch in many.split(700):
        rows.update(batch)
    save_reference(tmp_path, *statistics(many), rows.features)
    write_json(tmp_path / "reference.json", ABOUT)
    kept = load_reference(tmp_path).features[:, 0]
    assert len(kept) == len(kept.unique()) == 10_000
    # Random, since data sets may be sorted by class: the mean of half of a random order is within 5 deviations.
    assert abs(float(kept[:5000].mean()) - 5000.0) < 5 * 10_001 / 12**0.5 / 5000**0.5


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_rows_kept_of_a_stream_are_those_of_the_whole(size: int) -> None:
    whole = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    chosen = torch.randperm(40, generator=torch.Generator().manual_seed(1))[:15]
    rows = KeptRows(chosen, 3)
    for batch in whole.split(size):
        rows.update(batch)
    assert torch.equal(rows.features, whole[chosen])


def test_features_of_other_weights_are_refused(reference: Path) -> None:
    loaded = load_reference(reference)
    loaded.require_extractor("a" * 64)
    with pytest.raises(InputError, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb.*stage `reference`"):
        loaded.require_extractor("b" * 64)


@pytest.mark.parametrize("name", ["statistics.npz", "features.npy", "reference.json"])
def test_a_missing_file_of_the_reference_is_an_input_error_naming_it(reference: Path, name: str) -> None:
    (reference / name).unlink()
    with pytest.raises(InputError, match=name):
        load_reference(reference)


def test_a_missing_reference_is_an_input_error_naming_its_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the stage `reference`"):
        load_reference(tmp_path / "none")


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage"])
@pytest.mark.parametrize("name", ["statistics.npz", "features.npy", "reference.json"])
def test_a_damaged_file_of_the_reference_is_an_input_error(reference: Path, name: str, damage: str) -> None:
    whole = (reference / name).read_bytes()
    content = {"empty": b"", "truncated": whole[: len(whole) // 2], "garbage": b"\x00garbage" * 40}[damage]
    (reference / name).write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|not valid JSON"):
        load_reference(reference)


def test_statistics_with_other_keys_are_an_input_error(reference: Path) -> None:
    np.savez(reference / "statistics.npz", mean=np.zeros(6))
    with pytest.raises(InputError, match="damaged"):
        load_reference(reference)
