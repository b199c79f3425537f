"""What every law offers: unit energy, images that do not depend on each other, K and its bounds."""

import math

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.noise import JointLaw, Law, Noise, Traits, draw_with_stein, make_iid, make_noise, noise_names, register

ITEM = (2, 5, 4)
LAWS = {name: make_noise(name) for name in noise_names()}
JOINT = [name for name, law in LAWS.items() if isinstance(law, JointLaw)]


def energies(law: Law, count: int, seed: int = 0) -> torch.Tensor:
    x = law.sample((count, *ITEM), torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.flatten(1).square().mean(1)


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if math.isfinite(law.second_moment)])
def test_the_mean_energy_of_an_element_is_its_second_moment(name: str) -> None:
    """5.5 standard errors over 16384 images; t(5) has no fourth moment but its mean square's error is measured."""
    law, count = LAWS[name], 2**14
    found = energies(law, count)
    assert law.second_moment == pytest.approx(2.0 if name == "exponential_uncentred" else 1.0)
    assert float(found.mean()) == pytest.approx(law.second_moment, abs=5.5 * float(found.std()) / count**0.5 + 1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_draws_repeat_have_the_type_and_are_finite(name: str) -> None:
    law = LAWS[name]
    x, again = (law.sample((3, *ITEM), torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(x, again)
    assert (x.dtype, x.shape) == (torch.float32, (3, *ITEM))
    assert x.isfinite().all()
    assert law.sample((2, *ITEM), dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("name", JOINT)
def test_images_of_a_batch_are_uncorrelated_in_value_and_in_size(name: str) -> None:
    """Between neighbours of a batch, 5 standard errors 1 / sqrt(n) of a correlation; sizes by their ranks."""
    law, count = LAWS[name], 2**13
    x = law.sample((count, *ITEM), torch.Generator().manual_seed(0), dtype=torch.float64).flatten(1)
    ranks = x.square().sum(1).argsort().argsort().double()
    for values in (x[:, 3].clamp(-3, 3), ranks):
        pairs = torch.stack([values[:-1], values[1:]])
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 5 / math.sqrt(count)


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if law.traits.needs in ("nothing", "eps")])
def test_k_bar_is_positive_and_k_for_known_noise(name: str) -> None:
    """K is linear in n for these laws, so K_bar at eps_hat = n is K; and it is clipped at 0."""
    law = LAWS[name]
    n, k = draw_with_stein(law, (100, *ITEM), torch.Generator().manual_seed(0))
    torch.testing.assert_close(law.k_bar(n), k.expand_as(n), rtol=1e-4, atol=1e-4)
    assert float(law.k_bar(torch.full((1, *ITEM), -1e3)).min()) >= 0.0


@pytest.mark.parametrize("name", ["gamma", "exponential"])
def test_the_stein_identity_of_gamma(name: str) -> None:
    """E[n f(n)] = E[K f'(n)], f = tanh; 5 standard errors."""
    n, k = draw_with_stein(LAWS[name], (2**16,), torch.Generator().manual_seed(0))
    difference = (n * n.tanh() - k * (1 - n.tanh() ** 2)).double()
    assert abs(float(difference.mean())) < 5 * float(difference.std()) / 2**8


def test_k_bar_of_other_laws_is_refused() -> None:
    for name in ("laplace", "multivariate_t", "sphere"):
        with pytest.raises(InputError, match=f"noise '{name}': K_bar does not follow"):
            LAWS[name].k_bar(torch.zeros(1, *ITEM))


@pytest.mark.parametrize("name", LAWS)
def test_white_laws_do_not_colour(name: str) -> None:
    law, z = LAWS[name], torch.randn(2, *ITEM, generator=torch.Generator().manual_seed(0))
    if not law.traits.correlated:
        assert torch.equal(law.colour(z), z)


def test_a_law_of_ones_own_can_be_registered(registry: dict) -> None:
    class Signs(JointLaw):
        """One sign for the whole image."""

        traits = Traits(True, True, True, False, False, "unknown")

        def draw(self, shape, generator, device, *, stein):
            signs = torch.randint(2, (shape[0],), generator=generator, device=device) * 2.0 - 1.0
            return signs.reshape(-1, *[1] * (len(shape) - 1)).expand(tuple(shape)), None

    @register("signs")
    def signs(strength: float = 1.0) -> JointLaw:
        """Signs."""
        return Signs()

    law = make_noise("signs", {"strength": 1.0})
    assert (law.name, law.params) == ("signs", {"strength": 1.0})
    assert set(law.sample((50, 2, 2)).flatten(1).std(1).tolist()) == {0.0}
    with pytest.raises(InputError, match="noise 'signs' has no parameter 'colour'"):
        make_noise("signs", {"colour": 1})
    with pytest.raises(InputError, match="noise 'signs' is a law of whole images"):
        make_iid("signs")


def test_noise_with_independent_elements_stays_a_noise() -> None:
    assert isinstance(make_iid("laplace"), Noise)
    with pytest.raises(InputError, match="base: noise 'sphere' is a law of whole images"):
        make_noise("averaged", {"base": {"distribution": "sphere"}})
