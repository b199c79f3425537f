"""Noise of a given covariance: that of the columns of points, of the channels of images, or of whole latents.

The covariance of latents is too large for params.yaml. `ngldm noise covariance` writes its root to a file, and the
params hold the file's SHA-256. So a changed file is refused, and all that is made from the params changes with it. A
model file holds the root itself (`roots_in`, `remember`).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.io.files import atomic_path
from ngldm.io.images import NPY_FAULTS
from ngldm.noise.law import Law
from ngldm.noise.laws.coloured import GAUSSIAN, Coloured
from ngldm.noise.parameters import number
from ngldm.noise.registry import make_part, register

LARGEST = 4096  # elements of an item: the root has this many squared, 64 MiB
MATRIX: Sequence[Sequence[float]] = ((1.0, 0.5), (0.5, 1.0))
LEAST = 1e-6  # of a covariance's eigenvalues, whose mean is 1
ROOTS: dict[str, Tensor] = {}  # the roots known so far, by their SHA-256
MADE_BY = "`ngldm noise covariance`"


class Covariance(Coloured):
    """n = L m with L L^T = Sigma, of mean variance 1. L is symmetric.

    Args:
        root: L, (*axes, *axes). `axes` are the first axes of an item; elements along the others are independent.
        base: the law of m.
    """

    def __init__(self, root: Tensor, base: Law) -> None:
        super().__init__(base)
        self.leading = tuple(root.shape[: root.ndim // 2])
        size = math.prod(self.leading)
        self.roots: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        self.root = root.reshape(size, size)

    def colour(self, z: Tensor) -> Tensor:
        """L z."""
        return self._times("root", z)

    def whiten(self, x: Tensor) -> Tensor:
        """L^-1 x."""
        return self._times("inverse", x)

    def _times(self, which: str, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.float()
        if (key := (which, x.device, x.dtype)) not in self.roots:
            matrix = self.root if which == "root" else torch.linalg.inv(self.root.double())
            self.roots[key] = matrix.to(x.device, x.dtype)
        rows = x.reshape(len(x), len(self.root), -1).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):  # a training in bfloat16 must not round the noise
            return (rows @ self.roots[key]).transpose(1, 2).reshape(x.shape)


def symmetric_root(covariance: Tensor) -> Tensor:
    """The symmetric root (d, d), float64, of a covariance scaled to mean variance 1.

    Raises:
        InputError: it is not symmetric, or not positive definite. A direction without noise would show the image at
            every t, so x_T could not be drawn.
    """
    covariance = covariance.double()
    if not bool((covariance.diagonal() > 0.0).all()):
        raise InputError(
            f"the covariance must have variances above 0; the least is {float(covariance.diagonal().min()):g}"
        )
    if not math.isfinite(float(covariance.diagonal().sum())):
        raise InputError(
            "the covariance is too large for its mean variance to be computed; divide all of it by a number"
        )
    if not torch.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-12):
        raise InputError("the covariance must be symmetric")
    values, vectors = torch.linalg.eigh(covariance / covariance.diagonal().mean())
    if not float(values[0]) > LEAST:
        raise InputError(
            "the covariance must have noise in every direction (be positive definite); its least eigenvalue is "
            f"{float(values[0]):g} of the mean"
        )
    root: Tensor = vectors * values.sqrt() @ vectors.T
    return root


def covariance_root(latents: np.ndarray) -> tuple[Tensor, float]:
    """The root of the covariance of latents, and how far it was shrunk.

    The estimate is that of Ledoit and Wolf (2004): the sample covariance, drawn towards a multiple of the identity by a
    share that follows from the data and falls to 0 as their number grows. So it is positive definite.

    Args:
        latents: (N, *item), N >= 2.

    Returns:
        (*item, *item) float32, and the share, 0 to 1.

    Raises:
        InputError: an item has too many elements, or the latents have no variance.
    """
    item, size = latents.shape[1:], math.prod(latents.shape[1:])
    if size > LARGEST:
        raise InputError(
            f"items of shape {tuple(item)} have {size} elements, so a covariance has {size}^2 numbers; at most "
            f"{LARGEST} elements are allowed; `ngldm noise spectrum` measures the power by frequency, for any size"
        )
    from sklearn.covariance import ledoit_wolf  # not at the top: it would slow the start of every stage

    covariance, shrinkage = ledoit_wolf(latents.reshape(len(latents), size).astype(np.float64))
    if not covariance.trace() > 0.0:
        raise InputError("the latents are all the same, so they have no covariance")
    return symmetric_root(torch.from_numpy(covariance)).float().reshape(*item, *item), float(shrinkage)


def root_sha256(root: Tensor) -> str:
    """SHA-256, in hex, of a root's shape and float32 numbers."""
    digest = hashlib.sha256(str(tuple(root.shape)).encode())
    digest.update(np.ascontiguousarray(root.numpy().astype("<f4")).tobytes())
    return digest.hexdigest()


