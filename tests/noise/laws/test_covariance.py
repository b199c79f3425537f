"""Noise of a given covariance: its draws, Stein's identity, the file of the root, and the estimate from latents."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.covariance import LedoitWolf

from ngldm.io.errors import InputError
from ngldm.noise import draw_with_stein, make_noise
from ngldm.noise.laws.covariance import ROOTS, Covariance, covariance_root, root_sha256, write_root

ITEM, D, SIZE = (2, 3, 2), 12, 2**15
BASES = [{"distribution": "gaussian"}, {"distribution": "gamma"}, {"distribution": "multivariate_t", "df": 9.0}]


def latents(count: int = 4000) -> np.ndarray:
    """(count, *ITEM) float32, with a covariance of full rank and different variances."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((count, D)) @ rng.standard_normal((D, D))).reshape(-1, *ITEM).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> dict[str, object]:
    """The parameters of a law whose root is in a file."""
    root, _ = covariance_root(latents())
    write_root(root, tmp_path / "root.npy")
    return {"file": str(tmp_path / "root.npy"), "sha256": root_sha256(root)}


def sigma() -> np.ndarray:
    """The covariance that the file should stand for, by scikit-learn, of mean variance 1."""
    found: np.ndarray = LedoitWolf().fit(latents().reshape(-1, D)).covariance_
    return found / found.diagonal().mean()


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["distribution"])
def test_draws_have_the_covariance_of_the_latents(file: dict[str, object], base: dict) -> None:
    """Each of the 144 entries within 6 of its standard errors, which are measured."""
    law = make_noise("covariance", {**file, "base": base})
    x = law.sample((SIZE, *ITEM), torch.Generator().manual_seed(0), dtype=torch.float64).flatten(1).numpy()
    products = x[:, :, None] * x[:, None, :]
    assert (np.abs(products.mean(0) - sigma()) < 6 * products.std(0) / math.sqrt(SIZE)).all()
    assert (np.abs(x.mean(0)) < 6 * x.std(0) / math.sqrt(SIZE)).all()
    assert sigma().diagonal().mean() == pytest.approx(1.0)  # unit energy
    assert sigma().diagonal().std() > 0.1  # but not in each element


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["distribution"])
def test_stein_identity(file: dict[str, object], base: dict) -> None:
    """E[n_i f(n_i)] = E[(L K L^T)_ii f'(n_i)] for f = tanh, within 6 standard errors for each element."""
    law = make_noise("covariance", {**file, "base": base})
    n, k = draw_with_stein(law, (SIZE, *ITEM), torch.Generator().manual_seed(1))
    root = np.real(sqrtm(sigma()))
    full = np.einsum("ij,bj,ij->bi", root, np.broadcast_to(k.flatten(1).numpy(), (SIZE, D)), root)
    x = n.flatten(1).double().numpy()
    difference = x * np.tanh(x) - full * (1 - np.tanh(x) ** 2)
    assert (np.abs(difference.mean(0)) < 6 * difference.std(0) / math.sqrt(SIZE)).all()


