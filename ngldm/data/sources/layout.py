"""The meaning of a source's folders: recognise splits and classes, refuse unclear layouts, and describe the result."""

import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from ngldm.data.dataset import LAYOUT, SPLITS
from ngldm.data.sources.finding import SPLIT_ROLES, top
from ngldm.data.sources.pixels.skips import Skip, printable
from ngldm.io.errors import InputError
from ngldm.io.files import read_json

FILE = LAYOUT
SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Layout:
    """Attributes:
    entered: the folders below the source that contain all files, such as "photos/images/"; "" if there are none.
    folders: the folder of each split; empty if the split is random.
    names: the image files of each split, as paths relative to the source.
    classes: the class of each of these files; "" if there are no classes.
    skips: the files that are in no split or class, and the files of a third split.
    """

    entered: str
    folders: Mapping[str, str]
    names: Mapping[str, list[str]]
    classes: Mapping[str, str]
    skips: list[Skip]


def arrange(names: Sequence[str], test_size: int | None, seed: int) -> Layout:
    """Recognise a layout.

    train/ next to test/ (or val/) are splits. The folders in them are classes. If there are no splits, the folders at
    the top are classes.

    Args:
        names: image files, as relative paths, sorted.
        test_size: the number of images in the test split, if there are no folders for splits.
        seed: for the random split.

    Raises:
        InputError: the layout has more than one meaning, or test_size is missing or out of range.
    """
    entered = common_folder(names)
    inner = {name: name.removeprefix(entered) for name in names}
    try:
        folders, skips = _split_folders(entered, inner)
    except InputError as error:
        raise InputError(f"dataset.source: {error}") from None
    if folders:
        of_split = {split: [name for name in names if top(inner[name]) == folder] for split, folder in folders.items()}
        below = {name: inner[name].partition("/")[2] for split in SPLITS for name in of_split[split]}
        inside = common_folder(list(below.values()), leaf=False)
        inner = {name: path.removeprefix(inside) for name, path in below.items()}
    classes = {name: unicodedata.normalize("NFC", top(path)) for name, path in inner.items()}
    strays = _strays(classes)
    usable = [name for name in inner if name not in strays]
    if folders:
        split = {key: [name for name in of_split[key] if name not in strays] for key in SPLITS}
    else:
        split = _random_split(usable, test_size, seed)
    skips += [Skip(name, "stray", detail) for name, detail in strays.items()]
    return Layout(entered, folders, split, {name: classes[name] for name in usable}, skips)


def common_folder(names: Sequence[str], leaf: bool = True) -> str:
    """The nested folders that contain all files, as "a/b/"; "" if there are none.

    Args:
        leaf: whether to enter a folder that directly contains files.
    """
    entered = ""
    while True:
        tops = {top(name.removeprefix(entered)) for name in names}
        (only,) = tops if len(tops) == 1 else ("",)
        if not only:
            return entered
        deeper = f"{entered}{only}/"
        if not leaf and not all(top(name.removeprefix(deeper)) for name in names):
            return entered
        entered = deeper


def _split_folders(entered: str, inner: Mapping[str, str]) -> tuple[dict[str, str], list[Skip]]:
    """The folder of each split, and the files outside these folders. If there are no splits, there are no folders."""
    roles: dict[str, list[str]] = defaultdict(list)
    for folder in sorted({top(path) for path in inner.values()} - {""}):
        roles[SPLIT_ROLES.get(folder.lower(), "")].append(folder)
    tests = roles["test"] or roles["validation"]
    if not roles["train"] or not tests:
        _refuse_half_splits(entered, roles, inner)
        return {}, []
    for same in (roles["train"], tests):
        if len(same) > 1:
            raise InputError(f"{_list(entered, same)} are folders of one split; rename one of them")
    folders = {"train": roles["train"][0], "test": tests[0]}
    third = set(roles["validation"]) - set(tests)
    skips = []
    for name, path in inner.items():
        if top(path) in third:
            skips.append(Skip(name, "validation", f"in {top(path)}/; the test split is {folders['test']}/"))
        elif top(path) not in folders.values():
            skips.append(Skip(name, "stray", f"not in {folders['train']}/ or {folders['test']}/"))
    return folders, skips


def _refuse_half_splits(entered: str, roles: Mapping[str, list[str]], inner: Mapping[str, str]) -> None:
    """Refuse one split without the other, and splits inside the classes.

    Raises:
        InputError: the layout has more than one meaning.
    """
    halves, others = roles["test"] + roles["validation"], roles[""]
    if halves and (others or len(halves) > 1):
        raise InputError(
            f"{_list(entered, halves)} without train/. If you want splits, name one folder train/; "
            f"if you want classes, rename {halves[0]}/"
        )
    train = roles["train"]
    if train and others and all(top(path.partition("/")[2]) for path in inner.values() if top(path) in train):
        raise InputError(
            f"{_list(entered, train)} with folders in it, without test/ or val/, next to "
            f"{_list(entered, others)}. If you want splits, name one folder test/; if you want to use one folder only, "
            "give the path of this folder"
        )
    inside: dict[str, set[str]] = defaultdict(set)
    for path in inner.values():
        inside[top(path)].add(SPLIT_ROLES.get(top(path.partition("/")[2]).lower(), ""))
    both = [folder for folder, found in inside.items() if folder and "train" in found and len(found - {""}) > 1]
    if both:
        raise InputError(
            f"the splits are inside the classes ({_list(entered, both)}); the classes must be inside the splits: "
            "train/<class>/ and test/<class>/"
        )


