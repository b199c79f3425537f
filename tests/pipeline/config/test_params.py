"""params.yaml: composed from conf/, validated as a whole, with errors that name key, value and choices."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from ngldm.data.sources.registry import SOURCES
from ngldm.diffusion.forward import FORWARDS
from ngldm.diffusion.objective import OBJECTIVES, WEIGHTINGS
from ngldm.diffusion.schedules import SCHEDULES
from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.build import KINDS
from ngldm.networks.unet import TIME_EMBEDDINGS
from ngldm.pipeline.config import params as params_module
from ngldm.pipeline.config import samplers as param_samplers
from ngldm.pipeline.config import sections as param_sections
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import check_noises, describe, load_params, parse_params
from ngldm.sampling.samplers import SAMPLERS
from ngldm.scoring.features.extractor import EXTRACTORS
from ngldm.training.loop import FitConfig


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


def compose(path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, Any]:
    monkeypatch.chdir(root)
    compose_params(path, list(overrides))
    loaded: dict[str, Any] = YAML(typ="safe").load(path)
    return loaded


def test_tracked_file_equals_the_composition(content, tmp_path, root, monkeypatch):
    """`dvc repro` on the tracked file and `dvc exp run` without overrides are the same pipeline."""
    assert compose(tmp_path / "params.yaml", root, monkeypatch) == content


def group_files() -> list[str]:
    conf = Path(__file__).parents[3] / "conf"
    return sorted(f"{f.parent.name}={f.stem}" for f in conf.glob("*/*.yaml"))


@pytest.mark.parametrize("override", group_files())
def test_every_group_file_composes_to_valid_params(override, tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    source = ["dataset.source=photos"] if override == "dataset=image_folder" else []
    compose(path, root, monkeypatch, override, *source)
    check_noises(load_params(path))


def test_the_gpu_study_compares_five_noises_and_two_schedules_on_cifar10(tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    compose(path, root, monkeypatch, "recipe=study_gpu")
    params = load_params(path)
    noises = {"gaussian", "laplace", "exponential", "uniform", "gumbel"}
    pairs = {
        (v.noise["distribution"], v.schedule.get("name", params.schedule.name)) for v in params.study.variants.values()
    }
    assert pairs == {(noise, schedule) for noise in noises for schedule in ("linear", "cosine")}
    assert len(params.study.variants) == 10
    assert (params.study.train_seeds, params.study.sample_seeds) == (3, 3)
    assert (params.dataset.name, params.autoencoder.kind, params.evaluate.extractor) == ("cifar10", "kl", "inception")


def test_one_noise_leaves_one_noise(tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, "noise=laplace")
    assert composed["noises"] == ["laplace"]
    assert list(composed["noise_options"]) == ["laplace"]


def test_command_line_wins_over_the_recipe(tmp_path, root, monkeypatch):
    composed = compose(tmp_path / "params.yaml", root, monkeypatch, "recipe=smoke", "train.max_steps=7")
    assert composed["train"]["max_steps"] == 7
    assert composed["recipe"] == "smoke"


@pytest.mark.parametrize("overrides", [["noise=cauchyy"], ["dataset=imagenet"], ["sampler=euler"], ["trian.lr=1"]])
def test_hydra_errors_become_input_errors_and_leave_the_file(overrides, tmp_path, root, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text("untouched")
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=overrides[0].split("=")[0].split(".")[0]):
        compose_params(path, overrides)
    assert path.read_text() == "untouched"
    assert list(tmp_path.iterdir()) == [path]


BAD = [
    # key path, value, words that the message must contain
    ("dataset.name", "imagenet", ["'imagenet'", "'digits'"]),
    ("dataset.test_size", 0, ["dataset.test_size", "0", "greater than 0"]),
    ("autoencoder.kind", "vq", ["'vq'", "'paper'", "'kl'", "'identity'"]),
    ("autoencoder.width", -8, ["autoencoder.width", "-8", "greater than 0"]),
    ("autoencoder.kl_weight", -1.0, ["autoencoder.kl_weight", "-1.0"]),
    ("autoencoder.fit.lr", 0.0, ["autoencoder.fit.lr", "0.0", "greater than 0"]),
    ("schedule.name", "exponential", ["'exponential'", "'linear'", "'cosine'"]),
    ("schedule.beta_end", 1.0, ["schedule.beta_end", "1.0", "less than 1"]),
    ("schedule.num_train_timesteps", 0, ["schedule.num_train_timesteps", "0"]),
    ("unet.widths", [], ["unet.widths", "at least 1"]),
    ("unet.widths", [32, -64], ["unet.widths.1", "-64"]),
    ("unet.attention_levels", [5], ["unet.attention_levels", "5", "2 widths"]),
    ("unet.attention_head_dim", 7, ["unet.attention_head_dim", "7"]),
    ("unet.time_embedding", "fourier", ["'fourier'", "'sinusoidal'", "'siren'"]),
    ("unet.dropout", 1.0, ["unet.dropout", "1.0", "less than 1"]),
    ("train.lr", -0.001, ["train.lr", "-0.001", "greater than 0"]),
    ("train.lr", "fast", ["train.lr", "'fast'", "valid number"]),
    ("train.batch_size", 0, ["train.batch_size", "0"]),
    ("train.batch_size", 12.5, ["train.batch_size", "12.5", "integer"]),
    ("train.max_steps", "1000", ["train.max_steps", "'1000'", "integer"]),
    ("train.precision", "fp16", ["'fp16'", "'fp32'", "'bf16'"]),
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
    ("sampler_options.ancestral.step_noise", "x_T", ["ancestral.step_noise", "'x_T'", "own|gaussian|averaged"]),
    ("sampler_options.ddim.x0_limit", 2.0, ["sampler_options.ddim.x0_limit", "clip and dynamic have it"]),
    ("sampler_options.ddim.x0_handling", "cut", ["ddim.x0_handling", "'cut'", "'clip'", "'range'"]),
    ("sampler_options.ddim.choices", {}, ["sampler_options.ddim.choices", "method 'auto' alone"]),
    ("sampler_options.auto.choices", {}, ["sampler_options.auto.choices", "at least an entry `default`"]),
    ("sampler_options.auto.num_inference_steps", 5, ["auto.num_inference_steps", "not an option of method 'auto'"]),
    (
        "sampler_options.auto.choices.laplace",
        {"method": "auto", "choices": {"default": {"method": "ddim", "num_inference_steps": 5}}},
        ["sampler_options.auto.choices", "cannot be 'auto' itself"],
    ),
    (
        "sampler_options.auto.choices.default.num_inference_steps",
        1001,
        ["auto.choices.default.num_inference_steps", "1001", "num_train_timesteps = 1000"],
    ),
    ("diffusion.gamma", 0.0, ["diffusion.gamma", "0.0", "greater than 0"]),
    ("sample.num_images", -1, ["sample.num_images", "-1"]),
    ("sample.seed", 10**12, ["sample.seed", "1000000000000", "less than 1000000000000"]),
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
    ("trian", {"lr": 1}, ["trian", "unknown key", "train"]),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD, ids=[f"{path}={value}" for path, value, _ in BAD])
def test_bad_value_is_named_with_what_is_allowed(content, path, value, words):
    set_key(content, path, value)
    with pytest.raises(InputError) as caught:
        parse_params(content)
    for word in words:
        assert word in str(caught.value)


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


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"params\.yaml"):
        load_params(path)


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


@pytest.mark.parametrize(
    ("section", "field", "registry"),
    [
        (param_sections.DatasetParams, "name", SOURCES),
        (param_sections.AutoencoderParams, "kind", KINDS),
        (param_sections.ScheduleParams, "name", SCHEDULES),
        (param_sections.UNetParams, "time_embedding", TIME_EMBEDDINGS),
        (param_samplers.SamplerOptions, "method", {"auto", *SAMPLERS}),
        (param_sections.DiffusionParams, "forward", FORWARDS),
        (param_sections.DiffusionParams, "objective", OBJECTIVES),
        (param_sections.DiffusionParams, "weighting", WEIGHTINGS),
        (param_sections.EvaluateParams, "extractor", EXTRACTORS),
    ],
)
def test_choices_equal_what_the_core_offers(section, field, registry):
    assert set(get_args(section.model_fields[field].annotation)) == set(registry)


def test_fit_section_has_what_the_training_loop_reads():
    assert set(param_sections.Fit.model_fields) == set(FitConfig.__annotations__)


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    classes = [c for module in (param_sections, param_samplers, params_module) for c in vars(module).values()]
    return list({c: None for c in classes if isinstance(c, type) and issubclass(c, model) and c is not model})


@pytest.mark.parametrize("section", sections(param_sections.Section), ids=lambda s: s.__name__)
def test_every_value_says_what_it_means(section):
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert field.description or is_section or name == "sampler_options", f"{section.__name__}.{name}"


def test_describe_lists_every_leaf(content):
    lines = describe(parse_params(content))
    assert any(line.startswith("train.lr: ") and "learning rate" in line for line in lines)
    assert any(line.startswith("sampler_options.ddim.eta: 0.0") for line in lines)
