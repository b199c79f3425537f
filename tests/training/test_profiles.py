"""Power-function averages: their length, decay and inner products against integrals, and reconstructed ones."""

import numpy as np
import pytest
from scipy import integrate

from ngldm.training.profiles import Profile, combination, decay_at, gamma_of, inner_products

LENGTHS = [0.01, 0.05, 0.1, 0.2, 0.28]


def density(profile: Profile, s: float) -> float:
    """The definition: proportional to s^gamma up to the step, and of integral 1 (equation 121)."""
    step, gamma = profile
    return (gamma + 1) / step * (s / step) ** gamma if s <= step else 0.0


@pytest.mark.parametrize("length", LENGTHS)
def test_the_length_is_the_deviation_of_the_profile(length: float) -> None:
    profile = Profile(1, gamma_of(length))
    first, second = (integrate.quad(lambda s, n=n: s**n * density(profile, s), 0, 1)[0] for n in (1, 2))
    assert np.sqrt(second - first**2) == pytest.approx(length, rel=1e-6)


def test_known_exponents() -> None:
    """6.94 and 16.97 are the paper's, of section 3.1; a plain mean has exponent 0."""
    assert gamma_of(0.10) == pytest.approx(6.94, abs=0.005)
    assert gamma_of(0.05) == pytest.approx(16.97, abs=0.005)
    assert gamma_of(12**-0.5) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_decays_weigh_each_step_by_the_integral_of_the_profile(length: float) -> None:
    steps, gamma = 40, gamma_of(length)
    weights = np.zeros(steps)
    for step in range(1, steps + 1):
        weights *= decay_at(gamma, step)
        weights[step - 1] += 1 - decay_at(gamma, step)
    profile = Profile(steps, gamma)
    expected = [integrate.quad(lambda s: density(profile, s), s - 1, s)[0] for s in range(1, steps + 1)]
    np.testing.assert_allclose(weights, expected, rtol=1e-8, atol=1e-12)


def test_inner_products_are_those_of_the_integrals() -> None:
    profiles = [Profile(step, gamma_of(length)) for step in (3, 10, 17) for length in LENGTHS]
    found = inner_products(profiles, profiles)
    for i, left in enumerate(profiles):
        for j, right in enumerate(profiles):
            end = min(left.step, right.step)
            expected = integrate.quad(lambda s, a=left, b=right: density(a, s) * density(b, s), 0, end, epsrel=1e-10)
            assert found[i, j] == pytest.approx(expected[0], rel=1e-6)


def kept(count: int, steps: int) -> list[Profile]:
    """Snapshots of the lengths 0.05 and 0.10, equally far apart."""
    return [Profile(n * steps // count, gamma_of(length)) for n in range(1, count + 1) for length in (0.05, 0.1)]


@pytest.mark.parametrize("length", [0.03, 0.07, 0.15, 0.25])
def test_a_combination_is_the_best_in_least_squares(length: float) -> None:
    """Of functions on a fine grid, by NumPy; and the error is the norm of what is left."""
    profiles, wanted = kept(6, 600), Profile(600, gamma_of(length))
    grid = (np.arange(60_000) + 0.5) / 100
    columns = np.array([[density(profile, s) for s in grid] for profile in profiles]).T
    target = np.array([density(wanted, s) for s in grid])
    expected = np.linalg.lstsq(columns, target, rcond=None)[0]
    found, error = combination(profiles, wanted)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    left = np.linalg.norm(columns @ expected - target) / np.linalg.norm(target)
    assert error == pytest.approx(left, rel=1e-3)


def test_a_kept_average_is_itself() -> None:
    profiles = kept(20, 450)
    for index in (-2, -1):
        found, error = combination(profiles, profiles[index])
        np.testing.assert_allclose(found, np.eye(40)[index], atol=1e-9)
        assert error < 1e-6


@pytest.mark.parametrize(("length", "bound"), [(0.03, 0.03), (0.04, 0.01), (0.07, 0.003), (0.15, 0.006), (0.2, 0.02)])
def test_an_average_of_another_length_is_that_of_a_direct_simulation(length: float, bound: float) -> None:
    """Of a random walk. By Cauchy and Schwarz the distance is at most what is left of the profile times the walk."""
    steps, count = 2000, 20
    walk = np.random.default_rng(0).standard_normal((steps, 64)).cumsum(0)
    lengths = {length: gamma_of(length), 0.05: gamma_of(0.05), 0.1: gamma_of(0.1)}
    running, snapshots = {key: np.zeros(64) for key in lengths}, []
    for step, weights in enumerate(walk, 1):
        for key, gamma in lengths.items():
            decay = (1 - 1 / step) ** (gamma + 1)
            running[key] = decay * running[key] + (1 - decay) * weights
        if step % (steps // count) == 0:
            snapshots += [running[0.05], running[0.1]]
    found, error = combination(kept(count, steps), Profile(steps, lengths[length]))
    made = found @ np.array(snapshots)
    assert error < bound
    gamma = lengths[length]
    profile = np.sqrt(integrate.quad(lambda s: density(Profile(steps, gamma), s) ** 2, 0, steps, limit=200)[0])
    limit = error * profile * np.linalg.norm(walk, axis=0)
    assert (np.abs(made - running[length]) <= limit * (1 + 1e-6)).all()
    for other in (0.05, 0.1):
        assert np.linalg.norm(running[other] - running[length]) > 3 * np.linalg.norm(made - running[length])
