"""What only the registry of noises can check in params.yaml."""

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import parse_params


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"distribution": "cauchyy"}, ["noise_options.laplace", "'cauchyy'", "gaussian"]),
        ({"distribution": "laplace", "df": 5}, ["noise_options.laplace", "'df'"]),
    ],
)
def test_unknown_distribution_or_parameter_is_named(content, options, words):
    content["noise_options"]["laplace"] = options
    with pytest.raises(InputError) as caught:
        check_noises(parse_params(content))
    for word in words:
        assert word in str(caught.value)
