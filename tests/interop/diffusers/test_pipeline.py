"""The pipeline: our own images, bit for bit, after each way to load it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler

import ngldm
from ngldm.interop.diffusers import Pipeline, Scheduler
from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.sampling.generator import Generator

CHOICES = [
    ("laplace", {}),
    ("gaussian", {"method": "dpmpp_2m", "num_inference_steps": 7, "timestep_spacing": "linear"}),
    ("laplace", {"method": "ddim", "num_inference_steps": 6, "eta": 0.7}),
    ("laplace", {"method": "stein", "num_inference_steps": 6}),
    ("exponential", {"method": "stein", "num_inference_steps": 30, "eta": 0.4, "start_noise": "x_T"}),
    ("uniform", {"method": "ddim", "num_inference_steps": 5, "eta": 1.0, "step_noise": "averaged:4"}),
    ("gumbel", {"x0_handling": "dynamic", "x0_limit": 0.5}),
    ("bernoulli", {}),  # x_T from the training latents' extent
    ("annealed", {}),  # its law changes with t
    ("power_law", {"method": "stein", "num_inference_steps": 6}),  # coloured
    ("multivariate_t", {"method": "stein", "num_inference_steps": 6}),  # one K for each image
]


def images(pipeline: Pipeline, count: int = 4, **options: object) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(count, output_type="np", **options).images
    return made if made.ndim == 2 else (made * 255).round().astype(np.uint8)


@pytest.mark.parametrize("kind", ["kl", "paper"])
@pytest.mark.parametrize(("noise", "options"), CHOICES)
def test_the_pipeline_gives_our_images(make_model, noise: str, options: dict, kind: str, tmp_path: Path) -> None:
    head = {"multivariate_t": "scalar", "bernoulli": "none", "annealed": "none"}.get(noise, "element")
    make_model(noise, kind, head=head).save(tmp_path / "model.safetensors")
    generator = ngldm.load(tmp_path / "model.safetensors", "cpu")
    wanted = generator.sample(4, seed=3, first=2, batch_size=4, **options)
    pipeline = Pipeline.of(generator.model, **options)
    pipeline.save_pretrained(tmp_path / "pipeline")
    steps = options.get("num_inference_steps")
    for one in (pipeline, Pipeline.from_pretrained(tmp_path / "pipeline")):
        assert np.array_equal(images(one, seed=3, first=2, num_inference_steps=steps), wanted)


def test_diffusers_loads_the_folder_by_its_own_code(make_model, tmp_path: Path) -> None:
    model = make_model("laplace")
    wanted = Generator(model.to("cpu")).sample(4, seed=1, batch_size=4)
    Pipeline.of(model).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True)
    assert np.array_equal(images(loaded, seed=1), wanted)
    pictures = loaded(2, seed=1).images
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), wanted[:2])
    assert np.array_equal(loaded(2, seed=1, output_type="pt").images.permute(0, 2, 3, 1) * 255, wanted[:2])
    loaded.save_pretrained(tmp_path / "again")
    assert np.array_equal(images(Pipeline.from_pretrained(tmp_path / "again"), seed=1), wanted)


GUIDED = {"classes": ["dog", 0], "guidance_scale": 2.5}


def of_animals(untrained: Model) -> Model:
    """A model of the same settings, with three classes."""
    torch.manual_seed(0)
    classes = {"names": ["cat", "dog", "owl"], "counts": [3, 2, 1], "label_dropout": 0.1}
    model = Model.build({**untrained.config, "classes": classes}).to("cpu")
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.network.eval()
    return model


@pytest.fixture
def animals(make_model) -> Model:
    return of_animals(make_model("laplace"))


@pytest.mark.parametrize(
    ("sampler", "of_classes"),
    [
        ({}, {}),  # in the proportions of the training images
        ({}, {"classes": "owl"}),
        ({"method": "dpmpp_2m", "num_inference_steps": 6}, GUIDED),
        ({"method": "ddim", "num_inference_steps": 6, "eta": 0.7}, {**GUIDED, "guidance_rescale": 0.6}),
        (
            {"method": "stein", "num_inference_steps": 6},
            {**GUIDED, "guidance_sigma_min": 0.3, "guidance_sigma_max": 3.0},
        ),
        ({"x0_handling": "clip", "x0_limit": 0.8}, GUIDED),
    ],
)
def test_classes_and_guidance_give_our_images(animals: Model, sampler: dict, of_classes: dict, tmp_path: Path) -> None:
    wanted = Generator(animals).sample(4, seed=3, first=2, batch_size=4, **sampler, **of_classes)
    Pipeline.of(animals, **sampler).save_pretrained(tmp_path)
    loaded, steps = Pipeline.from_pretrained(tmp_path), sampler.get("num_inference_steps")
    assert np.array_equal(images(loaded, seed=3, first=2, num_inference_steps=steps, **of_classes), wanted)
    assert wanted.std() > 5


def test_a_scheduler_of_diffusers_takes_classes_but_no_guidance(make_model) -> None:
    pipeline = Pipeline.of(of_animals(make_model("laplace", head="none")))
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    made = [images(pipeline, seed=0, num_inference_steps=6, classes=name).astype(int) for name in ("cat", "owl")]
    assert np.abs(made[0] - made[1]).max() > 2
    with pytest.raises(InputError, match="guidance_scale: needs the scheduler of ngldm"):
        pipeline(seed=0, classes="cat", guidance_scale=2.0)


@pytest.mark.parametrize(
    ("of_classes", "words"),
    [
        ({"classes": "cow"}, "unknown class 'cow'"),
        (
            {"class_labels": [1]},
            "class_labels: unknown argument; known beside the others: first, classes, guidance",
        ),
        ({"guidance_scale": -1.0}, "guidance_scale: -1"),
        ({"guidance_rescale": 0.5}, "guidance_rescale: has no effect"),
        ({"guidance_scale": 2.0, "guidance_sigma_max": 1e-9}, "no step lies between"),
    ],
)
def test_classes_that_the_model_does_not_have_are_refused(animals: Model, of_classes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Pipeline.of(animals)(seed=0, **of_classes)


def test_classes_are_asked_for_in_a_call(animals: Model, make_model) -> None:
    with pytest.raises(InputError, match="guidance_scale: not a setting of a pipeline"):
        Pipeline.of(animals, guidance_scale=2.0)
    with pytest.raises(InputError, match="the model has no classes"):
        Pipeline.of(make_model("laplace"))(classes="cat")


def test_points(tmp_path: Path) -> None:
    config = {
        "noise": {"name": "laplace", "params": {}},
        "diffusion": {"objective": "x0"},
        "schedule": {"name": "rectified_flow", "num_train_timesteps": 20},
        "mlp": {"width": 8, "depth": 1},
        "autoencoder": {"kind": "identity", "transform": "none"},
        "dim": 3,
    }
    torch.manual_seed(0)
    model = Model.build(config)
    wanted = Generator(model).sample(5, seed=2)
    Pipeline.of(model).save_pretrained(tmp_path)
    found = images(Pipeline.from_pretrained(tmp_path), 5, seed=2)
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("bundled", [True, False])
def test_a_pretrained_autoencoder_goes_with_the_folder(
    make_model, bundled: bool, precision: str, tmp_path: Path
) -> None:
    """Even if the model file only refers to it: then its folder is not needed any more."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(**blocks, block_out_channels=(8, 8), latent_channels=2, norm_num_groups=4, scaling_factor=0.5)
    vae.save_pretrained(tmp_path / "vae")
    options = {"model": str(tmp_path / "vae"), "precision": precision, "bundle_autoencoder": bundled}
    autoencoder = build_autoencoder({"kind": "diffusers", "options": options}, (3, 8, 6))
    config = {**make_model("laplace").config, "autoencoder": autoencoder.settings}
    model = Model.build(config, autoencoder).to("cpu")
    with torch.no_grad():  # a fresh network predicts 0
        for parameter in model.network.parameters():
            parameter.add_(0.1)
    model.network.eval()
    wanted = Generator(model).sample(4, seed=3, batch_size=4)
    Pipeline.of(model).save_pretrained(tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "vae")
    assert np.array_equal(images(Pipeline.from_pretrained(tmp_path / "pipeline"), seed=3), wanted)
    assert wanted.std() > 5


