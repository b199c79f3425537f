"""Which relative lengths an average of weights can have."""

import pytest

from ngldm.io.errors import InputError
from ngldm.training.names import check_length


@pytest.mark.parametrize("length", [1e-3, 0.1, 12**-0.5])
def test_lengths_up_to_that_of_a_plain_mean_are_taken(length: float) -> None:
    """The deviation of the uniform law on (0, 1) is 12^-1/2."""
    assert check_length(length) == length


@pytest.mark.parametrize("length", [0.0, -0.1, 0.289, float("nan"), float("inf"), True, "0.1", None])
def test_others_are_refused_with_key_and_bounds(length: object) -> None:
    with pytest.raises(InputError, match=r"^ema\.sigma_rel: .*(above 0 and at most 0\.2887|not a number)"):
        check_length(length, "ema.sigma_rel")
