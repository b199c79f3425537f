"""Find the image files of a folder. Each file that is left out is recorded with a reason."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ngldm.data.sources.pixels.reader import SUFFIXES
from ngldm.data.sources.pixels.skips import Skip, printable
from ngldm.io.errors import InputError

# Files and folders that tools and systems make, in lower case. Names that begin with a dot count too.
TOOL_NAMES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "@recycle", "#recycle"),
        *("$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    )
)
# Folder names of splits, in lower case, and the split of each.
SPLIT_ROLES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)


@dataclass(frozen=True)
class Found:
    """Attributes:
    names: the image files, as relative paths, sorted.
    skips: all other files and folders.
    """

    names: list[str]
    skips: list[Skip]


def is_tool_name(name: str) -> bool:
    """Whether a file or folder of this name belongs to a tool: hidden, or one of TOOL_NAMES."""
    return name.startswith(".") or name.lower() in TOOL_NAMES


def find_images(root: Path, links_out: bool = False) -> Found:
    """Find all image files below a folder. Links to folders are followed.

    Args:
        links_out: whether to follow links to places outside `root`. If not, each such link is a Skip.

    Raises:
        InputError: there is no image. The message lists the other files.
    """
    walk = _Walk(root.resolve(), links_out)
    entries = list(walk.below(root, "", (root.resolve(),)))
    found = Found(
        sorted(entry for entry in entries if isinstance(entry, str)),
        [entry for entry in entries if isinstance(entry, Skip)],
    )
    if walk.links:
        found = _each_file_once(root, found)
    if not found.names:
        raise InputError(f"no image ({', '.join(SUFFIXES)}) in {root}{_instead(found.skips)}")
    return found


@dataclass
class _Walk:
    root: Path
    links_out: bool
    links: dict[Path, str] = field(default_factory=dict)  # target of a link -> name of the first link to it

    def below(self, folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[str | Skip]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield Skip(prefix, "damaged", f"cannot be read ({error.strerror or error})")
            return
        if not entries:
            yield Skip(prefix, "empty", "an empty folder")
        for entry in entries:
            name, path = prefix + entry.name, folder / entry.name
            if is_tool_name(entry.name):
                yield Skip(name + "/" * entry.is_dir(follow_symlinks=False), "hidden", "belongs to a tool or system")
                continue
            refused = self._link(path, name, above) if entry.is_symlink() else None
            if refused is not None:
                yield refused
            elif entry.is_dir():
                yield from self.below(path, f"{name}/", (*above, path.resolve()))
            elif path.suffix.lower() in SUFFIXES and entry.is_file():
                yield name
            else:
                yield Skip(name, "format", path.suffix.lower() or "no suffix")

    def _link(self, path: Path, name: str, above: tuple[Path, ...]) -> Skip | None:
        target = path.resolve()
        leads = f"leads to {printable(os.fspath(path.readlink()))}"
        if not target.is_dir() and path.suffix.lower() not in SUFFIXES:
            return Skip(name, "format", path.suffix.lower() or "no suffix")
        if not target.exists() or not (self.links_out or target.is_relative_to(self.root)):
            return Skip(name, "link", leads)
        if target in above:
            return Skip(name, "link", f"{leads}, a folder that contains the link")
        if target in self.links:
            return Skip(name, "duplicate", f"the same as {printable(self.links[target])}")
        self.links[target] = name
        return None


def _each_file_once(root: Path, found: Found) -> Found:
    """If several names lead to one file, keep one: first a name in a split, then the shortest path, then the real name.

    The link `cat -> store/1` gives a class cat, and the files are not counted again in store. The link
    `latest -> cat` adds no files.
    """
    kept: dict[Path, str] = {}
    skips = list(found.skips)
    real = {name: (root / name).resolve() for name in found.names}
    home = root.resolve()

    def rank(name: str) -> tuple[bool, int, bool, str]:
        in_split = any(part.lower() in SPLIT_ROLES for part in name.split("/")[:-1])
        return not in_split, name.count("/"), real[name] != home / name, name

    for name in sorted(found.names, key=rank):
        first = kept.setdefault(real[name], name)
        if first != name:
            skips.append(Skip(name, "duplicate", f"the same file as {printable(first)}"))
    return Found(sorted(kept.values()), skips)


def _instead(skips: Sequence[Skip]) -> str:
    links = [skip for skip in skips if skip.reason == "link"]
    if links:
        return (
            f": it has {len(links)} links that lead out of it, to a missing file or to a folder that contains them, "
            f"such as {printable(links[0].name)} ({links[0].detail}); copy the files with cp -rL"
        )
    suffixes = Counter(skip.detail for skip in skips if skip.reason == "format")
    others = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
    return f": it has {others}" if others else ""


def top(name: str) -> str:
    """The first folder of a relative path, or "" if it has no folder."""
    head, slash, _ = name.partition("/")
    return head if slash else ""
