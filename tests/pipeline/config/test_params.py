"""params.yaml validated as a whole, with errors that name key, value and choices."""

from ast import literal_eval
from typing import Any

import pytest
from ruamel.yaml import YAML

from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import describe, load_params, parse_params, trainings_of


def set_key(content: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for section in sections:
        content = content[section]
    content[key] = value


def delete_key(content: dict[str, Any], path: str) -> None:
    *sections, key = path.split(".")
    for section in sections:
        content = content[section]
    del content[key]


BAD = [
    # key path, value, words that the message must contain
    ("dataset.name", "imagenet", ["'imagenet'", "'digits'"]),
    ("dataset.test_size", 0, ["dataset.test_size", "0", "greater than 0"]),
    ("autoencoder.kind", "vq", ["autoencoder.kind 'vq'", "paper", "kl", "identity", "diffusers"]),
    ("autoencoder.width", -8, ["autoencoder.width", "-8", "greater than 0"]),
    ("autoencoder.kl_weight", -1.0, ["autoencoder.kl_weight", "-1.0"]),
    ("autoencoder.fit.lr", 0.0, ["autoencoder.fit.lr", "0.0", "greater than 0"]),
    ("latents.dtype", "float64", ["latents.dtype", "'float64'", "'float32'", "'float16'"]),
    ("latents.dtype", "float16", ["latents.dtype: 'float16' needs dataset.keep_pixels false"]),
    ("latents.flips", True, ["latents.flips: true does not fit the data set 'digits': a mirrored digit"]),
    ("latents.flips", 1, ["latents.flips", "1", "boolean"]),
    ("schedule.name", "exponential", ["'exponential'", "'linear'", "'cosine'"]),
    ("schedule.beta_end", 1.0, ["schedule.beta_end", "1.0", "less than 1"]),
    ("schedule.alpha", 1.0, ["schedule.alpha", "1.0", "greater than 1"]),
    ("schedule.alpha", 2.1, ["schedule.alpha", "2.1", "less than or equal to 2"]),
    ("schedule.sigma_max", 0.001, ["schedule.sigma_min: 0.002 must be below sigma_max = 0.001"]),
    ("schedule.num_train_timesteps", 0, ["schedule.num_train_timesteps", "0"]),
    ("diffusion.preconditioning", "vp", ["diffusion.preconditioning", "'vp'", "'none'", "'edm'"]),
    ("diffusion.time_density", "normal", ["'normal'", "'uniform'", "'logit_normal'", "'edm_lognormal'"]),
    ("diffusion.time_std", 0.0, ["diffusion.time_std", "0.0", "greater than 0"]),
    ("diffusion.time_mean", 1.0, ["diffusion.time_mean: 1.0 has no effect with time_density 'uniform'"]),
    ("diffusion.time_shift", float("inf"), ["diffusion.time_shift", "finite"]),
    ("unet.widths", [], ["unet.widths", "at least 1"]),
    ("unet.widths", [32, -64], ["unet.widths.1", "-64"]),
    ("unet.attention_levels", [5], ["unet.attention_levels", "5", "2 widths"]),
    ("unet.attention_head_dim", 7, ["unet.attention_head_dim", "7"]),
    ("unet.time_embedding", "fourier", ["'fourier'", "'sinusoidal'", "'siren'"]),
    ("unet.dropout", 1.0, ["unet.dropout", "1.0", "less than 1"]),
    ("network.num_classes", "many", ["network.num_classes", "'many'", "auto"]),
    ("network.num_classes", 1, ["network.num_classes", "1", "greater than or equal to 2"]),
    ("network.label_dropout", 0.1, ["label_dropout: 0.1 has no effect without num_classes"]),
    ("network", {"num_classes": "auto", "label_dropout": 1.1}, ["network.label_dropout", "1.1"]),
    ("sampler_options.ddim.guidance_scale", -1.0, ["sampler_options.ddim.guidance_scale", "-1.0"]),
    (
        "sampler_options.ancestral.guidance_scale",
        2.0,
        ["ancestral.guidance_scale: 2.0, but the network gets no classes"],
    ),
    ("sampler_options.ddim.guidance_rescale", 0.5, ["guidance_rescale: has no effect without a guidance_scale"]),
    ("train.lr", -0.001, ["train.lr", "-0.001", "greater than 0"]),
    ("train.lr", "fast", ["train.lr", "'fast'", "valid number"]),
    ("train.batch_size", 0, ["train.batch_size", "0"]),
    ("train.batch_size", 12.5, ["train.batch_size", "12.5", "integer"]),
    ("train.max_steps", "1000", ["train.max_steps", "'1000'", "integer"]),
    ("train.ema", {"sigma_rel": [0.1, 0.3]}, ["train.ema.sigma_rel.1: 0.3", "above 0", "0.2887"]),
    ("train.ema", {"sigma_rel": [0.1, 0.1]}, ["train.ema.sigma_rel.1: 0.1 is listed twice"]),
    ("train.ema", {"sigma_rel": []}, ["train.ema.sigma_rel", "at least 1"]),
    ("train.ema", {"snapshots": 201}, ["train.ema.snapshots", "201", "200"]),
    ("train.ema", {"snapshot": 2}, ["train.ema.snapshot: unknown key", "sigma_rel, snapshots"]),
    ("train.batch_size", None, ["train.batch_size: null is not allowed", "accumulate_steps: null"]),
    ("train.accumulate_steps", 7, ["train.accumulate_steps: 7 must divide batch_size = "]),
    ("reference.fit.accumulate_steps", 7, ["reference.fit.accumulate_steps: 7 must divide batch_size = "]),
    ("train.precision", "fp16", ["'fp16'", "'fp32'", "'bf16'"]),
    ("train.layout", "nhwc", ["train.layout", "'nhwc'", "'channels_last'", "'contiguous'"]),
    ("sample.precision", "fp16", ["sample.precision", "'fp16'", "'fp32'", "'bf16'", "'auto'"]),
    ("sample.layout", "nhwc", ["sample.layout", "'nhwc'", "'channels_last'", "'contiguous'"]),
    ("train.optimizer", "sgd", ["train.optimizer", "'sgd'", "'adamw'", "'muon'"]),
    ("reference.fit.optimizer", None, ["reference.fit.optimizer", "'adamw'", "'muon'"]),
    ("train.export", "ema", ["'ema'", "'last'", "'best'"]),
    ("train.momentum", 0.9, ["train.momentum", "unknown key", "max_steps", "lr"]),
    ("sampler_options.ddim.method", "euler", ["'euler'", "'ancestral'", "'ddim'"]),
    ("sampler_options.ddim.eta", 1.5, ["sampler_options.ddim.eta", "1.5", "less than or equal to 1"]),
    ("sampler_options.ddim.variance", "beta", ["sampler_options.ddim.variance", "not an option", "eta"]),
    ("sampler_options.ddim.num_inference_steps", 1001, ["num_inference_steps", "1001", "1000"]),
    ("sampler_options.ddim.refresh", 0.1, ["sampler_options.ddim.refresh", "not an option", "'ddim'", "eta"]),
    ("sampler_options.posterior.refresh", 1.5, ["posterior.refresh", "1.5", "less than or equal to 1"]),
    ("sampler_options.posterior.refresh", -0.1, ["posterior.refresh", "-0.1", "greater than or equal to 0"]),
    ("sampler_options.heun.step_noise", "gaussian", ["heun.step_noise", "not an option", "deterministic"]),
    ("sampler_options.ancestral.step_noise", "x_T", ["ancestral.step_noise: 'x_T'", "own, gaussian, averaged"]),
    ("sampler_options.ddim.x0_limit", 2.0, ["sampler_options.ddim.x0_limit", "only of clip and dynamic"]),
    ("sampler_options.ddim.x0_handling", "cut", ["ddim.x0_handling", "'cut'", "'clip'", "'range'"]),
    ("sampler_options.ddim.choices", {}, ["sampler_options.ddim.choices", "only method 'auto'"]),
    ("sampler_options.auto.num_inference_steps", 5, ["auto.num_inference_steps", "not an option of method 'auto'"]),
    (
        "sampler_options.auto.choices",
        {"laplace": {"method": "auto"}},
        ["auto.choices", "the method of an entry cannot be 'auto'"],
    ),
    (
        "sampler_options.auto.choices",
        {"default": {"method": "ddim", "num_inference_steps": 1001}},
        ["auto.choices.default.num_inference_steps", "1001", "num_train_timesteps = 1000"],
    ),
    ("diffusion.gamma", 0.0, ["diffusion.gamma", "0.0", "greater than 0"]),
    (
        "diffusion",
        {"forward": "marginal", "objective": "x0", "weighting": "none", "gamma": 3.0},
        ["diffusion.gamma: 3.0 has no effect", "'none'", "null", "'min_snr'"],
    ),
    ("sample.num_images", -1, ["sample.num_images", "-1"]),
    ("sample.seed", 2**63, ["sample.seed", "9223372036854775808", "less than or equal to 9223372036854775807"]),
    ("sample.seed", -1, ["sample.seed", "-1"]),
    ("evaluate.extractor", "clip", ["'clip'", "'classifier'", "'inception'"]),
    ("evaluate.kid_subset_size", 1, ["evaluate.kid_subset_size", "1", "2"]),
    ("noises", [], ["noises", "at least 1"]),
    ("noises", ["cauchy"], ["noises[0]", "'cauchy'", "gaussian", "laplace"]),
    ("noises", ["gaussian", "gaussian"], ["noises[1]", "'gaussian'", "twice"]),
    ("noises", ["a-b"], ["noises.0", "'a-b'", "pattern"]),
    ("samplers", ["euler"], ["samplers[0]", "'euler'", "ancestral", "ddim"]),
    ("noise_options.laplace", {}, ["noise_options.laplace.distribution", "missing"]),
    ("seed", -1, ["seed", "-1"]),
    ("seeds", [], ["seeds", "at least 1"]),
    ("seeds", [0, 1, 0], ["seeds[2]", "0 is listed twice"]),
    ("seeds", [0, -1], ["seeds.1", "-1", "greater than or equal to 0"]),
    ("seeds", [1.5], ["seeds.0", "1.5", "integer"]),
    ("seeds", [True], ["seeds.0", "True", "integer"]),
    ("seeds", 3, ["seeds", "3", "list"]),
    ("trian", {"lr": 1}, ["trian", "unknown key", "train"]),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD, ids=[f"{path}={value}" for path, value, _ in BAD])
def test_bad_value_is_named_with_what_is_allowed(content, path, value, words):
    set_key(content, path, value)
    with pytest.raises(InputError) as caught:
        parse_params(content)
    for word in words:
        assert word in str(caught.value)


def test_optional_keys_of_the_loop_leave_the_settings_of_older_trainings_as_they_were(content):
    """Checkpoints and kept jobs are found by these settings."""
    before = parse_params(content).train.model_dump()
    assert not before.keys() & {"optimizer", "layout", "deterministic"}
    content["train"] |= {"optimizer": "adamw", "layout": "channels_last", "deterministic": True}
    assert parse_params(content).train.model_dump() == before
    others = {"optimizer": "muon", "layout": "contiguous", "deterministic": False}
    content["train"] |= others
    assert parse_params(content).train.model_dump() == {**before, **others}
    content["train"]["precision"] = "auto"
    with pytest.raises(InputError, match=r"train\.layout: 'contiguous' has no effect with precision 'auto'"):
        parse_params(content)


def test_optional_keys_of_sampling_leave_the_settings_of_older_samples_as_they_were(content):
    before = parse_params(content).sample.model_dump()
    content["sample"] |= {"precision": "fp32", "layout": "channels_last", "deterministic": True}
    assert parse_params(content).sample.model_dump() == before
    others = {"precision": "bf16", "layout": "contiguous", "deterministic": False}
    content["sample"] |= others
    assert parse_params(content).sample.model_dump() == {**before, **others}
    content["sample"]["precision"] = "auto"
    with pytest.raises(InputError, match=r"sample\.layout: 'contiguous' has no effect with precision 'auto'"):
        parse_params(content)


def test_classes_refuse_noise_that_is_paired_with_images_before_any_stage(content):
    """Also in the study, whose variants train the same network."""
    content["samplers"], content["network"] = ["auto"], {"num_classes": "auto"}
    content["study"]["variants"] = {"v": {"noise": {"distribution": "laplace"}, "samplers": ["s"]}}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    parse_params(content)
    content["study"]["variants"]["v"]["coupling"] = "minibatch_ot"
    with pytest.raises(InputError, match=r"study\.variants\.v\.coupling: 'minibatch_ot' pairs noise .* independent"):
        parse_params(content)
    content["diffusion"]["coupling"] = "minibatch_ot"
    with pytest.raises(InputError, match=r"diffusion\.coupling: 'minibatch_ot' pairs noise .* independent"):
        parse_params(content)


@pytest.mark.parametrize("path", ["seed", "train.lr", "unet", "sampler_options.ddim.method", "noises"])
def test_missing_key_is_named(content, path):
    delete_key(content, path)
    with pytest.raises(InputError, match=rf"{path}: missing"):
        parse_params(content)


def test_all_faults_are_reported_at_once(content):
    set_key(content, "train.lr", -1.0)
    set_key(content, "sample.num_images", 0)
    with pytest.raises(InputError) as caught:
        parse_params(content)
    assert "train.lr" in str(caught.value)
    assert "sample.num_images" in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"params\.yaml") as refused:
        load_params(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_params(tmp_path / "params.yaml")


def test_exponents_are_numbers_as_in_yaml_1_2(content, tmp_path):
    """DVC writes 1e-05, which a YAML 1.1 parser takes for a string."""
    set_key(content, "train.lr", 1e-05)
    path = tmp_path / "params.yaml"
    YAML().dump(content, path)
    assert "lr: 1e-05" in path.read_text()
    assert load_params(path).train.lr == 1e-05


def test_describe_lists_every_leaf(content):
    lines = describe(parse_params(content))
    assert any(line.startswith("train.lr: ") and "learning rate" in line for line in lines)
    assert any(line.startswith("sampler_options.ddim.eta: 0.0") for line in lines)


def test_the_velocity_is_refused_with_edm_ve_also_in_the_study(content):
    content["samplers"], content["diffusion"]["objective"] = ["auto"], "u"
    content["study"]["variants"] = {"v": {"noise": {"distribution": "laplace"}}}
    content["study"]["samplers"] = {"s": {"method": "heun", "num_inference_steps": 5}}
    parse_params(content)
    content["study"]["variants"]["v"]["schedule"] = {"name": "edm_ve"}
    with pytest.raises(InputError, match=r"study\.variants\.v\.objective: 'u' cannot be trained"):
        parse_params(content)
    content["schedule"]["name"] = "edm_ve"
    with pytest.raises(InputError, match=r"diffusion\.objective: 'u' cannot be trained.* use 'eps'"):
        parse_params(content)


@pytest.mark.parametrize("name", ["rectified_flow", "edm_ve", "stable"])
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("diffusion.forward", "markov", "diffusion.forward: 'markov': needs a variance-preserving schedule"),
        ("samplers", ["ancestral"], "sampler_options.ancestral.method: 'ancestral': needs a variance-preserving"),
        ("curve.sampler", "posterior", "sampler_options.posterior.method: 'posterior': needs a variance-preserving"),
    ],
)
def test_what_needs_betas_is_refused_without(content, name, path, value, words):
    """It is allowed with a schedule that has them, and listed without being used."""
    content["samplers"] = ["auto"]
    set_key(content, path, value)
    parse_params(content)
    content["schedule"]["name"] = name
    with pytest.raises(InputError, match=words):
        parse_params(content)


