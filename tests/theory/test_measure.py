"""What is measured of the noises: moments, histograms, densities, and Theorem 1 by T."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.noise import make_noise
from ngldm.theory import measure

NOISES = {label: make_noise(label) for label in ("gaussian", "laplace", "exponential", "uniform", "poisson")}


def schedule(num_train_timesteps: int) -> Schedule:
    return make_schedule("linear", num_train_timesteps)


def test_moments_put_exact_beside_sampled() -> None:
    chosen = {"e": make_noise("exponential"), "u": make_noise("uniform")}
    rows = measure.moments(chosen, measure.draw(chosen, (1, 8, 8)))
    assert [row["noise"] for row in rows] == ["e"] * 4 + ["u"] * 4
    found = {(row["noise"], row["moment"]): row for row in rows}
    assert found["e", "skewness"]["exact"] == pytest.approx(2.0)
    assert found["u", "excess kurtosis"]["exact"] == pytest.approx(-1.2)
    for (_, moment), row in found.items():
        if moment in ("mean", "variance"):
            assert abs(row["sampled"] - row["exact"]) < 6 * (8 / measure.DRAWS) ** 0.5  # (kurtosis + 2) / n at most


def test_histograms_are_densities_of_the_draws() -> None:
    found = measure.histograms(measure.draw(NOISES, (1, 8, 8)))["gaussian"]
    edges, density = np.array(found.edges), np.array(found.density)
    assert (edges[0], edges[-1], len(density)) == (-measure.LIMIT, measure.LIMIT, measure.BINS)
    assert (density * np.diff(edges)).sum() == pytest.approx(1.0)
    expected = np.diff(stats.norm.cdf(edges)) / np.diff(edges)
    tolerance = 6 * np.sqrt(expected / np.diff(edges) / measure.DRAWS) + 1e-3
    assert (np.abs(density - expected) < tolerance).all()


def test_densities_are_those_of_scipy_and_none_of_discrete_noises() -> None:
    found = measure.densities(NOISES)
    assert set(found) == {"gaussian", "laplace", "exponential", "uniform"}
    x = np.array(found["laplace"].x)
    assert np.allclose(found["laplace"].density, stats.laplace.pdf(x, scale=math.sqrt(0.5)))
    assert np.allclose(found["gaussian"].density, stats.norm.pdf(x))


def test_theorem_rows_cover_both_processes_and_every_length() -> None:
    latents = torch.randn(200, 2, 2, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    rows = measure.measure_theorem(latents, {"l": make_noise("laplace")}, [1, 4], schedule, advance=seen.append)
    assert [(row["forward"], row["steps"]) for row in rows] == [
        *(("marginal", 1), ("marginal", 4), ("markov", 1), ("markov", 4))
    ]
    assert seen == [1, 1, 1, 1]
    assert all(abs(row["rms_ratio"] - 1) < 6 * row["rms_std_error"] for row in rows)


@pytest.mark.parametrize(
    ("longest", "steps"), [(1, [1]), (50, [1, 3, 10, 30, 50]), (4000, list(measure.THEOREM_STEPS))]
)
def test_the_longest_chain_is_the_pipelines_at_most_1000(longest: int, steps: list[int]) -> None:
    assert measure.theorem_steps(longest) == steps


def test_all_is_measured_of_all_but_the_gaussians_ratio_to_itself() -> None:
    latents = np.random.default_rng(0).normal(size=(40, 2, 3, 3)).astype(np.float32)
    chosen = {label: NOISES[label] for label in ("gaussian", "laplace")}
    seen: list[int] = []
    found = measure.measure_theory(latents, chosen, schedule, 5, seen.append)
    assert found.latent_shape == (2, 3, 3)
    assert {row["noise"] for row in found.theorem} == {"laplace"}
    assert len(seen) == len(found.theorem) == measure.count_ratios(chosen, 5) == 2 * 3
    assert set(found.histograms) == set(found.densities) == {row["noise"] for row in found.moments} == set(chosen)


def test_a_law_of_whole_images_has_the_moments_and_density_of_its_elements() -> None:
    """5 standard errors of independent images: one element is taken of each."""
    laws = {"l": make_noise("multivariate_laplace"), "s": make_noise("isotropic_stable"), "o": make_noise("sphere")}
    rows = {(row["noise"], row["moment"]): row for row in measure.moments(laws, measure.draw(laws, (1, 4, 4)))}
    assert rows["l", "excess kurtosis"]["exact"] == pytest.approx(3.0)
    for moment, fourth in (("mean", 1.0), ("variance", 5.0)):  # variances of n and of n^2
        row = rows["l", moment]
        assert abs(row["sampled"] - row["exact"]) < 5 * (fourth / measure.DRAWS) ** 0.5
    assert rows["s", "variance"]["exact"] == math.inf
    assert math.isnan(rows["o", "excess kurtosis"]["exact"])
    # On the sphere in 16 dimensions an element has the excess kurtosis 3 d / (d + 2) - 3.
    assert rows["o", "excess kurtosis"]["sampled"] == pytest.approx(
        3 * 16 / 18 - 3, abs=5 * (96 / measure.DRAWS) ** 0.5
    )
    found = measure.densities(laws)
    assert set(found) == {"l"}
    assert np.allclose(found["l"].density, stats.laplace.pdf(np.array(found["l"].x), scale=math.sqrt(0.5)))
