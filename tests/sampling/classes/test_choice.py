"""Classes and guidance of a model: what they give, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.sampling.classes.guidance import sigma
from ngldm.sampling.generator import Generator, sample_latents
from ngldm.sampling.names import SAMPLER_OPTIONS
from ngldm.sampling.seeds import image_seeds


def build(**changes: Any) -> Model:
    torch.manual_seed(0)
    settings = {
        "noise": {"name": "laplace"},
        "schedule": {"name": "cosine", "num_train_timesteps": 25},
        "diffusion": {"objective": "x0", "stein_head": "element"},
        "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 6, 4),
        "classes": {"names": ["cat", "dog", "owl"], "counts": [6, 3, 1], "label_dropout": 0.1},
        **changes,
    }
    model = Model.build({key: value for key, value in settings.items() if value is not None})
    for parameter in model.network.parameters():  # some layers start at zero, and nothing depends on the class
        torch.nn.init.normal_(parameter, std=0.3)
    model.network.eval()
    return model


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(build())


def latents(generator: Generator, count: int = 4, **options: Any) -> Tensor:
    return sample_latents(generator.model, image_seeds(0, 0, count), generator.options(**options))


@pytest.mark.parametrize("method", SAMPLER_OPTIONS)
def test_scale_1_is_the_conditional_model_bit_for_bit(generator, method):
    chosen = {"method": method, "num_inference_steps": 5, "classes": ["dog", 0]}
    plain = latents(generator, **chosen)
    assert torch.equal(plain, latents(generator, **chosen, guidance_scale=1.0))
    assert not torch.allclose(plain, latents(generator, **chosen, guidance_scale=3.0), atol=1e-3)


@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "heun"])
def test_scale_0_is_the_unconditional_model(generator, method):
    chosen = {"method": method, "num_inference_steps": 5}
    found = latents(generator, **chosen, classes="owl", guidance_scale=0.0)
    torch.testing.assert_close(found, latents(generator, **chosen, classes="cat", guidance_scale=0.0))


def test_an_image_has_its_class_in_any_batch(generator):
    chosen = {"method": "ddim", "num_inference_steps": 3, "classes": ["dog", "cat", "owl"], "guidance_scale": 2.0}
    whole = generator.sample(7, **chosen)
    for part in (
        generator.sample(7, batch_size=2, **chosen),
        np.concatenate([generator.sample(3, **chosen), generator.sample(4, first=3, **chosen)]),
    ):
        assert np.abs(whole.astype(int) - part).max() <= 1
    assert generator.labels(7, classes=["dog", "cat", "owl"]).tolist() == [1, 0, 2, 1, 0, 2, 1]
    assert np.bincount(generator.labels(100)).tolist() == pytest.approx([60, 30, 10], abs=3)


def test_without_classes_asked_for_each_image_has_one_of_the_training_proportions(generator):
    asked = generator.labels(6).tolist()
    chosen = {"method": "ddim", "num_inference_steps": 3, "guidance_scale": 2.0}
    assert torch.equal(latents(generator, 6, **chosen), latents(generator, 6, **chosen, classes=asked))


@pytest.mark.parametrize(("method", "calls"), [("ddim", 5 + 2), ("heun", 9 + 4)])
def test_guided_steps_count_two_network_calls(generator, method, calls):
    """Of 5 steps at t = 25, 20, 15, 10, 5 two lie in the interval; heun asks there twice."""
    schedule = generator.model.diffusion.schedule
    options = generator.options(
        method=method,
        num_inference_steps=5,
        guidance_scale=2.0,
        guidance_sigma_min=sigma(schedule, 7),
        guidance_sigma_max=sigma(schedule, 17),
    )
    seen = 0

    def count(*arguments: Any) -> None:
        nonlocal seen
        seen += 1

    hook = generator.model.network.register_forward_hook(count)
    sample_latents(generator.model, image_seeds(0, 0, 1), options)
    hook.remove()
    assert generator.network_calls(options) == seen == calls


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": "cow"}, "unknown class 'cow'.*cat, dog, owl"),
        ({"classes": 3}, "class: 3 must lie between 0 and 2"),
        ({"classes": []}, "at least one"),
        ({"guidance_scale": -1.0}, "guidance_scale: -1"),
        ({"guidance_scale": math.inf}, "guidance_scale: inf"),
        ({"guidance_scale": "much"}, "guidance_scale: 'much' is not a number"),
        ({"guidance_scale": 2.0, "guidance_rescale": 1.5}, "guidance_rescale: 1.5"),
        ({"guidance_rescale": 0.5}, "guidance_rescale: has no effect"),
        ({"guidance_scale": 1.0, "guidance_sigma_max": 3.0}, "guidance_sigma_max: has no effect"),
        ({"guidance_scale": 2.0, "guidance_sigma_min": 2.0, "guidance_sigma_max": 2.0}, "empty interval"),
        ({"guidance_scale": 2.0, "guidance_sigma_min": -1.0}, "empty interval"),
    ],
)
def test_what_is_refused_before_any_work(generator, options, words):
    with pytest.raises(InputError, match=words):
        generator.options(**options)


def test_an_interval_that_no_step_visits_is_refused(generator):
    with pytest.raises(InputError, match="no step lies between 0 and 1e-09"):
        generator.sample(1, guidance_scale=2.0, guidance_sigma_max=1e-9)


def test_points_of_one_column_have_no_deviation_to_be_rescaled_to():
    model = build(
        diffusion={"objective": "x0"},
        autoencoder={"kind": "identity", "transform": "none"},
        dim=1,
        mlp={"width": 8, "depth": 1},
        unet=None,
        image_shape=None,
    )
    assert np.isfinite(Generator(model).sample(2, guidance_scale=2.0)).all()
    with pytest.raises(InputError, match="at least 2 elements"):
        Generator(model).sample(2, guidance_scale=2.0, guidance_rescale=0.5)


@pytest.mark.parametrize("options", [{"classes": "cat"}, {"guidance_scale": 2.0}, {"guidance_scale": 1.0}])
def test_a_model_without_classes_has_no_guidance(options):
    with pytest.raises(InputError, match="the model has no classes"):
        Generator(build(classes=None)).sample(1, **options)


def test_a_model_that_never_lost_its_labels_has_no_guidance():
    generator = Generator(build(classes={"names": ["a", "b"], "counts": [1, 1], "label_dropout": 0.0}))
    generator.options(classes="a", guidance_scale=1.0)
    with pytest.raises(InputError, match="label_dropout 0"):
        generator.options(guidance_scale=2.0)
