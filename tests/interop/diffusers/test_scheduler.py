"""The scheduler: diffusers' own checks of a scheduler, its schedulers step by step, and problems with known answers."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DPMSolverMultistepScheduler, UNet2DModel
from scipy import stats
from torch import Tensor

from ngldm.interop.diffusers import Scheduler
from ngldm.io.errors import InputError

CONFIGS = [
    {},
    {"num_train_timesteps": 100, "noise": "laplace", "method": "ddim"},
    {"schedule": {"name": "rectified_flow"}, "prediction_type": "flow_prediction", "noise": "uniform"},
    {"schedule": "cosine", "prediction_type": "v_prediction", "method": "stein", "sampling": {"eta": 0.5}},
    {"noise": {"name": "gamma", "params": {"concentration": 4.0}}, "method": "stein", "prediction_type": "sample"},
    {"method": "ddim", "sampling": {"eta": 1.0, "step_noise": "gaussian", "timestep_spacing": "karras"}},
    {"sampling": {"x0_handling": "clip", "x0_limit": 1.0}},
]


def sample(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=dtype)


# What tests/schedulers/test_schedulers.py of diffusers asks of every scheduler, where it applies


@pytest.mark.parametrize("timestep", [0, 1, 50, 99])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_saved_scheduler_makes_the_same_steps(config: dict[str, Any], timestep: int, tmp_path: Path) -> None:
    scheduler = Scheduler(**config)
    scheduler.save_pretrained(tmp_path)
    again = Scheduler.from_pretrained(tmp_path)
    assert {key: value for key, value in scheduler.config.items() if key != "_use_default_values"} == again.config
    results = []
    for one in (scheduler, again):
        one.set_timesteps(20)
        made = one.step(0.1 * sample(), timestep, sample(), generator=torch.Generator().manual_seed(0))
        results.append(made.prev_sample)
    assert results[0].shape == sample().shape
    assert torch.equal(*results)


@pytest.mark.parametrize("config", CONFIGS)
def test_tuple_and_output_hold_the_same(config: dict[str, Any]) -> None:
    scheduler = Scheduler(**config)
    scheduler.set_timesteps(20)
    calls = {"timestep": scheduler.timesteps[0], "model_output": 0.1 * sample(), "sample": sample()}
    output = scheduler.step(**calls, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(20)
    pair = scheduler.step(**calls, generator=torch.Generator().manual_seed(0), return_dict=False)
    assert torch.equal(pair[0], output.prev_sample)
    assert torch.equal(pair[1], output["pred_original_sample"])


def test_it_has_what_pipelines_ask_of_a_scheduler() -> None:
    scheduler = Scheduler(schedule="edm_ve")
    assert scheduler.init_noise_sigma == pytest.approx((1 + 80.0**2) ** 0.5, rel=1e-9)
    assert torch.equal(scheduler.scale_model_input(sample(), 3), sample())
    assert scheduler.order == 1
    assert {"eta", "generator"} <= set(inspect.signature(scheduler.step).parameters)
    assert scheduler.timesteps.tolist() == list(range(999, -1, -1))
    scheduler.set_timesteps(10)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -100))
    assert scheduler.num_inference_steps == 10


def test_every_compatible_scheduler_takes_the_configuration_and_gives_it_back() -> None:
    scheduler = Scheduler(num_train_timesteps=50, schedule="cosine", noise="laplace", prediction_type="v_prediction")
    assert {kind.__name__ for kind in scheduler.compatibles} >= {"DDIMScheduler", "DPMSolverMultistepScheduler"}
    for kind in scheduler.compatibles:
        other = kind.from_config(scheduler.config)
        torch.testing.assert_close(other.alphas_cumprod.double(), alphas(scheduler), rtol=1e-4, atol=1e-7)
        assert other.config.prediction_type == "v_prediction"
        again = Scheduler.from_config(other.config)
        for key in inspect.signature(Scheduler.__init__).parameters.keys() - {"self"}:
            assert again.config[key] == scheduler.config[key]


def test_a_change_of_the_schedule_reaches_diffusers_schedulers_too() -> None:
    changed = Scheduler.from_config(Scheduler(schedule="cosine").config, schedule="linear")
    torch.testing.assert_close(DDIMScheduler.from_config(changed.config).betas, DDIMScheduler().betas)


def alphas(scheduler: Scheduler) -> Tensor:
    return scheduler.diffusion.schedule.alphas_cumprod[1:]


# Against diffusers, step by step


def compare(scheduler: Scheduler, expected: Any, steps: int, **more: Any) -> None:
    """x_s of both at every step from diffusers' own x_t, in float64, with a fixed network."""
    for one in (scheduler, expected):
        one.set_timesteps(steps)
    assert torch.equal(scheduler.timesteps, expected.timesteps)
    x = 3.0 * (sample(dtype=torch.float64) - 0.5)
    for index, t in enumerate(expected.timesteps):
        output = torch.sin(0.7 * x + 0.01 * float(t)) + 0.3 * torch.tanh(x)
        extra = {"variance_noise": sample(1 + index, torch.float64)} if more.get("eta") else {}
        mine, x = (one.step(output, t, x, **more, **extra).prev_sample for one in (scheduler, expected))
        torch.testing.assert_close(mine, x, rtol=1e-5, atol=1e-5)