def test_a_matrix_mixes_the_first_axis_alone() -> None:
    law = make_noise("covariance", {"matrix": [[4.0, 1.0], [1.0, 2.0]]})
    x = law.sample((SIZE, 2, 3), torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    expected = np.kron(np.array([[4.0, 1.0], [1.0, 2.0]]) / 3.0, np.eye(3))
    assert np.abs(np.cov(x.reshape(SIZE, 6).T) - expected).max() < 6 * 2 / math.sqrt(SIZE)
    points = law.sample((SIZE, 2), torch.Generator().manual_seed(0)).numpy()
    assert np.corrcoef(points.T)[0, 1] == pytest.approx(1 / math.sqrt(8), abs=6 / math.sqrt(SIZE))


def test_colouring_is_linear_symmetric_and_invertible(file: dict[str, object]) -> None:
    law, generator = make_noise("covariance", file), torch.Generator().manual_seed(1)
    assert isinstance(law, Covariance)
    x, y = (torch.randn(4, *ITEM, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(law.whiten(law.colour(x)), x)
    torch.testing.assert_close((law.colour(x) * y).sum(), (x * law.colour(y)).sum())


def test_a_training_in_bfloat16_does_not_round_the_noise(file: dict[str, object]) -> None:
    law = make_noise("covariance", file)
    exact = law.sample((3, *ITEM), torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(law.sample((3, *ITEM), torch.Generator().manual_seed(0)), exact)


def test_the_estimate_is_ledoit_and_wolfs() -> None:
    root, shrinkage = covariance_root(latents(40))
    other = LedoitWolf().fit(latents(40).reshape(-1, D))
    assert shrinkage == pytest.approx(other.shrinkage_)
    covariance = (root.reshape(D, D).double() @ root.reshape(D, D).double()).numpy()
    expected = other.covariance_ / other.covariance_.diagonal().mean()
    assert np.abs(covariance - expected).max() < 1e-5 * np.abs(expected).max()
    assert covariance_root(latents(8))[0].isfinite().all()  # fewer latents than elements


def test_bad_latents_and_matrices_are_refused() -> None:
    with pytest.raises(InputError, match=r"5184 elements.*at most 4096.*ngldm noise spectrum"):
        covariance_root(np.zeros((3, 1, 72, 72), np.float32))
    with pytest.raises(InputError, match="all the same"):
        covariance_root(np.zeros((5, 1, 2, 2), np.float32))
    for matrix, words in (
        ([[1.0, 0.5]], "must be a square matrix"),
        ("ab", "must be a square matrix"),
        ([[1.0, 0.5], [0.4, 1.0]], "must be symmetric"),
        ([[1.0, 1.0], [1.0, 1.0]], "positive definite"),
        ([[1.0, 2.0], [2.0, 1.0]], "least eigenvalue is -1"),
        ([[-1.0, 0.0], [0.0, -1.0]], "variances above 0; the least is -1"),  # over its mean it would be the identity
        ([[1.0, 0.0], [0.0, -1.0]], "variances above 0; the least is -1"),
        ([[0.0, 0.0], [0.0, 0.0]], "variances above 0; the least is 0"),
        ([[1e308, 0.0], [0.0, 1e308]], "too large"),
        ([[1.0, math.nan], [math.nan, 1.0]], r"matrix\[0\]\[1\]: nan is not a finite number"),
    ):
        with pytest.raises(InputError, match=words):
            make_noise("covariance", {"matrix": matrix})
    with pytest.raises(InputError, match=r"the first axes of an item must be that; these items have \(3, 4\)"):
        make_noise("covariance").check_item((3, 4))


def test_a_bad_file_is_refused(file: dict[str, object], tmp_path: Path) -> None:
    path, sha256 = Path(str(file["file"])), str(file["sha256"])
    whole = path.read_bytes()
    np.save(tmp_path / "flat.npy", np.ones(4, np.float32))
    np.save(tmp_path / "double.npy", np.eye(2))
    np.savez(tmp_path / "several.npz", np.eye(2))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "several.npz").read_bytes()[:50])
    ROOTS.pop(sha256, None)
    for changes, words in (
        ({"sha256": "0" * 64}, f"but .*root.npy has {sha256}: it has changed"),
        ({"file": str(tmp_path / "none.npy")}, "no such file; it comes from `ngldm noise covariance`"),
        ({"sha256": None}, "needs sha256, which is None"),
        ({"file": None}, "needs sha256"),
        ({"file": str(tmp_path / "flat.npy")}, r"has float32 numbers of shape \(4,\)"),
        ({"file": str(tmp_path / "double.npy")}, "has float64 numbers"),
        ({"file": str(tmp_path / "several.npz")}, "is an archive of arrays"),
        ({"file": str(tmp_path / "cut.npz")}, r"not a whole \.npy file"),
        ({"file": str(tmp_path)}, r"not a whole \.npy file"),
        ({"matrix": [[1.0, 0.0], [0.0, 1.0]]}, "matrix: has no effect beside file"),
    ):
        with pytest.raises(InputError, match=words):
            make_noise("covariance", {**file, **changes})
    path.write_bytes(whole[:200])
    with pytest.raises(InputError, match=r"not a whole \.npy file"):
        make_noise("covariance", file)