def _list(entered: str, folders: Sequence[str]) -> str:
    return ", ".join(printable(f"{entered}{folder}/") for folder in folders[:SHOWN_CLASSES])


def require_one_set(names: Sequence[str], folder: Path) -> None:
    """Check that a folder is one set of images: no splits, and no images next to folders with images.

    Args:
        names: image files, as paths relative to `folder`.

    Raises:
        InputError: the folder is not one set. The message names the folders to choose from.
    """
    entered = common_folder(names)
    inner = {name: name.removeprefix(entered) for name in names}
    tops = sorted({top(path) for path in inner.values()} - {""})
    splits, _ = _split_folders(entered, inner)
    if splits:
        choice = ", ".join(printable(str(folder / entered / name)) for name in tops)
        raise InputError(f"{folder}: it has splits, and each is a separate set; give one of them: {choice}")
    loose = sum(not top(path) for path in inner.values())
    if loose and tops:
        raise InputError(
            f"{folder}: {loose} images are next to folders with images ({_list(entered, tops)}); "
            "it is not clear which to use: move the images or the folders away"
        )


def _strays(classes: Mapping[str, str]) -> dict[str, str]:
    """The files without a class, if others have one."""
    found = sorted(set(classes.values()) - {""})
    if not found:
        return {}
    more = ", ..." if len(found) > 3 else ""
    detail = f"in no class folder, but other images are: {printable(', '.join(found[:3]))}{more}"
    return {name: detail for name, kind in classes.items() if not kind}


def _random_split(names: Sequence[str], test_size: int | None, seed: int) -> dict[str, list[str]]:
    if test_size is None or not 2 <= test_size <= len(names) - 2:
        raise InputError(
            f"dataset.test_size: {test_size}; the folder has no train/ and test/, so give the number of test images: "
            f"of {len(names)} images, at least 2 must be for testing and at least 2 for training"
        )
    test = set(random.Random(seed).sample(list(names), test_size))
    return {"train": [name for name in names if name not in test], "test": sorted(test)}


class Understood(TypedDict):
    """The content of layout.json.

    Attributes:
        entered, folders: as in Layout.
        classes: for each class its name and the number of its images in each split.
        left_out: reason -> class ("" for none) -> number of files.
        first_frames: the number of files with more than one frame. Only the first frame is used.
    """

    entered: str
    folders: dict[str, str]
    classes: list[dict[str, str | int]]
    left_out: dict[str, dict[str, int]]
    first_frames: int


def understood(
    layout: Layout, used: Mapping[str, Sequence[str]], skips: Sequence[Skip], first_frames: int
) -> Understood:
    """The content of layout.json.

    Args:
        layout: the recognised layout.
        used: the class of each image of each split.
        skips: all files and folders that are left out.
        first_frames: the number of files with more than one frame.
    """
    counts = {split: Counter(used[split]) for split in SPLITS}
    names = sorted({*used["train"], *used["test"]})
    left_out: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for skip in skips:
        left_out[skip.reason][printable(_class_of(skip, layout, names))] += 1
    return {
        "entered": printable(layout.entered),
        "folders": {split: printable(folder) for split, folder in layout.folders.items()},
        "classes": [{"name": printable(name), **{split: counts[split][name] for split in SPLITS}} for name in names],
        "left_out": {reason: dict(sorted(left_out[reason].items())) for reason in sorted(left_out)},
        "first_frames": first_frames,
    }


def _class_of(skip: Skip, layout: Layout, names: Sequence[str]) -> str:
    if skip.name in layout.classes:
        return layout.classes[skip.name]
    path = skip.name.removeprefix(layout.entered)
    if top(path) in layout.folders.values():
        path = path.partition("/")[2]
    kind = unicodedata.normalize("NFC", top(path))
    return kind if kind in names else ""


def describe_layout(folder: Path) -> list[str]:
    """Lines that describe the layout of a data set's source. There are none if the data set does not come from files.

    Args:
        folder: the folder of the data set.
    """
    if not (folder / FILE).is_file():
        return []
    known = cast(Understood, read_json(folder / FILE, *Understood.__annotations__))
    totals = {split: sum(int(kind[split]) for kind in known["classes"]) for split in SPLITS}
    lines = [f"all images are in {known['entered']}"] if known["entered"] else []
    if known["folders"]:
        lines.append("splits: " + ", ".join(f"{s} is {f}/ ({totals[s]})" for s, f in known["folders"].items()))
    else:
        lines.append(f"splits: at random, train {totals['train']}, test {totals['test']}")
    shown = [f"{kind['name']} {kind['train']} + {kind['test']}" for kind in known["classes"][:SHOWN_CLASSES]]
    more = f", and {len(known['classes']) - len(shown)} more in {folder / FILE}"
    if [kind["name"] for kind in known["classes"]] == [""]:
        lines.append("classes: none; all images are in one folder")
    else:
        lines.append(f"classes (train + test): {', '.join(shown)}{more if len(known['classes']) > len(shown) else ''}")
    if known["first_frames"]:
        lines.append(f"files with more than one frame or page, only the first is used: {known['first_frames']}")
    for reason, counts in known["left_out"].items():
        of_class = ", ".join(f"{kind or 'no class'} {count}" for kind, count in counts.items())
        where = f" ({of_class})" if list(counts) != [""] else ""
        lines.append(f"left out, {reason}: {sum(counts.values())}{where}, listed in {folder / 'skipped.csv'}")
    return lines
