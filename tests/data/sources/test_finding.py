"""Which files are images: links that lead in circles, names of tools, folders that cannot be read."""

import os
from pathlib import Path

import pytest

from ngldm.data.sources.finding import find_images, is_tool_name, top
from ngldm.data.sources.pixels.skips import Skip, printable
from ngldm.io.errors import InputError


def touch(root: Path, *names: str) -> Path:
    """Files by name alone: finding opens none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_every_entry_is_an_image_or_a_skip(tmp_path):
    touch(tmp_path, "a.PNG", "x/b.jpeg", "x/c.heic", "x/noext", "x/.hidden.png", "@eaDir/d.png", "x/Thumbs.db")
    (tmp_path / "empty").mkdir()
    found = find_images(tmp_path)
    assert found.names == ["a.PNG", "x/b.jpeg"]
    assert {(skip.name, skip.reason) for skip in found.skips} == {
        ("x/c.heic", "format"),
        ("x/noext", "format"),
        ("x/.hidden.png", "hidden"),
        ("@eaDir/", "hidden"),
        ("x/Thumbs.db", "hidden"),
        ("empty/", "empty"),
    }


def test_links_in_circles_end(tmp_path):
    """Eight folders, each with a link to every other: read in moments, each image once."""
    names = [f"f{i}" for i in range(8)]
    touch(tmp_path, *(f"{name}/{name}.png" for name in names))
    for name in names:
        for other in names:
            (tmp_path / name / f"to_{other}").symlink_to(Path("..", other))
    found = find_images(tmp_path)
    assert found.names == [f"{name}/{name}.png" for name in names]
    assert {skip.reason for skip in found.skips} == {"link", "duplicate"}


@pytest.mark.parametrize(
    ("link", "target", "kept"),
    [
        ("cat", "store/one", ["cat/0.png"]),  # less deep
        ("latest", "cat", ["cat/0.png"]),  # the real one
        ("train/cat", "store/one", ["train/cat/0.png"]),  # in a split
        ("b.png", "a.png", ["a.png"]),
    ],
)
def test_of_two_names_of_a_file_the_one_that_says_more_is_kept(link, target, kept, tmp_path):
    touch(tmp_path, target if target.endswith(".png") else f"{target}/0.png")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / target)
    found = find_images(tmp_path)
    assert found.names == kept
    assert [skip.reason for skip in found.skips] == ["duplicate"]


def test_a_folder_that_cannot_be_read_is_damaged(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "locked/b.png")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_images(tmp_path).skips == [Skip("locked/", "damaged", "cannot be read (Permission denied)")]


def test_what_lies_there_instead_of_images_is_counted(tmp_path):
    touch(tmp_path, "a.heic", "b.HEIC", "c.txt")
    with pytest.raises(InputError, match=r"it has 2 \.heic, 1 \.txt"):
        find_images(tmp_path)


def test_names_are_printable_and_known():
    assert printable("caf\udce9 é.png") == "caf\\xe9 é.png"
    assert [top(name) for name in ("a/b/c.png", "a.png", "a/b.png")] == ["a", "", "a"]
    assert all(map(is_tool_name, (".git", "._0.png", "__MACOSX", "@eaDir", "THUMBS.DB", "Desktop.ini", "Icon\r")))
    assert not any(map(is_tool_name, ("_cat", "cat.", "thumbs", "MACOSX", "0.png")))
