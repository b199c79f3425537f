"""Checks of parameters: what is taken, and what the error says."""

import math

import pytest

from ngldm.io.errors import InputError
from ngldm.noise.parameters import number, whole


@pytest.mark.parametrize("value", [0.5, 1, -3.25, 1e300])
def test_a_number_is_a_float(value: float) -> None:
    assert number("p", value) == value
    assert type(number("p", value)) is float


@pytest.mark.parametrize("value", ["1", None, True, [1.0], math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^p: .* is not a finite number"):
        number("p", value)


@pytest.mark.parametrize(("value", "inside"), [(0.0, False), (1e-9, True), (1.0, False), (0.999, True), (-1, False)])
def test_bounds_are_outside(value: float, inside: bool) -> None:
    if inside:
        assert number("p", value, 0.0, 1.0) == value
    else:
        with pytest.raises(InputError, match=r"^p: .* must be strictly between 0 and 1$"):
            number("p", value, 0.0, 1.0)


def test_one_bound_alone_is_named() -> None:
    with pytest.raises(InputError, match=r"^rate: 0 must be above 0$"):
        number("rate", 0, 0.0)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None])
def test_what_is_no_whole_number_from_1_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^n: .* must be a whole number of at least 1$"):
        whole("n", value)


def test_a_whole_number_stays_as_it_is() -> None:
    assert whole("n", 7) == 7
