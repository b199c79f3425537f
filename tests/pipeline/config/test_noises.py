"""What only the registry of noises can check in params.yaml."""

import pytest
import yaml

from ngldm.io.errors import InputError
from ngldm.noise import JointLaw, make_noise, noise_names
from ngldm.pipeline.config.noises import check_noises, latent_shape
from ngldm.pipeline.config.params import parse_params


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"distribution": "cauchyy"}, ["noise_options.laplace", "'cauchyy'", "gaussian"]),
        ({"distribution": "laplace", "df": 5}, ["noise_options.laplace", "'df'"]),
    ],
)
def test_unknown_distribution_or_parameter_is_named(content, options, words):
    content["noise_options"]["laplace"] = options
    with pytest.raises(InputError) as caught:
        check_noises(parse_params(content))
    for word in words:
        assert word in str(caught.value)


def test_markov_is_refused_for_a_noise_whose_elements_depend_on_each_other(content):
    content["noise_options"]["laplace"] = {"distribution": "multivariate_laplace"}
    check_noises(parse_params(content))
    content["diffusion"]["forward"] = "markov"
    with pytest.raises(
        InputError, match=r"noise_options\.laplace: diffusion\.forward: 'markov' .* 'multivariate_laplace'"
    ):
        check_noises(parse_params(content))


def test_a_sampler_of_the_comparison_that_adds_noise_is_refused_with_a_coupling(content):
    content["diffusion"]["coupling"] = "minibatch_ot"
    content["samplers"] = ["auto"]
    content["curve"]["sampler"] = "auto"
    assert parse_params(content).diffusion.coupling == "minibatch_ot"
    content["samplers"] = ["ancestral"]
    with pytest.raises(InputError, match=r"sampler_options\.ancestral\.method: 'ancestral' adds fresh noise"):
        parse_params(content)


POINTS = {
    "name": "points",
    "source": "conf/dataset/points.yaml",
    "test_size": 10,
    "train_size": 10,
    "transform": "none",
}
LAW = {"dim": 2, "tails": "student_t", "shared": True, "df": 3.0, "weights": [1.0], "radius": 1.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": {**POINTS, "law": LAW}, "noise": "power_law"}, "shares randomness over rows and columns"),
        (
            {"samplers": ["stein"], "noise": "laplace"},
            r"sampler_options\.stein\.method: 'stein' needs K_bar .* element",
        ),
        (
            {"samplers": ["stein"], "noise": "bernoulli"},
            r"sampler_options\.stein\.method: 'stein', but no Stein kernel",
        ),
        ({"samplers": ["heun"], "noise": "annealed"}, r"sampler_options\.heun\.method: 'heun' takes the law"),
        ({"head": "scalar", "noise": "laplace"}, r"diffusion\.stein_head: 'scalar', but K of 'laplace'"),
        ({"coupling": "minibatch_ot", "noise": "annealed"}, "of the same law at all t.* noise 'annealed'"),
        ({"coupling": "minibatch_ot", "forward": "markov", "noise": "laplace"}, "of the same law at all t.* 'markov'"),
    ],
)
def test_data_samplers_head_and_coupling_are_checked_with_the_noise(content, changes, words):
    content["noises"], content["noise_options"] = ["n"], {"n": {"distribution": "gaussian"}}
    content["dataset"] = changes.get("dataset", content["dataset"])
    if "dataset" in changes:
        content["autoencoder"]["kind"] = "identity"
    content["samplers"] = changes.get("samplers", ["auto"])
    every = {
        "stein": {"method": "stein", "num_inference_steps": 5},
        "heun": {"method": "heun", "num_inference_steps": 5},
    }
    content["sampler_options"] |= every
    for key, name in (("stein_head", "head"), ("coupling", "coupling"), ("forward", "forward")):
        content["diffusion"][key] = changes.get(name, content["diffusion"][key])
    content["noise_options"]["n"] = {"distribution": changes["noise"]}
    with pytest.raises(InputError, match=r"noise_options\.n: .*" + words):
        check_noises(parse_params(content))


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"distribution": "covariance", "matrix": [[2, 1, 0], [1, 2, 0], [0, 0, 1]]}, r"covariance of shape \(3,\)"),
        ({"distribution": "band", "high": 0.01, "low": 0.005}, "of the frequencies of 4 x 4 pixels none lie in"),
        (
            {"distribution": "flicker", "eta": 0.01, "base": {"distribution": "gaussian"}},
            "power of noise of 4 x 4 pixels",
        ),
    ],
)
def test_a_law_that_does_not_fit_the_latents_is_refused_before_any_work(content, noise, words):
    """The default's latents are 2 x 4 x 4, as the autoencoder makes them of images of 8 x 8."""
    content["noises"], content["noise_options"], content["samplers"] = ["n"], {"n": noise}, ["auto"]
    with pytest.raises(InputError, match=rf"noise_options\.n: .*{words}"):
        check_noises(parse_params(content))


def test_the_latents_of_a_pretrained_autoencoder_are_not_known_before_it_is_read(content):
    """It needs not be there any more: the model refuses a law that does not fit, as the one here may or may not."""
    content["autoencoder"] |= {"kind": "diffusers", "options": {"model": "/no/folder"}}
    content["noises"], content["samplers"] = ["n"], ["auto"]
    content["noise_options"] = {"n": {"distribution": "band", "high": 0.01, "low": 0.005}}
    assert latent_shape(parse_params(content)) is None
    check_noises(parse_params(content))


