"""The error that means bad input."""

from ngldm.io.errors import InputError, unknown


def test_unknown_names_the_value_and_the_choices_in_order():
    error = unknown("noise", "cauchy", ["laplace", "gaussian"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown noise 'cauchy'; choose one of: gaussian, laplace"


def test_bad_input_can_be_caught_as_a_value_error():
    """So that callers of the library need not know our type."""
    assert issubclass(InputError, ValueError)
