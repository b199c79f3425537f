"""Scores of a training's snapshots. Each score is kept on disk as soon as it is done."""

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from ngldm.data.curve import COLUMNS, CurveRow
from ngldm.io.device import be_deterministic
from ngldm.io.files import sha256_file
from ngldm.io.images import UInt8Array
from ngldm.io.items import picture
from ngldm.model import load_model
from ngldm.pipeline import workspace
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.pipeline.config.sections import CurveParams, EvaluateParams
from ngldm.pipeline.experiments.jobs import KeptRows
from ngldm.sampling.best import SamplerSettings, resolve_sampler
from ngldm.sampling.generator import load
from ngldm.scoring.scorer import Scorer


def score_snapshots(
    noise: str,
    files: list[Path],
    settings: tuple[CurveParams, EvaluateParams, SamplerOptions],
    batch_size: int,
    scorer: Scorer,
    on_picture: Callable[[int, UInt8Array], None],
    advance: Callable[[int], None],
) -> list[CurveRow]:
    """The score of each snapshot of one noise: read back if it was kept, else computed and kept.

    Args:
        noise: label of the noise.
        files: model files; the name of each is its step.
        settings: the sections `curve` and `evaluate` of params.yaml, and the sampler that `curve.sampler` names.
        batch_size: images per step of the training; with it steps are converted to epochs.
        scorer: made for curve.num_images images.
        on_picture: called with the step and a grid of images (H, W, C) of each snapshot that is computed.
        advance: called with the number of images that are done.
    """
    if not files:
        return []
    be_deterministic()
    config, scoring, options = settings
    diffusion = load_model(files[0]).diffusion
    sampler = resolve_sampler(options.settings(), diffusion.noise.name, diffusion.schedule.num_train_timesteps)
    decided_by = {
        "num_images": config.num_images,
        "batch_size": config.batch_size,
        "sampler": sampler,
        "train_batch_size": batch_size,
        "evaluate": scoring.model_dump(include={"extractor", "fid_protocol", "batch_size"}),
    }
    reference = [workspace.REFERENCE / name for name in ("statistics.npz", "features.npy", "reference.json")]
    behind = {**made_from(decided_by, reference, Path(__file__)), "device": scorer.device.type}
    rows: list[CurveRow] = []
    for file in files:
        inputs = {**behind["inputs"], "model": sha256_file(file)}
        kept: KeptRows[CurveRow] = KeptRows("curve", f"{noise}-{file.stem}", COLUMNS, {**behind, "inputs": inputs})
        found = kept.read()
        if found is None:
            row, picture = _score(file, (config, scoring, sampler), batch_size, scorer, advance)
            found = [row]
            kept.write(found)
            on_picture(row["step"], picture)
        else:
            advance(config.num_images)
        rows += found
    return rows


def _score(
    file: Path,
    settings: tuple[CurveParams, EvaluateParams, SamplerSettings],
    batch_size: int,
    scorer: Scorer,
    advance: Callable[[int], None],
) -> tuple[CurveRow, UInt8Array]:
    """One snapshot's row, and a picture of its first items."""
    config, scoring, sampler = settings
    generator = load(file, scorer.device)
    pictures: list[UInt8Array] = []

    def features() -> Iterator[Tensor]:
        for images in generator.batches(scorer.count, batch_size=config.batch_size, **sampler):
            if not pictures:
                pictures.append(picture(images))
            yield from scorer.features(images, scoring.batch_size)
            advance(len(images))

    distance = scorer.distance(features())
    advance(config.num_images - scorer.count)
    step = int(file.stem)
    row = CurveRow(
        step=step,
        epoch=step * batch_size / scorer.num_real,
        value=distance,
        metric=scorer.metric,
        num_images=scorer.count,
    )
    return row, pictures[0]
