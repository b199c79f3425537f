"""Sampling makes the CPU wait for its GPU only where images are decoded. `tests.waits` finds it without one."""

from collections.abc import Mapping

import pytest

from ngldm.model import Model
from ngldm.sampling.best import Option
from ngldm.sampling.generator import Generator, sample_latents
from ngldm.sampling.samplers import SAMPLERS
from ngldm.sampling.seeds import image_seeds
from ngldm.sampling.timesteps import Callback, Step
from tests.waits import GPU, Waits


def generator_of(noise: str = "laplace", head: str = "none", classes: bool = False) -> Generator:
    """An untrained model on the stand-in."""
    config: dict[str, object] = {
        "noise": {"name": noise, "params": {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 25},
        "diffusion": {"objective": "x0", "weighting": "none", "gamma": None, "stein_head": head},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [0], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 6, 4),
    }
    if classes:
        config["classes"] = {"names": ["one", "two"], "counts": [3, 3], "label_dropout": 0.1}
    model = Model.build(config)
    model.network.to(GPU).eval()
    return Generator(model)


def waits_of(generator: Generator, options: Mapping[str, Option], callback: Callback | None = None) -> list[str]:
    """What the steps of a second batch wait for: with the first, tables are copied to the GPU."""
    chosen = generator.options(num_inference_steps=4, **options)
    for first in (0, 3):
        with Waits() as waits:
            sample_latents(generator.model, image_seeds(0, first, first + 3), chosen, callback)
    return waits.found


@pytest.mark.parametrize("method", sorted(SAMPLERS))
def test_no_sampler_makes_it_wait(method: str) -> None:
    assert waits_of(generator_of("gaussian"), {"method": method}) == []


@pytest.mark.parametrize(
    ("noise", "head", "options"),
    [
        ("laplace", "none", {"method": "ddim", "eta": 1.0}),
        ("laplace", "element", {"method": "stein"}),
        ("multivariate_t", "scalar", {"method": "stein"}),
        ("radial", "scalar", {"method": "stein"}),
        ("gaussian_mixture", "element", {"method": "stein"}),
        ("power_law", "none", {"method": "stein"}),
        ("annealed", "none", {"method": "ddim"}),
        ("laplace", "none", {"method": "dpmpp_2m", "x0_handling": "range"}),
        ("laplace", "none", {"method": "heun", "x0_handling": "dynamic"}),
        ("laplace", "none", {"method": "ddim", "x0_handling": "clip", "start_noise": "x_T"}),
    ],
)
def test_no_option_makes_it_wait(noise: str, head: str, options: Mapping[str, Option]) -> None:
    assert waits_of(generator_of(noise, head), options) == []


def test_guidance_does_not_make_it_wait() -> None:
    options: dict[str, Option] = {"method": "ddim", "guidance_scale": 2.0, "guidance_rescale": 0.5}
    assert waits_of(generator_of(classes=True), options) == []


def test_a_callback_that_reads_a_number_is_found() -> None:
    def look(step: Step) -> None:
        float(step.x0.mean())

    assert waits_of(generator_of(), {"method": "ddim"}, look) == ["aten._local_scalar_dense.default"] * 4