def write_root(root: Tensor, path: Path) -> None:
    """Write a root to a .npy file, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, root.numpy())


def remember(roots: Mapping[str, Tensor]) -> None:
    """Make roots known by their SHA-256, so that their file is not needed.

    Raises:
        InputError: a root has another SHA-256.
    """
    for sha256, root in roots.items():
        if root_sha256(root) != sha256:
            raise InputError(f"noise 'covariance': the root with the SHA-256 {sha256[:12]}... is damaged")
        ROOTS[sha256] = root


def roots_in(params: object) -> dict[str, Tensor]:
    """The known roots that a noise's parameters name, at any depth, by their SHA-256."""
    return {sha256: ROOTS[sha256] for sha256 in _named(params) if sha256 in ROOTS}


def _named(params: object) -> Iterator[str]:
    if isinstance(params, Mapping):
        if isinstance(sha256 := params.get("sha256"), str):
            yield sha256
        params = list(params.values())
    if isinstance(params, list | tuple):
        for value in params:
            yield from _named(value)


def _read_root(file: object, sha256: object) -> Tensor:
    """The root of that SHA-256: one that is known, else the file's."""
    if not (isinstance(file, str) and isinstance(sha256, str)):
        raise InputError(f"file: {file!r} needs sha256, which is {sha256!r}; {MADE_BY} writes the file and prints both")
    if sha256 not in ROOTS:
        try:
            values = np.load(file, allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"file: {file}: no such file; it comes from {MADE_BY}") from None
        except (*NPY_FAULTS, BadZipFile) as error:
            raise InputError(f"file: {file}: not a whole .npy file ({error})") from error
        if not isinstance(values, np.ndarray):
            raise InputError(f"file: {file}: is an archive of arrays; {MADE_BY} writes one array, a .npy file")
        half = values.ndim // 2
        if values.dtype != np.float32 or not half or values.shape[:half] != values.shape[half:]:
            raise InputError(
                f"file: {file}: has {values.dtype} numbers of shape {values.shape}; {MADE_BY} writes float32 numbers "
                "of the shape of an item, twice"
            )
        root = torch.from_numpy(values)
        if (found := root_sha256(root)) != sha256:
            raise InputError(f"sha256: {sha256!r}, but {file} has {found}: it has changed; use that of {MADE_BY}")
        ROOTS[sha256] = root
    return ROOTS[sha256]


def _matrix(rows: object) -> Tensor:
    """The root of a covariance that is written out."""
    square = isinstance(rows, Sequence) and all(isinstance(r, Sequence) and len(r) == len(rows) for r in rows)
    if not (square and rows):
        raise InputError(f"matrix: {rows!r} must be a square matrix, a list of rows")
    assert isinstance(rows, Sequence)
    values = [[number(f"matrix[{i}][{j}]", value) for j, value in enumerate(row)] for i, row in enumerate(rows)]
    try:
        return symmetric_root(torch.tensor(values, dtype=torch.float64))
    except InputError as error:
        raise InputError(f"matrix: {error}") from None


@register("covariance")
def covariance(
    matrix: Sequence[Sequence[float]] = MATRIX,
    file: str | None = None,
    sha256: str | None = None,
    base: Mapping[str, object] = GAUSSIAN,
) -> Coloured:
    """A given covariance: `matrix` over channels or columns, or over whole latents by the `file` of that `sha256`.

    It is scaled to mean variance 1. `ngldm noise covariance` measures the training latents and writes the file.
    """
    if file is None and sha256 is None:
        return Covariance(_matrix(matrix), make_part("base", base))
    if matrix is not MATRIX:
        raise InputError("matrix: has no effect beside file; give one of them")
    return Covariance(_read_root(file, sha256), make_part("base", base))