def test_the_schedules_without_betas_are_allowed(content):
    content["samplers"] = ["auto"]
    for name in ("rectified_flow", "edm_ve", "stable"):
        content["schedule"]["name"] = name
        assert parse_params(content).schedule.name == name


def test_eps_and_zero_terminal_snr_need_a_schedule_that_allows_them(content):
    content["schedule"]["name"], content["diffusion"]["objective"] = "rectified_flow", "eps"
    with pytest.raises(InputError, match=r"diffusion\.objective: 'eps' cannot be used"):
        parse_params(content)
    content["schedule"]["name"], content["schedule"]["zero_terminal_snr"] = "edm_ve", True
    with pytest.raises(InputError, match=r"schedule\.zero_terminal_snr: not with 'edm_ve'"):
        parse_params(content)


def test_params_of_older_versions_have_the_defaults(content):
    for key in ("sigma_min", "sigma_max", "rho", "alpha"):
        del content["schedule"][key]
    assert parse_params(content).schedule.model_dump(include={"sigma_min", "sigma_max", "rho", "alpha"}) == {
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "rho": 7.0,
        "alpha": 1.8,
    }


def test_preconditioning_needs_x0(content):
    content["diffusion"] |= {"preconditioning": "edm", "objective": "v"}
    with pytest.raises(InputError, match=r"diffusion\.preconditioning: 'edm' turns the network's output into x_0; use"):
        parse_params(content)
    content["diffusion"]["objective"] = "x0"
    assert parse_params(content).diffusion.preconditioning == "edm"


