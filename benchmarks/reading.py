"""What reading costs as the data grows: the order of an epoch, batches of latents, and the passes before a training.

python -m benchmarks.reading [--size smallest|small|full] [--out FOLDER]

Latents are those of images of 256 x 256 pixels: (4, 32, 32) in float32, 16 KiB each.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.common import Row, peak_mib, pick, publish, timed
from ngldm.data.cache.statistics import latent_extent
from ngldm.io.files import sha256_file
from ngldm.io.images import require_finite
from ngldm.training.seeds import batch_indices
from ngldm.training.task import Split

SHAPE, BATCH = (4, 32, 32), 256


def epochs(counts: tuple[int, ...]) -> list[Row]:
    """The first batch of an epoch, for which the order of all items is drawn, and a later one; memory of the order."""
    rows: list[Row] = []
    for seed, count in enumerate(counts):
        found: dict[str, float] = {}

        def first(count: int = count, seed: int = seed, found: dict[str, float] = found) -> None:
            found["first"] = timed(lambda: batch_indices(count, BATCH, seed, 0))

        mib = peak_mib(first)
        later = timed(lambda count=count, seed=seed: [batch_indices(count, BATCH, seed, k) for k in range(1, 4)]) / 3
        rows.append({"items": count, "first batch, s": found["first"], "later batch, s": later, "peak MiB": mib})
    return rows


def passes(file: Path, steps: int) -> list[Row]:
    """MiB/s of a file of latents that is in memory: shuffled batches, the passes before a training, and DVC's hash."""
    latents: NDArray[np.float32] = np.load(file, mmap_mode="r")
    split = Split.of(latents)
    indices = [batch_indices(len(latents), BATCH, 0, step) for step in range(steps)]
    whole, shuffled = latents.nbytes / 2**20, steps * BATCH * latents[0].nbytes / 2**20
    actions: dict[str, tuple[float, Callable[[], object]]] = {
        f"shuffled batches of {BATCH}": (shuffled, lambda: [split.fetch(index).sum() for index in indices]),
        "check that all are finite": (whole, lambda: require_finite(file, latents)),
        "SHA-256": (whole, lambda: sha256_file(file)),
        "mean and range at each position": (whole, lambda: latent_extent(latents)),
        "MD5 (DVC)": (whole, lambda: _md5(file)),
    }
    latents.sum(dtype=np.float32)  # into memory, if the system has dropped it: the disk is not measured
    return [{"pass": name, "items": len(latents), "MiB/s": mib / timed(run)} for name, (mib, run) in actions.items()]


def _md5(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    counts = pick(size, (1000, 2000), (10**5, 10**6, 10**7), (10**5, 10**6, 10**7, 10**8))
    count, steps = pick(size, 512, 20_000, 100_000), pick(size, 2, 20, 100)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "latents.npy"
        written = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, *SHAPE))
        generator = np.random.default_rng(0)
        for start in range(0, count, BATCH):
            part = written[start : start + BATCH]
            part[:] = generator.standard_normal(part.shape, dtype=np.float32)
        written.flush()
        del written
        # The order first: the passes draw one too, which is then kept.
        results = {"order of an epoch": epochs(counts), "latents in memory": passes(file, steps)}
    publish("reading", results, out)


if __name__ == "__main__":
    typer.run(main)
