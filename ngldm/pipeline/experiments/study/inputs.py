"""What a job of the study is computed from: the pipeline's data, or points of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ngldm.data.cache.latents import build_cache, input_files
from ngldm.data.dataset import Dataset
from ngldm.data.sources.registry import make_dataset
from ngldm.io.files import write_json
from ngldm.io.items import as_points
from ngldm.networks.autoencoders.build import build_autoencoder, save_autoencoder
from ngldm.pipeline import workspace
from ngldm.pipeline.experiments.extractor import write_reference
from ngldm.scoring.features.points import SCALE, PointsExtractor, save_scale


@dataclass(frozen=True)
class Inputs:
    """Where a job finds its inputs: what the stages `download`, `latents`, `reference` and `autoencoder` write."""

    dataset: Path = workspace.DATASET
    latents: Path = workspace.LATENTS
    reference: Path = workspace.REFERENCE
    autoencoder: Path = workspace.AUTOENCODER

    @property
    def further(self) -> Path:
        return self.reference / workspace.FURTHER.name

    def files(self) -> list[Path]:
        """The files that decide a job's result, but those of the further scores."""
        latents, _, statistics = input_files(self.latents)
        return [
            latents,
            statistics,
            self.autoencoder,
            *(self.reference / name for name in ("statistics.npz", "reference.json")),
        ]


@contextmanager
def job_inputs(dataset: Mapping[str, object] | None, batch_size: int) -> Iterator[Inputs]:
    """The pipeline's data, or points of the job's own. These lie in a folder that is removed at the end.

    Args:
        dataset: settings of points of a law (`ngldm.data.sources.registry.make_dataset`); None takes the pipeline's.
        batch_size: points in memory at a time.

    Raises:
        InputError: points that cannot be used.
    """
    if dataset is None:
        yield Inputs()
        return
    place = workspace.main_root() / "checkpoints" / "study"
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="data-", dir=place) as name:
        folder = Path(name)
        own = Inputs(folder / "dataset", folder / "latents", folder / "reference", folder / "autoencoder.safetensors")
        data = make_dataset(dataset, own.dataset, folder)
        autoencoder = build_autoencoder({"kind": "identity", **data.encoding}, data.item_shape)
        save_autoencoder(autoencoder, own.autoencoder)
        build_cache(autoencoder, data.train, data.test, own.latents, batch_size)
        _write_point_reference(data, own.reference, batch_size)
        yield own


def _write_point_reference(data: Dataset, folder: Path, batch_size: int) -> None:
    folder.mkdir()
    save_scale(as_points(data.train), folder / SCALE)
    about = write_reference(PointsExtractor(folder / SCALE), data, folder, batch_size)
    write_json(folder / "reference.json", about)
