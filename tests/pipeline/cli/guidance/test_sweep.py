"""`ngldm guidance`: what it refuses before any work. tests/stages/test_classes.py runs it."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give exactly one of them"),
        (("--noise", "a", "--model", "b"), "give exactly one of them"),
        (("--noise", "a", "--steps", 5), "give both or neither"),
    ],
)
def test_arguments_that_exclude_each_other(ngldm, tmp_path, arguments, words):
    code, _, err = ngldm("guidance", "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()