def test_generators(make_model) -> None:
    pipeline = Pipeline.of(make_model("laplace"))

    def of(number: int) -> torch.Generator:
        return torch.Generator().manual_seed(number)

    assert np.array_equal(images(pipeline, generator=of(1)), images(pipeline, generator=of(1)))
    assert not np.array_equal(images(pipeline, generator=of(1)), images(pipeline, generator=of(2)))
    listed = images(pipeline, 2, generator=[of(1), of(2)])
    assert np.array_equal(listed[::-1], images(pipeline, 2, generator=[of(2), of(1)]))
    torch.manual_seed(0)
    assert not np.array_equal(images(pipeline), images(pipeline))


@pytest.mark.parametrize("kind", [DDIMScheduler, DPMSolverMultistepScheduler])
def test_a_scheduler_of_diffusers_can_take_the_place_of_ours(make_model, kind: type) -> None:
    """Both follow the same flow: with all 30 steps DDIM is the same sampler, DPM++ differs in its coarse last steps."""
    model = make_model("laplace", head="none")
    ours = images(
        Pipeline.of(model, method="ddim" if kind is DDIMScheduler else "dpmpp_2m", num_inference_steps=15),
        seed=4,
        num_inference_steps=15,
    )
    pipeline = Pipeline.of(model)
    extra = {"final_sigmas_type": "zero"} if kind is DPMSolverMultistepScheduler else {}
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **extra)
    theirs = images(pipeline, seed=4, num_inference_steps=15)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert ours.std() > 5


