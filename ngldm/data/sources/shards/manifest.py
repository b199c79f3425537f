"""shards.json: which shards a data set consists of, for the stages that read them again. Their pixels are not kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from ngldm.data.dataset import MADE_BY, SHARDS
from ngldm.data.sources.pixels.square import Decoded
from ngldm.data.sources.shards.opening import Keyed, decoded, keyed, open_splits, settings_of
from ngldm.data.sources.shards.records import ShardFault, Shards, Tally
from ngldm.io.errors import InputError
from ngldm.io.files import entry, read_json, write_json


@dataclass(frozen=True)
class Shard:
    """A shard as the stage `download` found it.

    Attributes:
        number: in its split, from 0; the keys of its images depend on it.
        name: path or address.
        images: records in it.
        size: bytes that were read.
        sha256: of them.
    """

    number: int
    name: str
    images: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of shards.json.

    Attributes:
        config: name and options of the data set: how the shards are read again.
        test_up_to: images of the training shards whose keys are not above this are test images; -1 where the test
            images come from shards of their own.
        train, test: the shards of each split that could be read.
    """

    config: Mapping[str, object]
    test_up_to: float
    train: Sequence[Shard]
    test: Sequence[Shard]

    def open_training(self) -> Shards:
        """The training shards, to be read again.

        Raises:
            InputError: they are not there any more.
        """
        return open_splits(self.config)["train"]

    def training_images(
        self, shards: Shards, shard: Shard, pool: ThreadPoolExecutor, done: Callable[[int], None]
    ) -> Iterator[tuple[Keyed, Decoded]]:
        """The training images of one shard, without test images, each decoded, or with the reason why there is none.

        Args:
            shards: what `open_training` gave.
            done: called with the number of records of each chunk.

        Raises:
            InputError: the shard has changed since the stage `download`.
        """
        tally, seed = Tally(), entry(self.config, "seed", int)
        try:
            records = keyed(shards.records(shard.number, tally), seed, "train", shard.number)
            training = (one for one in records if one.key > self.test_up_to)
            yield from decoded(training, settings_of(self.config), pool, done)
        except ShardFault as fault:
            raise InputError(f"{shard.name}: {fault.detail}; {MADE_BY} has read it to its end; run it again") from fault
        if tally.sha256 != shard.sha256:
            raise InputError(f"{shard.name}: has changed since {MADE_BY} has read it; run that stage again")


def write_manifest(manifest: Manifest, folder: Path, tests: int) -> None:
    """Write shards.json.

    Args:
        tests: test images that are in the training shards; the file also has the number of the others.
    """
    images = sum(shard.images for shard in manifest.train) - tests
    write_json(folder / SHARDS, {"images": images, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a data set; None of a data set whose images are all kept as pixels.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / SHARDS
    if not path.is_file():
        return None
    content = read_json(path, "config", "test_up_to", "train", "test")
    try:
        train, test = ([Shard(**shard) for shard in entry(content, key, list, path)] for key in ("train", "test"))
    except TypeError as error:
        raise InputError(f"{path}: damaged ({error}); run {MADE_BY} again") from error
    return Manifest(entry(content, "config", dict, path), entry(content, "test_up_to", float, path), train, test)


def describe_shards(folder: Path) -> list[str]:
    """Lines for the user on a data set whose images are not all kept as pixels; none on another."""
    manifest = read_manifest(folder)
    if manifest is None:
        return []
    lines = []
    for split, shards in (("training", manifest.train), ("test", manifest.test)):
        images, size = sum(shard.images for shard in shards), sum(shard.size for shard in shards)
        if shards:
            lines.append(f"{split} shards: {len(shards)} with {images} images, {size / 2**20:.1f} MiB")
    if manifest.test_up_to >= 0:
        lines.append("test images: at random, of the training shards")
    return lines
