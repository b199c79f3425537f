"""What the registered laws say of themselves, against their draws."""

import pytest
import torch

from ngldm.noise import make_noise, noise_names

ITEM = (2, 5, 4)
LAWS = {name: make_noise(name) for name in noise_names()}


@pytest.mark.parametrize("name", LAWS)
def test_symmetric_laws_are_symmetric(name: str) -> None:
    """The share of positive elements' excess over one half; sizes differ by chance only, as do their signs."""
    law, count = LAWS[name], 2**14
    x = law.sample((count, *ITEM), torch.Generator().manual_seed(1))[:, 0, 0, 0].double()
    third = x.clamp(-4, 4) ** 3
    z = abs(float(third.mean())) / (float(third.std()) / count**0.5)
    assert z < 5 if law.traits.symmetric else z > 3


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        *(("gaussian", "nothing"), ("gamma", "eps"), ("exponential", "eps"), ("laplace", "element")),
        *(("uniform", "element"), ("student_t", "element"), ("poisson", "unknown"), ("averaged", "unknown")),
        *(("exponential_uncentred", "unknown"), ("multivariate_t", "scalar"), ("isotropic_stable", "scalar")),
        *(("power_law", "nothing"), ("sphere", "unknown"), ("annealed", "unknown"), ("radial", "scalar")),
    ],
)
def test_what_k_needs(name: str, needs: str) -> None:
    assert LAWS[name].traits.needs == needs


@pytest.mark.parametrize("name", LAWS)
def test_elements_are_correlated_and_share_their_size_as_their_law_says(name: str) -> None:
    """Neighbours' correlation, and that of their sizes: within 5 standard errors of 0 for independent elements."""
    law, count = LAWS[name], 2**15
    x = law.sample((count, *ITEM), torch.Generator().manual_seed(2))
    x = (x[:, :, 0, 0] if name == "covariance" else x[:, 0, 0, :2]).double().clamp(-4, 4)  # it mixes the channels
    found = [abs(float(torch.corrcoef(v.T)[0, 1])) * count**0.5 for v in (x, x.abs()) if float(v.std()) > 1e-4]
    correlations = (*found, 0.0)  # the sizes of signs are all 1
    if not law.traits.correlated:
        assert correlations[0] < 5
        if not law.traits.shared:
            assert correlations[1] < 5
    elif name != "offset":  # 0.01 / 1.01 at its default
        assert correlations[0] > 5
    if law.traits.shared and name not in (
        "pfgmpp",
        "sum",
        "sphere",
    ):  # nearly independent in 40 dimensions, or at their default
        assert correlations[1] > 5