@pytest.mark.parametrize(
    ("section", "changes", "line"),
    [
        ("diffusion", {"preconditioning": "edm", "objective": "v"}, "  diffusion.preconditioning: 'edm' turns"),
        ("diffusion", {"time_mean": 0.5}, "  diffusion.time_mean: 0.5 has no effect"),
        ("schedule", {"sigma_min": 100.0}, "  schedule.sigma_min: 100.0 must be below"),
    ],
)
def test_a_key_is_named_once(content, section, changes, line):
    content[section].update(changes)
    with pytest.raises(InputError) as caught:
        parse_params(content)
    assert str(caught.value).splitlines()[1].startswith(line)


def test_the_seed_of_everything_else_adds_nothing_to_a_label():
    assert trainings_of(["gaussian", "laplace"], [0, 12], 0) == {
        "gaussian": ("gaussian", 0),
        "gaussian-s12": ("gaussian", 12),
        "laplace": ("laplace", 0),
        "laplace-s12": ("laplace", 12),
    }
    assert list(trainings_of(["laplace"], [0, 1], 1)) == ["laplace-s0", "laplace"]


def test_each_training_has_its_noise_its_seed_and_a_sampling_seed_of_its_own(content):
    content |= {"noises": ["gaussian", "laplace"], "seed": 2, "seeds": [2, 0, 5]}
    content["sample"]["seed"] = 1
    params = parse_params(content)
    assert params.training_labels == [
        *("gaussian", "gaussian-s0", "gaussian-s5"),
        *("laplace", "laplace-s0", "laplace-s5"),
    ]
    assert params.training("laplace-s5") == ("laplace", 5)
    assert params.labels_of("laplace") == ["laplace", "laplace-s0", "laplace-s5"]
    seeds = {label: params.sample_seed(label) for label in params.training_labels}
    assert seeds["laplace"] == 1  # sample.seed, as without further seeds
    assert len({seeds[label] for label in params.labels_of("laplace")}) == 3
    assert all(0 <= seed < 2**63 for seed in seeds.values())
    assert [seeds[label] for label in params.labels_of("gaussian")] == [
        seeds[label] for label in params.labels_of("laplace")
    ]


