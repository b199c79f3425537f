"""The error that means bad input."""

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError, require_real, require_whole, unknown


def test_unknown_names_the_value_and_the_choices_in_order():
    error = unknown("noise", "cauchy", ["laplace", "gaussian"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown noise 'cauchy'; choose one of: gaussian, laplace"


def test_bad_input_can_be_caught_as_a_value_error():
    """So that callers of the library need not know our type."""
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_numpy_and_torch_become_python_s(value: object) -> None:
    found = require_whole("n", value, 0)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [1.5, 2.0, "3", None, True, [1], float("nan")])
def test_what_is_no_whole_number_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"^n: .* is not a whole number"):
        require_whole("n", value, 0)


@pytest.mark.parametrize(("value", "most", "words"), [(-1, None, "at least 0"), (9, 8, "between 0 and 8")])
def test_a_whole_number_out_of_range_is_named(value: int, most: int | None, words: str) -> None:
    with pytest.raises(InputError, match=f"n: {value} must .*{words}"):
        require_whole("n", value, 0, most)


def test_a_number_is_one_of_python_or_numpy() -> None:
    assert [require_real("x", value) for value in (1, 0.5, np.float32(0.25))] == [1.0, 0.5, 0.25]
    for value in ("1", None, True, [1.0]):
        with pytest.raises(InputError, match=r"^x: .* is not a number"):
            require_real("x", value)