KINDS = [("linear", "linear"), ("scaled_linear", "quadratic"), ("squaredcos_cap_v2", "cosine")]
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
# Of the cosine schedule abar_T is 2e-9: eps does not determine x_0 in diffusers' float32.
PAIRS = [
    (*kind, prediction)
    for kind in KINDS
    for prediction in PREDICTIONS
    if (kind[1], prediction) != ("cosine", "epsilon")
]


@pytest.mark.parametrize(("theirs", "ours", "prediction_type"), PAIRS)
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_is_diffusers(theirs: str, ours: str, prediction_type: str, eta: float) -> None:
    words = {"prediction_type": prediction_type, "timestep_spacing": "trailing", "clip_sample": False}
    expected = DDIMScheduler(beta_schedule=theirs, **words)
    in_float64(expected)
    compare(Scheduler(schedule=ours, method="ddim", prediction_type=prediction_type), expected, 20, eta=eta)


def in_float64(scheduler: Any) -> None:
    """diffusers keeps betas in float32, whose rounding the division by sqrt(abar_T) = 0.006 would enlarge."""
    scheduler.alphas_cumprod = torch.cumprod(1.0 - scheduler.betas.double(), 0)
    if scheduler.config.beta_schedule != "squaredcos_cap_v2":
        power = {"linear": 1, "scaled_linear": 2}[scheduler.config.beta_schedule]
        ends = (scheduler.config[key] ** (1 / power) for key in ("beta_start", "beta_end"))
        betas = torch.linspace(*ends, scheduler.config.num_train_timesteps, dtype=torch.float64) ** power
        scheduler.alphas_cumprod = torch.cumprod(1.0 - betas, 0)


@pytest.mark.parametrize(("theirs", "ours"), KINDS[:2])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("steps", [10, 25])
def test_dpmpp_2m_is_diffusers(theirs: str, ours: str, prediction_type: str, steps: int) -> None:
    words = {"prediction_type": prediction_type, "timestep_spacing": "trailing", "final_sigmas_type": "zero"}
    expected = DPMSolverMultistepScheduler(beta_schedule=theirs, **words)
    in_float64(expected)
    compare(Scheduler(schedule=ours, prediction_type=prediction_type), expected, steps)


def test_stein_of_gaussian_noise_is_ddim_with_the_same_eta() -> None:
    """DDPM's posterior variance at eta = 1; the diffusers scheduler is the oracle."""
    expected = DDIMScheduler(timestep_spacing="trailing", clip_sample=False)
    in_float64(expected)
    compare(Scheduler(method="stein"), expected, 20, eta=0.8)


@pytest.mark.parametrize(("theirs", "ours"), KINDS)
@pytest.mark.parametrize("zero", [False, True])
def test_a_scheduler_of_diffusers_becomes_one_of_ours(theirs: str, ours: str, zero: bool) -> None:
    given = DDIMScheduler(
        num_train_timesteps=200,
        beta_schedule=theirs,
        beta_end=0.05,
        rescale_betas_zero_snr=zero,
        prediction_type="v_prediction",
    )
    scheduler = Scheduler.from_config(given.config, noise="laplace")
    torch.testing.assert_close(alphas(scheduler), given.alphas_cumprod.double(), rtol=1e-3, atol=1e-6)
    assert scheduler.config.schedule["name"] == ours
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.diffusion.noise.name == "laplace"
    assert scheduler.options.x0_handling == "clip"  # diffusers' default: to [-1, 1]
    assert scheduler.options.x0_limit == 1.0


def test_add_noise_and_velocity_are_diffusers() -> None:
    theirs, ours = DDIMScheduler(), Scheduler()
    noise, t = sample(1), torch.tensor([0, 10, 500, 999])
    torch.testing.assert_close(ours.add_noise(sample(), noise, t), theirs.add_noise(sample(), noise, t))
    torch.testing.assert_close(ours.get_velocity(sample(), noise, t), theirs.get_velocity(sample(), noise, t))


# Known answers