def test_the_gaussian_is_found_by_its_distribution(content):
    options = {"a": {"distribution": "laplace"}, "b": {"distribution": "gaussian"}}
    content |= {"noises": ["a", "b"], "noise_options": options}
    assert parse_params(content).gaussian == "b"
    assert parse_params({**content, "noises": ["a"]}).gaussian is None


@pytest.mark.parametrize("key", ["size", "nfiles"])
def test_options_that_dvcs_run_cache_does_not_see_are_refused(content, key):
    """It would give the results of another value of them (`dict_filter` in dvc/utils, called by dvc/stage/cache.py)."""
    noise = {**content["noise_options"], "laplace": {"distribution": "laplace", "more": {key: 3}}}
    with pytest.raises(InputError, match=rf"noise_options\.laplace\.more\.{key}: .* another name"):
        parse_params({**content, "noise_options": noise})
    parts = [{"distribution": "gaussian"}, {"distribution": "of_mine", key: 3}]
    noise = {**content["noise_options"], "laplace": {"distribution": "mixture", "parts": parts}}
    with pytest.raises(InputError, match=rf"noise_options\.laplace\.parts\[1\]\.{key}: "):
        parse_params({**content, "noise_options": noise})
    with pytest.raises(InputError, match=rf"network\.options\.{key}"):
        parse_params({**content, "network": {"kind": "dit", "options": {key: 3}}})


