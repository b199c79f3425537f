"""The data sets `huggingface` and `webdataset`: each shard is read once, and a sample of its images kept as pixels."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ngldm.data.dataset import MAX_CLASSES, Progress, Start
from ngldm.data.sources.pixels.skips import Skip, refusal, write_skips
from ngldm.data.sources.sample import Kept, PixelSample
from ngldm.data.sources.shards.manifest import Manifest, Shard, write_manifest
from ngldm.data.sources.shards.opening import Keyed, decoded, keyed, open_splits, settings_of
from ngldm.data.sources.shards.records import ShardFault, Shards, Tally
from ngldm.io.errors import InputError
from ngldm.io.files import entry


def huggingface(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """A data set of the Hugging Face hub, parquet files, or a folder that `datasets` reads. See `streamed`."""
    return streamed(config, folder, start)


def webdataset(config: Mapping[str, object], folder: Path, raw: Path, start: Start) -> str:
    """Tar files of WebDataset, local or on a web server. See `streamed`."""
    return streamed(config, folder, start)


def streamed(config: Mapping[str, object], folder: Path, start: Start) -> str:
    """Read each shard once, and write the data set's folder; returns its name.

    With `keep_pixels` all images are written into `folder` as arrays. Without, only the test images and a random sample
    of `keep_images` training images; shards.json then names the shards, for the stage `latents`, which reads them
    again. skipped.csv names what was left out.

    Args:
        config: source, seed, and the options of the data set (`ngldm.data.sources.names`).
        start: called with the number of shards, gives the function that is told how many are done.

    Raises:
        InputError: no such data set, shard, split or column; fewer than two images in a split; with on_error "fail" a
            shard that is truncated, or an image that cannot be used.
    """
    splits, settings = open_splits(config), settings_of(config)
    kept, tests = _number(config, "keep_images"), _number(config, "test_size")
    total = None if kept is None else kept + (0 if "test" in splits else tests or 0)
    shape = (settings.size, settings.size, settings.channels)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        scan = _Scan(config, pool, start(sum(len(shards.names) for shards in splits.values())))
        samples, found = {}, {}
        for split, shards in splits.items():
            most = total if split == "train" else tests
            samples[split] = stack.enter_context(PixelSample(folder / f".{split}.pixels", shape, most))
            found[split] = scan.read(shards, split, samples[split])
        chosen = {split: sample.by_key() for split, sample in samples.items()}
        if "test" not in splits:
            samples["test"] = samples["train"]
            chosen = {"test": chosen["train"][:tests], "train": chosen["train"][tests:]}
        _write(folder, samples, chosen)
    write_skips(folder / "skipped.csv", scan.skips)
    if not config.get("keep_pixels"):
        own = "test" in splits
        options = {key: value for key, value in config.items() if value is not None}
        manifest = Manifest(options, -1.0 if own else chosen["test"][-1].key, found["train"], found.get("test", []))
        write_manifest(manifest, folder, 0 if own else len(chosen["test"]))
    return str(config.get("hub") or Path(entry(config, "source", str)).stem)


def _number(config: Mapping[str, object], key: str) -> int | None:
    return None if config.get(key) is None else entry(config, key, int)


@dataclass
class _Scan:
    """One pass over the shards.

    Attributes:
        config: options of the data set.
        pool: threads that decode images.
        progress: told of each shard.
        skips: what was left out.
    """

    config: Mapping[str, object]
    pool: ThreadPoolExecutor
    progress: Progress
    skips: list[Skip] = field(default_factory=list)

    def read(self, shards: Shards, split: str, sample: PixelSample) -> list[Shard]:
        """Offer each image of a split to the sample; returns the shards that could be read to their end.

        Of a shard that could not, no image is used.
        """
        found = []
        for number, name in enumerate(shards.names):
            tally, seen = Tally(), _Count()
            try:
                records = keyed(shards.records(number, tally), entry(self.config, "seed", int), split, number)
                wanted = (one for one in seen.of(records) if sample.wants(one.key))
                self._offer(wanted, number, sample)
            except ShardFault as fault:
                sample.forget()
                self._fault(Skip(name, "damaged", fault.detail))
            else:
                sample.commit()
                found.append(Shard(number, name, seen.count, tally.size, tally.sha256))
            self.progress(1)
        return found

    def _offer(self, records: Iterator[Keyed], shard: int, sample: PixelSample) -> None:
        for one, image in decoded(records, settings_of(self.config), self.pool, lambda count: None):
            if isinstance(image.image, Skip):
                self._fault(image.image)
            else:
                sample.add(one.key, (shard, one.number), image.image, one.record.label)

    def _fault(self, skip: Skip) -> None:
        if entry(self.config, "on_error", str) == "fail":
            raise refusal([skip])
        self.skips.append(skip)


@dataclass
class _Count:
    """How many records have passed."""

    count: int = 0

    def of(self, records: Iterator[Keyed]) -> Iterator[Keyed]:
        for record in records:
            self.count += 1
            yield record


def _write(folder: Path, samples: Mapping[str, PixelSample], chosen: Mapping[str, Sequence[Kept]]) -> None:
    """Write the arrays of both splits.

    Raises:
        InputError: a split has fewer than two images.
    """
    for split, images in chosen.items():
        if len(images) < 2:
            raise InputError(
                f"dataset: {len(images)} usable images for the {split} split, at least 2 are needed; skipped.csv names "
                "what was left out, if dataset.on_error is skip; dataset.test_size is the number of test images"
            )
    number = _numbers([one.label for images in chosen.values() for one in images])
    for split, images in chosen.items():
        labels = samples[split].write(images, folder / f"{split}.npy")
        np.save(folder / f"{split}_labels.npy", np.array([number[label] for label in labels], dtype=np.int64))


def _numbers(labels: Sequence[int | str]) -> dict[int | str, int]:
    """The number of each label: numbers stay as they are, names are numbered in their order.

    Raises:
        InputError: a number that no class has.
    """
    if all(isinstance(label, int) for label in labels):
        if odd := [label for label in labels if not 0 <= int(label) < MAX_CLASSES]:
            raise InputError(f"dataset.label: {odd[0]} is no class from 0 to {MAX_CLASSES - 1}; without classes: null")
        return {label: int(label) for label in labels}
    names = sorted({str(label) for label in labels})
    return {label: names.index(str(label)) for label in set(labels)}
