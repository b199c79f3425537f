"""What holds for every text and number of params.yaml."""

import math

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.reading.values import require_possible


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "a: '' is empty; to leave it out write null"),
        (" \t", "is empty"),
        ("a\0b", "has a control character"),
        ("a\nb", "has a control character"),
        ("\ud800", "has a control character"),
        ("x" * 4097, "has more than 4096 characters"),
        (1e20, r"a: 1e\+20 is too large: numbers are at most 1.84467e\+19"),
        (-1e300, "is too large"),
        (10**400, "is too large"),
        ({"b": {"c": [1, ""]}}, r"a\.b\.c\[1\]: '' is empty"),
        ([{"b": 1e30}], r"a\[0\]\.b: 1e\+30 is too large"),
    ],
)
def test_what_no_key_can_mean_is_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_possible("a", value)


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**63), 2**64, 1e-300, math.inf, math.nan, "größe λ/b c.npy", [], {}, {"": 1}, object()]
)
def test_other_values_are_left_to_their_keys(value: object) -> None:
    require_possible("a", value)
