"""Scores of a training's snapshots. Each score is kept on disk as soon as it is done."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ngldm.data.results.curve import COLUMNS, CurveRow
from ngldm.io import processes
from ngldm.io.device import Computation, be_deterministic, kernels
from ngldm.io.files import sha256_file
from ngldm.io.images import UInt8Array
from ngldm.io.items import picture
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import CurveParams, EvaluateParams
from ngldm.pipeline.experiments.jobs import KeptRows
from ngldm.pipeline.experiments.scorer import stage_scorer
from ngldm.pipeline.own_network import own_autoencoder, own_network
from ngldm.pipeline.own_noise import own_noise
from ngldm.sampling.best import SamplerSettings, resolve_sampler
from ngldm.sampling.generator import Generator, load


class SnapshotScores:
    """Scores snapshots of all noises with one sampler and one scorer. Several processes share the images of each.

    Args:
        settings: the sections `curve` and `evaluate` of params.yaml, and the sampler that `curve.sampler` names.
        batch_size: images per step of the training; with it steps are converted to epochs.
        device: where to compute.

    Raises:
        InputError: the reference of the scores is missing or does not fit the settings.
    """

    def __init__(
        self, settings: tuple[CurveParams, EvaluateParams, SamplerOptions], batch_size: int, device: torch.device
    ) -> None:
        be_deterministic()
        self.config, self.scoring, self.options = settings
        self.batch_size = batch_size
        self.scorer = stage_scorer(self.scoring, self.config.num_images, device)
        decided_by = {
            "num_images": self.config.num_images,
            "batch_size": self.config.batch_size,
            "train_batch_size": batch_size,
            "evaluate": self.scoring.model_dump(include={"extractor", "fid_protocol", "batch_size"}),
        }
        reference = [workspace.REFERENCE / name for name in ("statistics.npz", "features.npy", "reference.json")]
        self.behind = {**made_from(decided_by, reference, Path(__file__)), "device": device.type}

    def curve(
        self,
        noise: str,
        files: list[Path],
        on_picture: Callable[[int, UInt8Array], None],
        advance: Callable[[int], None],
    ) -> list[CurveRow]:
        """The score of each snapshot of one noise: read back if it was kept, else computed and kept. [] but on the main
        process.

        Args:
            noise: label of the noise.
            files: model files; the name of each is its step.
            on_picture: called with the step and a grid of images (H, W, C) of each snapshot that is computed.
            advance: called with the number of images that are done.
        """
        if not files:
            return []
        generator = load(files[0], self.scorer.device)
        model, computation = generator.model, self._computation(noise, generator)
        law, timesteps = model.diffusion.noise, model.diffusion.schedule.num_train_timesteps
        sampler = resolve_sampler(self.options.settings(), law.name, timesteps)
        settings = {**self.behind["settings"], "sampler": sampler, **self.config.recorded(computation)}
        own = own_noise(law.name, law.params)
        own |= own_network(model.network_kind) | own_autoencoder(model.autoencoder_kind)
        rows: list[CurveRow] = []
        for file in files:
            inputs = {**self.behind["inputs"], "model": sha256_file(file)}
            behind = {**self.behind, "settings": settings, "inputs": inputs, **own}
            kept: KeptRows[CurveRow] = KeptRows("curve", f"{noise}-{file.stem}", COLUMNS, behind)
            found = processes.from_main(kept.read)
            if found is not None:
                advance(self.config.num_images)
            elif scored := self._score(file, sampler, computation, advance):
                row, shown = scored
                found = [row]
                kept.write(found)
                on_picture(row["step"], shown)
            rows += found or []
        return rows

    def _computation(self, noise: str, generator: Generator) -> Computation:
        """In what the snapshots of a noise are sampled, all alike."""
        config, size = self.config, min(self.config.batch_size, self.scorer.count)
        with kernels(config.deterministic, self.scorer.device):
            choice = generator.computing(config.precision, config.layout, size)[1]
        if choice.said and processes.is_main():
            print(f"curve {noise}: {choice.said}", flush=True)
        return choice.computation

    def _score(
        self, file: Path, sampler: SamplerSettings, computation: Computation, advance: Callable[[int], None]
    ) -> tuple[CurveRow, UInt8Array] | None:
        """One snapshot's row, and a picture of its first items. None but on the main process."""
        config, scorer = self.config, self.scorer
        generator = load(file, scorer.device)
        generator, _ = generator.computing(computation.precision, computation.layout, config.batch_size)
        pictures: list[UInt8Array] = []

        def make(part: int) -> tuple[Tensor, UInt8Array | None]:
            first = part * config.batch_size
            count = min(config.batch_size, scorer.count - first)
            with kernels(config.deterministic, scorer.device):
                images = generator.sample(count, first=first, batch_size=config.batch_size, **sampler)
            features = torch.cat(list(scorer.features(images, self.scoring.batch_size)))
            return features, None if part else picture(images)

        def features() -> Iterator[Tensor]:
            for found, shown in processes.spread(-(-scorer.count // config.batch_size), make):
                pictures.extend([] if shown is None else [shown])
                yield from found.split(self.scoring.batch_size)
                advance(len(found))

        if not processes.is_main():
            deque(features(), maxlen=0)
            return None
        distance = scorer.distance(features())
        advance(config.num_images - scorer.count)
        step = int(file.stem)
        row = CurveRow(
            step=step,
            epoch=step * self.batch_size / scorer.num_train,
            value=distance,
            metric=scorer.metric,
            num_images=scorer.count,
        )
        return row, pictures[0]
