"""YAML that a person wrote. tests/faults/test_values.py has the texts that are refused."""

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.reading.text import read_yaml


def test_numbers_are_read_as_dvc_writes_them() -> None:
    """YAML 1.2: 1e-05 is a number, and `no` a word."""
    assert read_yaml("a: 1e-05\nb: no", "x") == {"a": 1e-5, "b": "no"}


def test_the_source_is_named() -> None:
    with pytest.raises(InputError, match=r"^here: not valid YAML"):
        read_yaml("a: [", "here")
