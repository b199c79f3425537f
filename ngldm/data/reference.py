"""The reference for scores: the features of the real images and their statistics.

The files on disk are statistics.npz (`mu`, `sigma`, in pytorch-fid's interchange format), features.npy (for KID,
precision and recall), further.npz (`ngldm.scoring.further.scores`) and reference.json. If a classifier gives the
features, classifier.safetensors is there too; for points, scale.safetensors.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path, entry, read_json, require, require_unchanged
from ngldm.io.images import NPY_FAULTS, open_array, require_finite, require_small

MADE_BY = "the stage `reference`"
CLASSIFIER = "classifier.safetensors"
COVARIANCE_ROUNDING = 1e-4  # relative; float32 files of others have about 1e-6
CONSISTENT = 1e-3  # relative; float32 features and float64 moments of them differ by about 1e-6
MAX_FEATURES = 10_000  # a random subset, kept for KID, precision and recall; the statistics use all features


@dataclass(frozen=True)
class Reference:
    """Statistics of the real images.

    Attributes:
        mu: (D,) float64.
        sigma: (D, D) float64.
        features: (N, D) float32, at most `MAX_FEATURES` of them, in random order, as data sets may be sorted by class.
        about: extractor, metric, weights_sha256, num_images, floor.
    """

    mu: Tensor
    sigma: Tensor
    features: Tensor
    about: Mapping[str, object]

    def require_extractor(self, weights_sha256: str) -> None:
        """Check that the features come from the same network.

        Raises:
            InputError: the reference was made with other weights.
        """
        made_with = entry(self.about, "weights_sha256", str)
        if made_with != weights_sha256:
            raise InputError(
                f"the reference features were made with weights {made_with[:12]}, but the extractor has weights "
                f"{weights_sha256[:12]}; run the stage `reference` again"
            )


class KeptRows:
    """Some rows of a stream of batches, in an order of their own. Only these rows are in memory.

    Args:
        rows: (K,) numbers of the rows to keep, each once, in the order in which `features` gives them.
        dim: length D of a row.
    """

    def __init__(self, rows: Tensor, dim: int) -> None:
        self.sorted, self.places = rows.sort()
        self.features, self.seen = torch.empty(len(rows), dim), 0

    def update(self, batch: Tensor) -> None:
        """Take the next rows of the stream, (B, D)."""
        ends = torch.tensor([self.seen, self.seen + len(batch)])
        first, last = torch.searchsorted(self.sorted, ends).tolist()
        self.features[self.places[first:last]] = batch[self.sorted[first:last] - self.seen].float()
        self.seen += len(batch)


def kept_rows(count: int) -> Tensor:
    """The numbers of the `MAX_FEATURES` or fewer random items of `count` whose features are kept; always the same."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:MAX_FEATURES]


def save_reference(folder: Path, mu: Tensor, sigma: Tensor, features: Tensor) -> None:
    """Write the statistics of all features, and the features (K, D) of `kept_rows`, into the existing `folder`."""
    write_statistics(folder / "statistics.npz", mu, sigma)
    np.save(folder / "features.npy", features.numpy())


def write_statistics(path: Path, mu: Tensor, sigma: Tensor) -> None:
    """Write `mu` (D,) and `sigma` (D, D) to an .npz in pytorch-fid's interchange format. No partial file is left."""
    with atomic_path(path) as temporary:
        np.savez(temporary, mu=mu.cpu().numpy(), sigma=sigma.cpu().numpy())