@pytest.mark.parametrize(
    ("dataset", "autoencoder", "shape"),
    [
        ({"name": "digits", "test_size": 297}, {"kind": "kl", "levels": 2, "latent_channels": 3}, (3, 2, 2)),
        ({"name": "cifar10"}, {"kind": "paper", "latent_size": 24, "latent_channels": 4}, (4, 24, 24)),
        ({"name": "fashion_mnist"}, {"kind": "identity"}, (1, 28, 28)),
        (
            {"name": "image_folder", "size": 16, "channels": 3, "min_side": 8, "on_error": "fail"},
            {"kind": "kl", "levels": 1, "latent_channels": 4},
            (4, 8, 8),
        ),
        ({**POINTS, "train_size": None}, {"kind": "identity"}, None),
        ({**POINTS, "law": LAW, "train_size": 10}, {"kind": "identity"}, (LAW["dim"],)),
    ],
)
def test_the_shape_of_the_latents_is_known_before_any_work(content, dataset, autoencoder, shape):
    content["dataset"] = {"source": "a", **dataset}
    content["autoencoder"] |= autoencoder
    assert latent_shape(parse_params(content)) == shape


def test_the_head_that_stein_needs_is_enough(content):
    content["noises"], content["noise_options"] = ["n"], {"n": {"distribution": "laplace"}}
    content["samplers"] = ["stein"]
    content["sampler_options"]["stein"] = {"method": "stein", "num_inference_steps": 5}
    content["diffusion"]["stein_head"] = "element"
    check_noises(parse_params(content))


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"noise": {"distribution": "cauchyy"}}, r"study\.variants\.v\.noise: unknown noise 'cauchyy'"),
        ({"noise": {"distribution": "sphere"}, "forward": "markov"}, r"study\.variants\.v\.noise: diffusion\.forward"),
    ],
)
def test_the_noises_of_the_study_are_checked_before_any_work(content, variant, words):
    content["study"]["variants"] = {"v": variant}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    with pytest.raises(InputError, match=words):
        check_noises(parse_params(content))


def test_a_variant_with_a_coupling_is_for_deterministic_samplers(content):
    noisy = {"ancestral": {"method": "ancestral", "num_inference_steps": 5}}
    content["study"]["samplers"] = {**noisy, "ddim": {"method": "ddim", "num_inference_steps": 5}}
    variant = {"noise": {"distribution": "gaussian"}, "coupling": "minibatch_ot", "samplers": ["ddim"]}
    content["study"]["variants"] = {"v": variant}
    assert parse_params(content).study.variants["v"].replaced_diffusion() == {"coupling": "minibatch_ot"}
    variant["samplers"] = ["ddim", "ancestral"]
    with pytest.raises(InputError, match=r"study\.samplers\.ancestral\.method: 'ancestral' adds fresh noise"):
        parse_params(content)


def test_every_file_of_conf_noise_is_a_noise_and_every_law_of_whole_images_has_one(content, root):
    found = {}
    for path in sorted((root / "conf" / "noise").glob("*.yaml")):
        options = yaml.safe_load(path.read_text())["noise_options"]
        assert path.stem == "paper" or set(options) == {path.stem}
        found |= options
    content["noise_options"] = found
    content["noises"], content["samplers"] = sorted(found), ["auto"]
    check_noises(parse_params(content))
    named = {options["distribution"] for options in found.values()}
    assert {name for name in noise_names() if isinstance(make_noise(name), JointLaw)} <= named


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        (
            {"distribution": "sphere"},
            {"samplers": ["stein"]},
            r"sampler_options\.stein\.method: .*no Stein kernel is known",
        ),
        (
            {"distribution": "multivariate_t"},
            {"samplers": ["stein"]},
            r"sampler_options\.stein\.method: .*train with scalar",
        ),
        ({"distribution": "annealed"}, {"samplers": ["heun"]}, r"sampler_options\.heun\.method: .*'annealed' changes"),
        (
            {"distribution": "laplace"},
            {"diffusion": {"stein_head": "scalar"}},
            r"noise_options\.laplace: diffusion\.stein_head: 'scalar'",
        ),
        (
            {"distribution": "laplace"},
            {"diffusion": {"time_density": "logit_normal", "time_mean": 1000.0}},
            r"diffusion\.time_density: 'logit_normal' with mean 1000\.0",
        ),
        (
            {"distribution": "laplace"},
            {"schedule": {"name": "stable", "zero_terminal_snr": True}, "diffusion": {"objective": "u"}},
            r"diffusion\.objective: 'u' cannot be used",
        ),
        (
            {"distribution": "laplace"},
            {"schedule": {"name": "edm_ve", "rho": 0.001}},
            r"schedule\.rho: 0\.001",
        ),
    ],
)
def test_what_would_stop_a_later_stage_is_refused_before_any_work(content, options, changes, words):
    content["noise_options"]["laplace"], content["noises"], content["samplers"] = options, ["laplace"], ["ddim"]
    content["curve"]["sampler"] = "ddim"
    check_noises(parse_params(content))
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    with pytest.raises(InputError, match=words):
        check_noises(parse_params(content))


def test_a_head_makes_stein_possible(content):
    content["noise_options"]["laplace"], content["noises"] = {"distribution": "multivariate_t"}, ["laplace"]
    content["samplers"], content["diffusion"]["stein_head"] = ["stein"], "scalar"
    check_noises(parse_params(content))
