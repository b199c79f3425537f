"""How often each t is trained, beside the authors' samplers of noise levels, and Kingma and Gao's product."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling
from scipy import stats

from ngldm.diffusion.names import SCHEDULES
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.diffusion.time_density import TimeDensity, cells
from ngldm.io.errors import InputError
from ngldm.noise import make_noise

NOISE, CPU = make_noise("gaussian"), torch.device("cpu")


def draw(density: TimeDensity, schedule, count: int = 200_000) -> torch.Tensor:
    return density.sample(schedule, count, torch.Generator().manual_seed(0), CPU)


def test_uniform_is_torchs_own_draw() -> None:
    """So that trainings of older versions are repeated to the digit."""
    wanted = torch.randint(1, 101, (64,), generator=torch.Generator().manual_seed(3))
    found = TimeDensity().sample(make_schedule("linear", 100), 64, torch.Generator().manual_seed(3), CPU)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.5, 0.7), (1.0, 1.2)])
def test_logit_normal_on_rectified_flow_is_diffusers(mean: float, std: float) -> None:
    torch.manual_seed(0)
    theirs = compute_density_for_timestep_sampling("logit_normal", 200_000, logit_mean=mean, logit_std=std)
    ours = draw(TimeDensity("logit_normal", mean, std), make_schedule("rectified_flow", 1000)) / 1000.0
    assert stats.ks_2samp(ours.numpy(), theirs.numpy()).statistic < 2.0 / math.sqrt(200_000) + 0.002  # and the grid


def test_edm_lognormal_has_edms_noise_levels() -> None:
    """ln sigma is N(P_mean, P_std^2), for data of deviation 0.5; for ours of 1 the levels are twice as large."""
    schedule = make_schedule("edm_ve", 4000)
    for density, mean in ((TimeDensity("edm_lognormal", -1.2, 1.2), -1.2), (TimeDensity("edm_lognormal"), -0.5069)):
        log_sigma = schedule.noise[draw(density, schedule)].log()
        assert stats.kstest(log_sigma.numpy(), stats.norm(mean, 1.2).cdf).statistic < 0.006


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_a_shift_of_uniform_t_on_rectified_flow_is_diffusers(shift: float) -> None:
    """SD3: t' = k t / (1 + (k - 1) t)."""
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift).sigmas.double()
    ours = draw(TimeDensity(shift=shift), make_schedule("rectified_flow", 1000)).double() / 1000.0
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        wanted = float(theirs.flip(0)[round(share * 1000) - 1])
        assert float(ours.quantile(share)) == pytest.approx(wanted, abs=0.004)


def test_a_shift_moves_a_normal_by_its_logarithm() -> None:
    schedule = make_schedule("rectified_flow", 500)
    shifted = TimeDensity("logit_normal", 0.2, 0.9, 2.0).probabilities(schedule)
    moved = TimeDensity("logit_normal", 0.2 + math.log(2.0), 0.9).probabilities(schedule)
    torch.testing.assert_close(shifted, moved)


@pytest.mark.parametrize("total", [1, 2, 3, 100])
@pytest.mark.parametrize("name", SCHEDULES)
def test_probabilities_are_of_every_t(name: str, total: int) -> None:
    schedule = make_schedule(name, total)
    for density in (TimeDensity(), TimeDensity(shift=2.0), TimeDensity("logit_normal"), TimeDensity("edm_lognormal")):
        p = density.probabilities(schedule)
        assert p.shape == (total + 1,)
        assert float(p[0]) == 0.0
        assert float(p.sum()) == pytest.approx(1.0)
        assert bool((p >= 0.0).all())
    torch.testing.assert_close(
        TimeDensity().probabilities(schedule)[1:], torch.full((total,), 1.0 / total, dtype=torch.float64)
    )


def test_draws_have_the_probabilities() -> None:
    schedule = make_schedule("cosine", 12)
    density = TimeDensity("logit_normal")
    counts = draw(density, schedule).bincount(minlength=13)
    expected = density.probabilities(schedule) * 200_000
    large = expected > 5.0
    assert stats.chisquare(counts[large], expected[large] * counts[large].sum() / expected[large].sum()).pvalue > 1e-4
    assert int(counts[0]) == 0