@pytest.mark.parametrize(
    ("noise", "law"), [("laplace", stats.laplace(scale=0.5**0.5)), ("uniform", stats.uniform(-(3**0.5), 12**0.5))]
)
def test_noise_of_the_law(noise: str, law: Any) -> None:
    t = torch.full((64,), 7)
    drawn = Scheduler(noise=noise).draw_noise((64, 1, 16, 16), t, torch.Generator().manual_seed(0))
    assert stats.kstest(drawn.flatten().numpy(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("schedule", ["cosine", "rectified_flow", "edm_ve"])
def test_the_flow_of_gaussian_data_is_known(method: str, schedule: str) -> None:
    """Data N(0, s^2): with the exact mean the flow takes x_T to x_T s / sqrt(a_T^2 s^2 + b_T^2)."""
    s, scheduler = 0.6, Scheduler(method=method, schedule=schedule, prediction_type="sample")
    values = scheduler.diffusion.schedule
    a, b = (torch.cat([v[1:], v[:1]]) for v in (values.signal, values.noise))  # by diffusers' t
    scheduler.set_timesteps(500)
    start = scheduler.init_noise_sigma * (sample(dtype=torch.float64) - 0.5)
    x = start
    for t in scheduler.timesteps:
        x0 = a[t] * s**2 / (a[t] ** 2 * s**2 + b[t] ** 2) * x
        x = scheduler.step(x0, t, x).prev_sample
    known = start * s / (a[999] ** 2 * s**2 + b[999] ** 2) ** 0.5
    torch.testing.assert_close(x, known, rtol=2e-2, atol=0)


@pytest.mark.parametrize("config", [{"method": "ddim", "sampling": {"eta": 1.0}}, {"method": "stein"}])
def test_noisy_samplers_keep_the_variance_of_gaussian_data(config: dict[str, Any]) -> None:
    s, n = 0.6, 20_000
    scheduler, generator = (
        Scheduler(schedule="cosine", prediction_type="sample", **config),
        torch.Generator().manual_seed(1),
    )
    values = scheduler.diffusion.schedule
    scheduler.set_timesteps(200)
    x = torch.randn((n, 1), generator=generator, dtype=torch.float64)
    for t in scheduler.timesteps:
        a, b = float(values.signal[t + 1]), float(values.noise[t + 1])
        x = scheduler.step(a * s**2 / (a**2 * s**2 + b**2) * x, t, x, generator=generator).prev_sample
    assert float(x.var()) == pytest.approx(s**2, rel=5 * (2 / n) ** 0.5 + 0.01)


def test_generators_of_images_make_their_own_noise() -> None:
    scheduler = Scheduler(method="ddim", noise="laplace")

    def step(seeds: list[int]) -> Tensor:
        x = sample()[: len(seeds)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return scheduler.step(0.1 * x, 500, x, eta=1.0, generator=generators).prev_sample

    assert torch.equal(step([5, 6])[:1], step([5]))
    assert not torch.equal(step([5]), step([6]))


def test_an_earlier_run_leaves_no_trace() -> None:
    """dpmpp_2m keeps a prediction: it must not be used in the next run, which may start in the middle."""
    scheduler = Scheduler()
    scheduler.set_timesteps(10)
    first = [scheduler.step(0.1 * sample(), t, sample()).prev_sample for t in scheduler.timesteps[3:5]]
    again = [scheduler.step(0.1 * sample(), t, sample()).prev_sample for t in scheduler.timesteps[3:5]]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


# Inside diffusers' own pipelines


def test_diffusers_pipelines_run_with_it() -> None:
    torch.manual_seed(0)
    levels = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(8, 3, 3, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **levels).eval()
    scheduler = Scheduler(method="ddim", prediction_type="sample")

    def images(kind: Any, one: Any) -> Tensor:
        pipeline = kind(unet=unet, scheduler=one)
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(2, generator=torch.Generator().manual_seed(3), num_inference_steps=10, output_type="np").images
        return torch.from_numpy(made)

    words = {"timestep_spacing": "trailing", "clip_sample": False, "prediction_type": "sample"}
    expected = images(DDIMPipeline, DDIMScheduler(**words))
    for kind in (DDPMPipeline, DDIMPipeline):
        torch.testing.assert_close(images(kind, scheduler), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"method": "heun"}, "unknown method 'heun'"),
        ({"prediction_type": "eps"}, "unknown prediction_type 'eps'"),
        ({"noise": "laplac"}, "laplac"),
        ({"noise": "laplace", "method": "stein"}, "stein_head"),
        ({"sampling": {"x0_handling": "range"}}, "range of the training latents"),
        ({"sampling": {"eta": 0.5}}, "eta: not an option of method 'dpmpp_2m'"),
        ({"method": "ddim", "sampling": {"eta": 1.5}}, r"eta: 1.5 must be in \[0, 1\]"),
        ({"sampling": {"num_inference_steps": 5}}, "num_inference_steps: not an option here"),
        ({"sampling": {"guidance_scale": 2.0}}, "sampling.guidance_scale: not an option of a scheduler"),
        ({"method": "ddim", "sampling": {"eta": 1.0}, "diffusion": {"coupling": "minibatch_ot"}}, "coupling"),
    ],
)
def test_bad_settings_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Scheduler(**config)


def test_bad_calls_are_refused() -> None:
    scheduler = Scheduler()
    with pytest.raises(InputError, match="num_inference_steps: 1001"):
        scheduler.set_timesteps(1001)
    with pytest.raises(InputError, match="eta: not an option of method 'dpmpp_2m'"):
        scheduler.step(sample(), 3, sample(), eta=0.5)
    with pytest.raises(InputError, match=r"eta: 2\.0 must be in"):
        Scheduler(method="ddim").step(sample(), 3, sample(), eta=2.0)
