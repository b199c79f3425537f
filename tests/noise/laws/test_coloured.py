"""What filtered noise and noise of a given covariance have in common."""

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.noise import draw_with_stein, make_noise
from ngldm.noise.laws.coloured import Coloured

ITEM = (2, 4, 6)
BASES = ["gaussian", "gamma", "multivariate_t"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ["power_law", "covariance"])
def test_k_is_that_of_the_noise_before_it_is_coloured(name: str, base: str) -> None:
    law = make_noise(name, {"base": {"distribution": base}})
    assert isinstance(law, Coloured)
    n, k = draw_with_stein(law, (3, *ITEM), torch.Generator().manual_seed(0))
    m, own = draw_with_stein(make_noise(base), (3, *ITEM), torch.Generator().manual_seed(0))
    assert torch.equal(k, own)
    torch.testing.assert_close(law.whiten(n), m, rtol=1e-4, atol=1e-4)
    if base == "gamma":  # K is a function of m, so K_bar of the predicted noise n is that of the predicted m
        torch.testing.assert_close(law.k_bar(n), own, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_coloured_is_refused() -> None:
    for name in ("power_law", "covariance"):
        for base in ("exponential_uncentred", "offset"):
            with pytest.raises(InputError, match=f"base: '{base}' must have mean 0 and uncorrelated elements"):
                make_noise(name, {"base": {"distribution": base}})
