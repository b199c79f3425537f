"""Numbers as text: significant digits as the decimal module rounds them, and points below each other."""

import math
from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngldm.pipeline.report.tables.digits import Measured, aligned, digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (23.0945, "23.09"),
        (12.3, "12.30"),  # the zero at the end is known too
        (0.06919, "0.06919"),
        (1.0, "1.000"),
        (1234.5, "1234"),
        (12345.6, "12346"),  # not 1.235e+04
        (9999.9, "10000"),
        (-0.00244, "-0.002440"),
        (0.00001234, "1.234e-05"),
        (0.0, "0"),
        (7, "7"),
        (math.nan, "-"),
        (None, "-"),
        (math.inf, "inf"),
    ],
)
def test_digits_by_hand(value: float | None, text: str) -> None:
    assert digits(value) == text


@given(st.floats(1e-3, 999.0), st.integers(2, 5))
def test_so_many_digits_are_right(value: float, significant: int) -> None:
    rounded = Context(prec=significant).create_decimal(Decimal(value))
    text = digits(value, significant)
    if significant > 3 or value < 99:
        assert Decimal(text) == rounded
        assert len(text.replace(".", "").lstrip("0")) == significant


@given(st.lists(st.floats(-1e7, 1e7), min_size=1))
def test_points_stand_below_each_other(values: list[float]) -> None:
    texts = [digits(value) for value in values]
    found = aligned(texts)
    assert [part.text for part in found] == texts
    whole = [part.before + part.text + part.after for part in found]
    assert len({len(text) for text in whole}) == 1
    points = {text.index(".") for text in whole if "." in text}
    assert len(points) <= 1


def test_a_measured_figure_as_plain_text() -> None:
    assert str(Measured(23.0945, 0.1234)) == "23.09 ± 0.12"
    assert str(Measured(23.0945)) == "23.09"