@pytest.mark.parametrize(("key", "value"), [("seeds", [0, 1]), ("seed", 1), ("noises", ["laplace"])])
def test_a_file_whose_trainings_do_not_fit_is_refused_with_those_that_do(content, tmp_path, key, value):
    """DVC reads `trainings`. A file that was changed by hand would train something else than it says."""
    path = tmp_path / "params.yaml"
    YAML().dump({**content, key: value}, path)
    with pytest.raises(InputError, match="trainings: does not fit noises, seeds and seed") as caught:
        load_params(path)
    made = caught.value.args[0].partition("set trainings to ")[2]
    YAML().dump({**content, key: value, "trainings": literal_eval(made)}, path)
    assert getattr(load_params(path), key) == value


def test_params_of_a_version_without_seeds_have_one_training_with_seed(content):
    made = content.pop("trainings")
    del content["seeds"]
    content["seed"] = 3
    params = parse_params(content)
    assert params.seeds == [3]
    assert params.training_labels == list(made)
    assert {params.training(label).seed for label in made} == {3}


def test_params_of_a_version_without_the_choice_of_networks_and_scores_mean_what_they_did(content):
    now = parse_params(content)
    del content["network"]
    for key in ("dinov2_weights", "resizing", "inception_score", "extrapolate"):
        del content["evaluate"][key]
    assert parse_params(content) == now
