"""Layouts by names alone; tests/data/sources/test_real_folders.py has whole folders."""

from pathlib import Path

import pytest

from ngldm.data.sources.layout import FILE, arrange, common_folder, describe_layout, require_one_set, understood
from ngldm.data.sources.pixels.skips import Skip
from ngldm.io.errors import InputError
from ngldm.io.files import write_json


@pytest.mark.parametrize(
    ("names", "entered", "no_leaf"),
    [
        (["a/0.png", "b/0.png"], "", ""),
        (["0.png", "1.png"], "", ""),
        (["0.png", "a/0.png"], "", ""),
        (["a/0.png", "a/1.png"], "a/", ""),
        (["a/b/0.png", "a/c/1.png"], "a/", "a/"),
        (["a/b/c/0.png", "a/b/d/1.png", "a/b/2.png"], "a/b/", "a/"),
    ],
)
def test_the_folder_that_holds_everything(names, entered, no_leaf):
    assert common_folder(names) == entered
    assert common_folder(names, leaf=False) == no_leaf


def names_of(*folders: str, count: int = 3) -> list[str]:
    return sorted(f"{folder}/{i}.png" for folder in folders for i in range(count))


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("wrap", ["", "x/", "x/y/"])
def test_a_random_split_is_a_partition_that_follows_seed_and_names_alone(seed, wrap):
    names = names_of(f"{wrap}cat", f"{wrap}dog", count=20)
    layout = arrange(names, 8, seed)
    assert sorted(layout.names["train"] + layout.names["test"]) == names
    assert len(layout.names["test"]) == 8
    bare = arrange(names_of("cat", "dog", count=20), 8, seed)
    assert layout.names["test"] == [wrap + name for name in bare.names["test"]]
    assert bare.names["test"] != arrange(names_of("cat", "dog", count=20), 8, seed + 1).names["test"]


@pytest.mark.parametrize(
    "folders",
    [("cat", "dog"), ("bus", "car", "train"), ("trains", "tests"), ("training_photos", "valley"), ("train1", "test1")],
)
def test_folders_that_only_sound_like_splits_are_classes(folders):
    layout = arrange(names_of(*folders), 2, 0)
    assert layout.folders == {}
    assert set(layout.classes.values()) == set(folders)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("a", "b"), None),
        (("x/a", "x/b"), None),
        (("x",), None),
        (("train", "test"), "it has splits, and each is a separate set; give one of them: root/test, root/train"),
        (("x/Train/a", "x/val/a"), "give one of them: root/x/Train, root/x/val"),
        (("cat", "test"), "test/ without train/"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "the splits are inside the classes"),
        (("a", "."), "3 images are next to folders"),
    ],
)
def test_one_set_or_a_choice_of_folders(folders, words):
    names = [name.removeprefix("./") for name in names_of(*folders)]
    if words is None:
        require_one_set(names, Path("root"))
        return
    with pytest.raises(InputError) as caught:
        require_one_set(names, Path("root"))
    assert words in str(caught.value)


def test_many_classes_are_shown_in_part_and_left_out_files_by_class(tmp_path):
    kinds = [f"k{i:02}" for i in range(30)]
    names = names_of(*(f"{split}/{kind}" for split in ("train", "test") for kind in kinds))
    layout = arrange(names, None, 0)
    used = {split: [layout.classes[name] for name in layout.names[split]] for split in ("train", "test")}
    skips = [Skip("train/k03/x.heic", "format", ".heic"), Skip("test/k03/y.heic", "format", ".heic")]
    skips += [Skip("list.txt", "format", ".txt"), Skip("train/k04/0.png", "damaged", "cut")]
    write_json(tmp_path / FILE, understood(layout, used, skips, 5))
    told = describe_layout(tmp_path)
    assert told[0] == "splits: train is train/ (90), test is test/ (90)"
    assert told[1].startswith("classes (train + test): k00 3 + 3, k01 3 + 3, ")
    assert told[1].endswith(f"k19 3 + 3, and 10 more in {tmp_path / FILE}")
    assert told[2] == "files with more than one frame or page, only the first is used: 5"
    assert told[3] == f"left out, damaged: 1 (k04 1), listed in {tmp_path / 'skipped.csv'}"
    assert told[4] == f"left out, format: 3 (no class 1, k03 2), listed in {tmp_path / 'skipped.csv'}"