def read_statistics(path: Path, dim: int | None = None) -> tuple[Tensor, Tensor]:
    """Read `mu` and `sigma` as float64, from a file of ours or of pytorch-fid.

    Args:
        dim: the length that `mu` must have.

    Raises:
        InputError: the file is missing or damaged, has other shapes, or holds no mean and covariance.
    """
    try:
        with np.load(require(path), allow_pickle=False) as file:
            require_small(path, file)
            arrays = [file[key] for key in ("mu", "sigma")]
    except InputError:
        raise
    except (*NPY_FAULTS, KeyError, BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: it is encrypted
        raise InputError(f"{path}: not a complete .npz with mu and sigma ({error})") from error
    if not all(np.issubdtype(array.dtype, np.floating) for array in arrays):
        raise InputError(f"{path}: mu {arrays[0].dtype} and sigma {arrays[1].dtype}, must be real numbers")
    mu, sigma = (torch.from_numpy(array.astype(np.float64)) for array in arrays)
    if len(mu.shape) != 1 or len(mu) == 0 or sigma.shape != (len(mu), len(mu)) or dim not in (None, len(mu)):
        wanted = f"({dim or 'D'},) and ({dim or 'D'}, {dim or 'D'})"
        raise InputError(f"{path}: mu {tuple(mu.shape)} and sigma {tuple(sigma.shape)}, must be {wanted}")
    if not mu.isfinite().all():
        raise InputError(f"{path}: mu: NaN or infinite numbers")
    require_covariance(f"{path}: sigma", sigma)
    return mu, sigma


def require_covariance(name: str, sigma: Tensor) -> None:
    """Check that a matrix can be a covariance: finite, symmetric and positive semi-definite, up to rounding.

    Without this check, a matrix with negative eigenvalues could give a negative Frechet distance. pytorch-fid stops
    there too, with "Imaginary component".

    Args:
        name: what the message begins with.
        sigma: (D, D) float64.

    Raises:
        InputError: it cannot be one.
    """
    if not sigma.isfinite().all():
        raise InputError(f"{name}: NaN or infinite numbers")
    rounding = COVARIANCE_ROUNDING * sigma.abs().max()
    if (sigma - sigma.T).abs().max() > rounding:
        raise InputError(f"{name}: not symmetric, so it is no covariance")
    # Cholesky's method fails if an eigenvalue is below 0, here: below -rounding. It is faster than the eigenvalues.
    raised = (sigma + sigma.T) / 2.0 + rounding * torch.eye(len(sigma), dtype=sigma.dtype)
    if rounding > 0 and torch.linalg.cholesky_ex(raised).info:
        raise InputError(f"{name}: has negative eigenvalues, so it is no covariance")


def load_reference(path: Path) -> Reference:
    """Load the output of the stage `reference`.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    about = read_json(require(path, MADE_BY) / "reference.json", "extractor", "metric", "weights_sha256")
    require(path / "features.npy", MADE_BY)
    try:
        mu, sigma = read_statistics(path / "statistics.npz")
        features = np.array(open_array(path / "features.npy", np.float32, MADE_BY))
        reference = Reference(mu, sigma, torch.from_numpy(features), about)
        require_reference(path, reference)
        require_unchanged(path / "reference.json", "sha256", about)
        _require_consistent(path, reference)
    except InputError as error:
        raise InputError(f"{path}: damaged ({error}); run the stage `reference` again") from error
    return reference


def _require_consistent(path: Path, reference: Reference) -> None:
    """Compare the features with the mean and covariance, which are of the same images if all of them are kept.

    Raises:
        InputError: they differ: one of the files has changed.
    """
    count = reference.about.get("num_images")
    if not isinstance(count, int) or not 1 < count == len(reference.features):
        return
    features = reference.features.double()
    apart = max(
        float((features.mean(0) - reference.mu).abs().max() / (1e-12 + features.abs().max())),
        float((features.T.cov() - reference.sigma).abs().max() / (1e-12 + reference.sigma.abs().max())),
    )
    if apart > CONSISTENT:
        raise InputError(f"{path}: features.npy and statistics.npz are not of the same images")


def require_reference(path: Path, reference: Reference) -> None:
    """Check a reference: shapes, counts, and that every number is finite.

    Raises:
        InputError: what is wrong, and in which file.
    """
    file, features, about = path / "features.npy", reference.features, reference.about
    if features.ndim != 2 or len(features) < 2 or features.shape[1] != len(reference.mu):
        wanted = f"(N, {len(reference.mu)}) with N of at least 2; statistics.npz has {len(reference.mu)} features"
        raise InputError(f"{file}: shape {tuple(features.shape)}, must be {wanted}")
    require_finite(file, features.numpy())
    for key in ("extractor", "metric", "weights_sha256"):
        entry(about, key, str, path / "reference.json")
    if "num_images" in about:
        expected = min(entry(about, "num_images", int, path / "reference.json"), MAX_FEATURES)
        if len(features) != expected:
            raise InputError(f"{file}: {len(features)} vectors, must be {expected} for {about['num_images']} images")
    if "floor" in about and not 0.0 <= entry(about, "floor", float, path / "reference.json") < float("inf"):
        raise InputError(f"{path / 'reference.json'}: floor {about['floor']}, must be a finite number, at least 0")