def test_the_scheduler_can_be_changed_the_way_of_diffusers(make_model, tmp_path: Path) -> None:
    model = make_model("laplace")
    pipeline = Pipeline.of(model)
    sampling = {"timestep_spacing": "trailing", "eta": 0.5}
    pipeline.scheduler = Scheduler.from_config(pipeline.scheduler.config, method="ddim", sampling=sampling)
    wanted = Generator(model.to("cpu")).sample(4, seed=0, batch_size=4, method="ddim", num_inference_steps=9, eta=0.5)
    assert np.array_equal(images(pipeline, seed=0, num_inference_steps=9), wanted)


def test_half_precision_runs(make_model) -> None:
    pipeline = Pipeline.of(make_model("laplace"))
    full = images(pipeline, seed=0).astype(float)
    half = images(pipeline.to(torch.bfloat16), seed=0).astype(float)
    assert 0 < np.abs(full - half).mean() < 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1, "generator": torch.Generator()}, "give one of them"),
        ({"generator": [torch.Generator()]}, "1 for 4 images"),
        ({"output_type": "jpg"}, "output_type: 'jpg'"),
        ({"seed": -1}, "seed: -1"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"num_inference_steps": 31}, "31"),
        ({"num_inference_steps": 0}, "num_inference_steps: 0"),
    ],
)
def test_bad_calls_are_refused(make_model, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Pipeline.of(make_model("laplace"))(**{"batch_size": 4, **options})


@pytest.mark.parametrize("method", ["heun", "ancestral", "posterior"])
def test_samplers_without_a_scheduler_are_refused(make_model, method: str) -> None:
    with pytest.raises(InputError, match=f"method: '{method}' is not for diffusers"):
        Pipeline.of(make_model("gaussian", head="none"), method=method, num_inference_steps=3)
