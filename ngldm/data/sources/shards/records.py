"""What a shard consists of, whatever its format: image files with a label, and the count of what was read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Record:
    """An image as it is stored.

    Attributes:
        name: for messages.
        content: the bytes of the image file.
        label: a class: its number from 0, or its name; 0 if there are no classes.
    """

    name: str
    content: bytes
    label: int | str


class Tally:
    """How much was read of a shard, and the hash of that. Two readings of an unchanged shard agree.

    Attributes:
        size: bytes.
    """

    def __init__(self) -> None:
        self.size, self._digest = 0, hashlib.sha256()

    def update(self, content: bytes) -> None:
        self.size += len(content)
        self._digest.update(content)

    @property
    def sha256(self) -> str:
        """In hex."""
        return self._digest.hexdigest()


class ShardFault(Exception):
    """A shard cannot be read to its end.

    Attributes:
        detail: what is wrong, in words, without the shard's name.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Shards(Protocol):
    """The shards of one split. Each is read without the others.

    Attributes:
        names: of the shards, for messages: paths or addresses.
    """

    @property
    def names(self) -> Sequence[str]: ...

    def records(self, number: int, tally: Tally) -> Iterator[Record]:
        """The images of shard `number`, in the shard's order; `tally` counts what is read.

        Raises:
            ShardFault: the shard is truncated or damaged; the records before the fault were given.
            InputError: the shard lacks an image or label column, or cannot be reached.
        """
        ...
