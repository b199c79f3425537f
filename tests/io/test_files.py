"""Atomic writes: the new content whole, or the old content; and errors that name the file."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngldm.io.errors import InputError
from ngldm.io.files import (
    atomic_directory,
    atomic_path,
    differences,
    entry,
    fingerprint,
    newest_first,
    read_csv,
    read_json,
    require,
    sha256_file,
    write_csv,
    write_json,
)

INTERRUPTIONS = [ValueError, KeyboardInterrupt]


def everything(folder: Path) -> list[str]:
    """Every path below `folder`, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def interrupted_file(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def interrupted_directory(path: Path, error: type[BaseException]) -> None:
    with atomic_directory(path) as temporary:
        (temporary / "new").write_text("half")
        raise error


def test_atomic_path_is_a_hidden_neighbour_with_the_same_suffix(tmp_path):
    """The same folder, so that the rename is atomic; the same suffix, since writers look at it."""
    path = tmp_path / "image.png"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        assert temporary != path
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert everything(tmp_path) == ["image.png"]


def test_atomic_path_replaces_an_existing_file_only_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert everything(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_atomic_path_keeps_the_old_content_when_the_block_raises(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        interrupted_file(path, error)
    assert path.read_text() == "old"
    assert everything(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_atomic_path_leaves_nothing_where_there_was_nothing(tmp_path, error):
    with pytest.raises(error):
        interrupted_file(tmp_path / "a.txt", error)
    assert everything(tmp_path) == []


def test_atomic_path_makes_the_parents(tmp_path):
    with atomic_path(tmp_path / "a" / "b" / "c.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


def test_atomic_directory_replaces_the_old_one_whole(tmp_path):
    """No file of the old folder survives in the new one."""
    path = tmp_path / "cache"
    path.mkdir()
    (path / "old").write_text("old")
    with atomic_directory(path) as temporary:
        (temporary / "new").write_text("new")
        assert everything(path) == ["old"]
    assert everything(tmp_path) == ["cache", "cache/new"]


@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_atomic_directory_keeps_the_old_one_when_the_block_raises(tmp_path, error):
    path = tmp_path / "cache"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(error):
        interrupted_directory(path, error)
    assert everything(tmp_path) == ["cache", "cache/old"]
    assert (path / "old").read_text() == "old"


@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_atomic_directory_leaves_nothing_where_there_was_nothing(tmp_path, error):
    with pytest.raises(error):
        interrupted_directory(tmp_path / "cache", error)
    assert everything(tmp_path) == []


def test_atomic_directory_makes_the_parents(tmp_path):
    with atomic_directory(tmp_path / "a" / "b") as temporary:
        (temporary / "new").write_text("new")
    assert everything(tmp_path) == ["a", "a/b", "a/b/new"]


def test_atomic_directory_starts_empty_after_a_killed_run(tmp_path):
    """A process of the same id that was killed may have left its temporary folder: nothing of it is taken over."""
    with atomic_directory(tmp_path / "cache") as first:
        name = first.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "stale").write_text("stale")
    with atomic_directory(tmp_path / "cache") as temporary:
        (temporary / "new").write_text("new")
    assert everything(tmp_path) == ["cache", "cache/new"]


@pytest.mark.parametrize("value", [{"b": 1, "a": [1.5, None, "ä"]}, [1, 2], "text", 0.1])
def test_any_json_is_written(tmp_path, value):
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == value
    assert everything(tmp_path) == ["a.json"]


def test_json_objects_are_read_back(tmp_path):
    value = {"b": 1, "a": [1.5, None, "ä"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        ("a", str, "a"),
        ([1], list, [1]),
        ({}, dict, {}),
        (True, bool, True),
    ],
)
def test_an_entry_has_the_type_asked_for(value, kind, expected):
    found = entry({"key": value}, "key", kind)
    assert found == expected
    assert type(found) is kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [("3", int), (True, int), (True, float), (0.5, int), (3, str), (None, dict), ([], dict), (1, bool)],
)
def test_an_entry_of_another_type_is_named(value, kind):
    with pytest.raises(InputError, match=rf"^key: {re.escape(repr(value))} is not a value of type {kind.__name__}$"):
        entry({"key": value}, "key", kind)


def test_a_missing_entry_is_named():
    with pytest.raises(InputError, match=r"^key: None is not a value of type int$"):
        entry({"other": 1}, "key", int)


def test_write_json_keeps_the_order_of_the_keys_indents_and_ends_the_line(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}\n'


def test_write_json_keeps_the_old_file_when_the_content_is_not_json(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert everything(tmp_path) == ["a.json"]


def test_read_json_names_a_missing_file(tmp_path):
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"a: 1", b"\xff\xfe\x00", b"\x93NUMPY"])
def test_read_json_names_a_file_that_is_not_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)


@pytest.mark.parametrize("content", ["{}", '{"a": 1}', "[]", '["a", "b"]', '"ab"', "3", "null"])
def test_read_json_names_a_file_without_the_keys_and_the_keys(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "a.json", "a", "b")
    assert str(caught.value) == f"{tmp_path / 'a.json'}: must hold a JSON object with the keys a, b"


def test_read_json_gives_more_than_the_keys_asked_for(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1, "b": 2, "c": 3})
    assert read_json(tmp_path / "a.json", "a", "b") == {"a": 1, "b": 2, "c": 3}


