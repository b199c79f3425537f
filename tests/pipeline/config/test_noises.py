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


def test_markov_is_refused_for_a_noise_whose_elements_depend_on_each_other(content):
    content["noise_options"]["laplace"] = {"distribution": "multivariate_laplace"}
    check_noises(parse_params(content))
    content["diffusion"]["forward"] = "markov"
    with pytest.raises(
        InputError, match=r"noise_options\.laplace: diffusion\.forward: 'markov' .* 'multivariate_laplace'"
    ):
        check_noises(parse_params(content))


def test_a_sampler_of_the_comparison_that_adds_noise_is_refused_with_a_coupling(content):
    content["diffusion"]["coupling"] = "minibatch_ot"
    content["samplers"] = ["auto"]
    content["curve"]["sampler"] = "auto"
    assert parse_params(content).diffusion.coupling == "minibatch_ot"
    content["samplers"] = ["ancestral"]
    with pytest.raises(InputError, match=r"sampler_options\.ancestral\.method: 'ancestral' adds fresh noise"):
        parse_params(content)