def test_cells_hold_their_lambda() -> None:
    for name in SCHEDULES:
        schedule = make_schedule(name, 30)
        edges, levels = cells(schedule), schedule.lambdas
        assert bool((edges[:-1] > levels[1:]).all())
        assert bool((edges[1:] < levels[1:]).logical_or(levels[1:] == -math.inf).all())


def emphasis(name: str, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the log-SNR and w p there, without the ends of the schedule, where cells are wide."""
    schedule = make_schedule(name, 4000)
    inner = slice(200, 3800)
    return schedule.lambdas[1:][inner], Diffusion.make(NOISE, schedule, **options).emphasis()[inner]


@pytest.mark.parametrize(
    ("name", "options", "formula"),
    [  # Kingma and Gao 2023, table 1; their lambda, the log-SNR, is twice ours
        ("rectified_flow", {"objective": "u"}, lambda lam: torch.exp(-lam)),
        ("cosine", {"objective": "eps"}, lambda lam: 1.0 / torch.cosh(lam)),
        ("cosine", {"objective": "v"}, lambda lam: torch.exp(-lam)),
        (
            "edm_ve",
            {"objective": "x0", "preconditioning": "edm", "data_std": 0.5, "time_density": "edm_lognormal",
             "time_mean": -1.2, "time_std": 1.2},
            lambda lam: torch.exp(-0.5 * ((lam - 1.2) / 1.2) ** 2) * (torch.exp(-2.0 * lam) + 0.25),
        ),
    ],
    ids=["rectified_flow", "iddpm", "v", "edm"],
)  # fmt: skip
def test_the_product_is_the_published_one(name: str, options, formula) -> None:
    lam, found = emphasis(name, **options)
    ratio = found / formula(lam)
    torch.testing.assert_close(ratio / ratio.mean(), torch.ones_like(ratio), rtol=0.02, atol=0.0)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
def test_the_product_does_not_see_the_objective(weighting: str) -> None:
    products = [
        emphasis("cosine", objective=objective, weighting=weighting)[1] for objective in ("eps", "x0", "v", "u")
    ]
    for other in products[1:]:
        torch.testing.assert_close(other, products[0], rtol=1e-9, atol=0.0)


def test_the_same_density_gives_the_same_product_on_every_schedule() -> None:
    """Kingma and Gao: with one density over lambda and one weight, the schedule is no longer seen."""
    options = {"objective": "x0", "weighting": "min_snr", "time_density": "logit_normal"}
    at = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    products = []
    for name in ("cosine", "rectified_flow", "edm_ve"):
        schedule = make_schedule(name, 4000)
        product = Diffusion.make(NOISE, schedule, **options).emphasis()
        products.append(torch.stack([product[schedule.nearest(float(lam)) - 1] for lam in at]))
    for other in products[1:]:
        torch.testing.assert_close(other, products[0], rtol=0.02, atol=0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time_density": "cosine"}, "unknown diffusion.time_density 'cosine'; choose one of: edm_lognormal, logit"),
        ({"time_density": "logit_normal", "time_std": 0.0}, "diffusion.time_std: 0.0 must be above 0"),
        ({"time_density": "logit_normal", "time_std": math.nan}, "diffusion.time_std: nan must be finite"),
        ({"time_density": "edm_lognormal", "time_mean": math.inf}, "diffusion.time_mean: inf must be finite"),
        ({"time_mean": 0.5}, "diffusion.time_mean: 0.5 has no effect with time_density 'uniform'"),
        ({"time_shift": 0.0}, "diffusion.time_shift: 0.0 must be above 0 and finite"),
        ({"time_shift": "2"}, "diffusion.time_shift: '2' is not a number"),
    ],
)
def test_bad_settings_are_named(options, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Diffusion.make(NOISE, make_schedule("linear", 10), **options)
    assert words in str(caught.value)


def test_a_density_beside_the_schedule_is_refused() -> None:
    with pytest.raises(InputError, match=r"diffusion\.time_density: 'logit_normal' with mean 90.* has no probability"):
        Diffusion.make(NOISE, make_schedule("linear", 10), time_density="logit_normal", time_mean=90.0, time_std=0.1)