def test_require_returns_what_exists(tmp_path):
    (tmp_path / "a").write_text("")
    assert require(tmp_path / "a") == tmp_path / "a"
    assert require(tmp_path) == tmp_path


def test_require_names_the_path_and_what_makes_it(tmp_path):
    with pytest.raises(InputError) as caught:
        require(tmp_path / "a.npy", "the stage `sample`")
    assert str(caught.value) == f"{tmp_path / 'a.npy'}: no such file or folder; it comes from the stage `sample`"


def test_require_says_by_default_how_to_make_it(tmp_path):
    with pytest.raises(InputError, match="dvc repro"):
        require(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_sha256_is_of_all_bytes(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


CONTENT = {"settings": {"lr": 0.1, "widths": [8, 16]}, "seed": 0, "name": "laplace", "none": None}


def reversed_keys(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {key: reversed_keys(content[key]) for key in reversed(content)}


def test_fingerprint_does_not_depend_on_key_order() -> None:
    shuffled = reversed_keys(CONTENT)
    assert list(shuffled) != list(CONTENT)
    assert fingerprint(shuffled) == fingerprint(CONTENT)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"lr": 0.1 + 1e-16 * 2, "widths": [8, 16]}},
        {"settings": {"lr": 0.1, "widths": [16, 8]}},
        {"settings": {"lr": 0.1, "widths": [8, 16], "new": None}},
        {"seed": 1},
        {"seed": "0"},
        {"name": "gaussian"},
        {"none": False},
    ],
)
def test_fingerprint_changes_with_any_value(change: dict[str, Any]) -> None:
    assert fingerprint({**CONTENT, **change}) != fingerprint(CONTENT)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_fingerprints_are_equal_exactly_for_equal_json(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) is same
    assert fingerprint(json.loads(json.dumps(one))) == fingerprint(one)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"a": 1, "b": {"c": [1, 2]}}, {"b": {"c": (1, 2)}, "a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {"a": "1"}, ["a"]),
        ({"a": {"b": 1, "c": {"d": 1}}}, {"a": {"b": 2, "c": {"d": 2}}}, ["a.b", "a.c.d"]),
        ({"a": {"b": 1}, "gone": 0}, {"a": {"new": 1}}, ["a.b", "a.new", "gone"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
    ],
)
def test_differences_name_the_keys(old: dict, new: dict, expected: list[str]) -> None:
    assert differences(old, new) == expected


def test_newest_first_leaves_out_what_is_gone(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("old", "new", "gone", "middle")]
    for path, time in zip(paths, (1, 9, 7, 5), strict=True):
        path.touch()
        os.utime(path, (time, time))
    (tmp_path / "gone").unlink()
    assert [path.name for path in newest_first(paths)] == ["new", "middle", "old"]


def test_a_table_comes_back_as_text_by_column(tmp_path: Path) -> None:
    rows = [{"name": 'a, "b"\nc', "value": 0.1 + 0.2, "left out": 1}, {"name": "", "value": None}]
    write_csv(tmp_path / "a.csv", ("name", "value"), rows)
    expected = [{"name": 'a, "b"\nc', "value": "0.30000000000000004"}, {"name": "", "value": ""}]
    assert read_csv(tmp_path / "a.csv", "nobody", dict) == expected


def test_a_missing_table_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file .* the stage `x`"):
        read_csv(tmp_path / "none.csv", "the stage `x`", dict)


def test_a_table_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, object]]:
        yield {"a": 2}
        raise ValueError("broken")

    write_csv(tmp_path / "a.csv", ("a",), [{"a": 1}])
    with pytest.raises(ValueError, match="broken"):
        write_csv(tmp_path / "a.csv", ("a",), rows())
    assert read_csv(tmp_path / "a.csv", "nobody", dict) == [{"a": "1"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *[("", "has no column 'a'"), ("{}", "has no column 'a'"), ("a\n1\n", "has no column 'b'")],
        *[("a,b\n1,2\nx,2\n", "line 3 is damaged"), ("a,b\n1\n", "line 2 is damaged"), ("a,b\n1,2\n1,", "line 3 is")],
    ],
)
def test_a_damaged_table_is_an_input_error_that_names_the_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=f"a.csv: {words}.*it comes from the stage `x`"):
        read_csv(tmp_path / "a.csv", "the stage `x`", lambda row: (int(row["a"]), float(row["b"])), ("a", "b"))


@pytest.mark.parametrize("content", [b"a,b\n\xff\xfe,1\n", b"a,b\n" + b"x" * 200_000 + b",1\n"])
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.csv: not a table"):
        read_csv(tmp_path / "t.csv", "us", dict, ("a", "b"))


@pytest.mark.parametrize("read", [lambda path: read_csv(path, "us", dict), read_json])
def test_a_folder_in_the_place_of_a_table_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        read(tmp_path / "folder")


def test_an_entry_of_another_type_names_its_file() -> None:
    with pytest.raises(InputError, match=r"^some/file\.json: n: 'x' is not a value of type int"):
        entry({"n": "x"}, "n", int, Path("some/file.json"))
