"""Bad values in params.yaml and on the command line: a short message, exit code 2, in little time, nothing changed."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from ngldm.io.errors import InputError
from ngldm.pipeline.config.networks import check_networks
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.config.reading.text import read_yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("in_time")
LONGEST = 600  # characters of a message; a line for each fault
HUGE = 10**12
DEEP = "[" * 100_000

POINTS = {"name": "points", "source": "x.npy", "test_size": 60, "transform": "none"}
LAW = {"dim": 2, "tails": "gaussian", "shared": False, "weights": [1.0], "radius": 0.0, "scale": 1.0}
FOLDER = {"name": "image_folder", "source": ".", "size": 8, "channels": 3, "min_side": 1, "on_error": "fail"}

PASSING = {"size": 8, "channels": 3, "min_side": 1, "on_error": "fail", "keep_pixels": True, "test_size": 9}
HUB = {"name": "huggingface", "source": "conf", "train_split": "train", "image": "image", **PASSING}
SHARDS = {"name": "webdataset", "source": "conf", "shards": "a.tar", "image": "png", **PASSING}
DIT = {"patch_size": 2, "width": 96, "depth": 4, "head_dim": 32, "mlp_ratio": 4, "dropout": 0.0}
UNET2D = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}

# Of params.yaml: dotted key, value. A key that ends in "+" is added.
VALUES: list[tuple[str, object]] = [
    *((f"{section}.fit.{key}", value) for section in ("autoencoder", "reference") for key, value in {
        "max_steps": HUGE, "batch_size": 0, "lr": float("nan"), "ema_decay": 1.0, "grad_clip": float("inf"),
        "precision": "fp64",
    }.items()),
    *((f"{section}.lr", value) for section in ("train", "autoencoder.fit", "reference.fit") for value in (
        1e300, 1001.0, 10**400, -1e300,
    )),
    *((key, value) for value in (1e300, 10**400) for key in (
        "train.weight_decay", "train.grad_clip", "autoencoder.kl_weight", "diffusion.gamma", "diffusion.time_mean+",
        "diffusion.time_shift", "schedule.sigma_max", "schedule.rho", "sampler_options.ancestral.x0_limit+",
        "sampler_options.ancestral.guidance_sigma_max+",
    )),
    *((key, value) for value in ("", " ", "a\0b", "a\nb", "x" * 5000) for key in (
        "evaluate.dinov2_weights", "evaluate.inception_weights", "recipe", "experiment", "dataset.source",
        "network.kind", "autoencoder.kind", "sampler_options.ancestral.start_noise+",
        "sampler_options.ancestral.step_noise+",
    )),
    *(("dataset", {**HUB, key: value}) for value in ("", "a\0b") for key in (
        "hub", "subset", "train_split", "test_split", "image", "label", "revision",
    )),
    *(("dataset", {**SHARDS, key: value}) for value in ("", "a\0b") for key in (
        "shards", "test_shards", "image", "label",
    )),
    ("dataset", {"name": "cifar10", "source": "conf", "mirror": ""}),
    ("dataset", {"name": "cifar10", "source": "conf", "mirror": "https://a\0b/"}),
    ("dataset", {**POINTS, "law": {**LAW, "scale": 1e300}, "train_size": 99}),
    ("dataset", {**POINTS, "law": {**LAW, "radius": 1e300}, "train_size": 99}),
    *(("study.data+", {"a": data}) for data in ({"law": {"scale": 2.0}}, {"x": 1}, {"transform": "none"})),
    *(("seed", value) for value in (-1, 2**64, 1.5, "0", None, True, [0], float("inf"))),
    *(("seeds", value) for value in ([], [-1], [0, 0], "0", [2**64], list(range(2000)), {}, [None])),
    *(("experiment", value) for value in ("", "../../x", "a/b", "-x", "a\0", None, 3, ["x"], "x" * 10_000)),
    *(("noises", value) for value in ([], ["cauchy"], "laplace", ["laplace", "laplace"], [None], [["laplace"]], {})),
    *(("samplers", value) for value in ([], ["euler"], ["auto", "auto"], None, 7, [{}])),
    *(("schedule.num_train_timesteps", value) for value in (0, -5, HUGE, 10**6 + 1, 1.0, "1000", None)),
    *(("schedule.name", value) for value in ("", "COSINE", None, "../cosine", 3)),
    *(("schedule.beta_start", value) for value in (0.0, 1.0, -1.0, float("nan"), "x", 10**400)),
    ("schedule.degree", -1), ("schedule.degree", HUGE), ("schedule.rho", 0.0), ("schedule.alpha", 1.0),
    *(("diffusion.objective", value) for value in ("x1", None, "", ["eps"])),
    ("diffusion.forward", "both"), ("diffusion.gamma", -1.0), ("diffusion.gamma", float("nan")),
    ("diffusion.time_shift", 0.0), ("diffusion.coupling", "optimal"), ("diffusion.unknown+", 1),
    *(("unet.widths", value) for value in ([], [0], [-8], [HUGE], [24.5], "24", [24] * 1000, [1, 48], None)),
    *(("unet.blocks_per_level", value) for value in (0, 10**6, -1, 1.5, None)),
    *(("unet.attention_levels", value) for value in ([9], [-1], ["1"], None, [10**9])),
    ("unet.attention_head_dim", 0), ("unet.attention_head_dim", 7), ("unet.dropout", 1.0), ("unet.dropout", -0.1),
    ("mlp.width", HUGE), ("mlp.depth", 10**6), ("mlp.depth", 0),
    *(("autoencoder.levels", value) for value in (0, 10**6, 5, -1, 16)),
    ("autoencoder.width", HUGE), ("autoencoder.latent_channels", HUGE), ("autoencoder.kind", "vae"),
    ("autoencoder.kind", "../x"), ("autoencoder.kl_weight", -1.0), ("autoencoder.options+", {"x": 1}),
    *(("network.kind", value) for value in ("", "unet3d", "../x", None, "mlp")),
    ("network.options", {"x": 1}), ("network.options", []),
    *(("train.batch_size", value) for value in (0, HUGE, -64, "64", 64.0)),
    ("train.max_steps", 0), ("train.max_steps", 10**10), ("train.accumulate_steps", 7), ("train.accumulate_steps", 0),
    ("train.lr", 0.0), ("train.lr", float("inf")), ("train.snapshot_every", 7), ("train.snapshot_every", 10**12),
    ("train.export", "first"), ("train.compile", "yes"), ("train.optimizer+", "lion"), ("train.log_every", 0),
    *(("sample.num_images", value) for value in (0, 1, 10**9, -1, "all", 1e3)),
    ("sample.batch_size", 0), ("sample.batch_size", HUGE), ("sample.seed", 2**63), ("sample.seed", -1),
    ("sample.trajectory_images", 10**9), ("sample.trajectory_frames", 1), ("sample.trajectory_frames", 10**9),
    *(("evaluate.extractor", value) for value in ("vgg", None, "points")),
    ("evaluate.kid_subset_size", 1), ("evaluate.kid_subsets", HUGE), ("evaluate.neighbours", 10**9),
    ("evaluate.batch_size", 0), ("evaluate.inception_score", True), ("evaluate.fid_protocol", "mine"),
    ("curve.sampler", "none"), ("curve.sampler", "../x"), ("curve.num_images", 1), ("curve.num_images", HUGE),
    *(("latents.batch_size", value) for value in (0, HUGE, None)),
    ("latents.dtype", "int8"), ("latents.dtype", "float16"),
    *(("dataset.source", value) for value in ("", None, "???", "~/images", 5, ["a"])),
    *(("dataset.name", value) for value in ("mnist", "../digits", None, "")),
    ("dataset.test_size", 0), ("dataset.test_size", -3), ("dataset.test_size", HUGE), ("dataset.seed", -1),
    ("dataset.seed", 2**70), ("dataset.size+", 8), ("dataset.mirror+", "x"), ("dataset.long_tail+", 2.0),
    ("dataset", {**FOLDER, "size": 10**6}), ("dataset", {**FOLDER, "size": 0}), ("dataset", {**FOLDER, "channels": 4}),
    ("dataset", {**FOLDER, "on_error": "ignore"}), ("dataset", {**FOLDER, "min_side": HUGE}), ("dataset", []),
    ("dataset", {**POINTS, "train_size": 9}), ("dataset", {**POINTS, "law": LAW}),
    ("dataset", {**POINTS, "law": {**LAW, "dim": 10**9}, "train_size": 99}),
    ("dataset", {**POINTS, "law": {**LAW, "dim": 60_000}, "train_size": 10**7}),
    ("dataset", {**POINTS, "law": {**LAW, "weights": []}, "train_size": 99}),
    ("dataset", {**POINTS, "law": {**LAW, "scale": 0.0}, "train_size": 99}),
    ("study.train_seeds", 10**9), ("study.workers", 0), ("study.workers", 10**6), ("study.num_images", 1),
    ("study.scores", ["nothing"]), ("study.variants", {"a": {"noise": {"distribution": "laplace"}}}),
    ("study.variants", {"../x": {"noise": {"distribution": "laplace"}}}), ("study.samplers", {"a b": {}}),
    ("recipe", "../x"), ("recipe", ""), ("trainings", {}), ("trainings", []), ("trainings", {"x": 1}),
    *(("network", {"kind": "dit", "options": {**DIT, key: value}}) for key, value in (
        ("patch_size", 0), ("patch_size", "2"), ("width", 95), ("width", HUGE), ("depth", HUGE), ("depth", [4]),
        ("head_dim", 0), ("head_dim", 7), ("mlp_ratio", float("nan")), ("dropout", 1.0), ("dropout", "x"), ("x", 1),
    )),
    *(("network", {"kind": "diffusers_unet2d", "options": {**UNET2D, key: value}}) for key, value in (
        ("block_out_channels", []), ("block_out_channels", [HUGE, HUGE]), ("block_out_channels", [8] * 60),
        ("layers_per_block", HUGE), ("layers_per_block", 0), ("norm_num_groups", 0), ("norm_num_groups", 7),
        ("down_block_types", ["X", "Y"]), ("act_fn", "x"), ("time_embedding_type", "x"), ("dropout", 5),
        ("norm_eps", "x"), ("sample_size", 8), ("x", 1),
    )),
    *(("network", {"kind": "auto", "options": {}, "num_classes": "auto", "label_dropout": value}) for value in (
        1.5, -0.1, float("nan"), "x",
    )),
    *(("network.num_classes+", value) for value in (1, 0, -2, "all", 2.0, True, [10])), ("network.label_dropout+", 0.1),
    *(("sampler_options.ancestral.guidance_scale+", value) for value in (-1.0, float("nan"), float("inf"), "2", 2.0)),
    ("sampler_options.ancestral.guidance_rescale+", 1.1), ("sampler_options.ancestral.guidance_sigma_max+", 0.0),
    *(("train.ema+", value) for value in (
        {"sigma_rel": []}, {"sigma_rel": [0.0]}, {"sigma_rel": [0.3]}, {"sigma_rel": [0.1, 0.1]}, {"snapshots": 0},
        {"snapshots": 201}, {"sigma_rel": "0.1"}, {"x": 1}, [], 3,
    )),
    ("latents.flips+", "yes"), ("latents.flips+", True), ("evaluate.resizing", "best"), ("evaluate.extrapolate", 1),
    ("unknown+", 1), ("reference.dim", HUGE), ("reference.width", 0), ("mlp", None), ("train", []), ("unet", "small"),
]  # fmt: skip
NOISES: list[dict[str, object]] = [
    {"distribution": "averaged", "n": HUGE}, {"distribution": "averaged", "n": 0},
    {"distribution": "averaged", "n": 10**6}, {"distribution": "averaged", "n": 2.5},
    {"distribution": "averaged", "n": 1000, "base": {"distribution": "averaged", "n": 1000}},
    {"distribution": "averaged", "base": "laplace"}, {"distribution": "averaged", "base": {"distribution": "x"}},
    {"distribution": "binomial", "n": HUGE}, {"distribution": "binomial", "p": 1.0},
    {"distribution": "poisson", "rate": 0},
    {"distribution": "poisson", "rate": 1e300}, {"distribution": "student_t", "df": 2.0},
    {"distribution": "student_t", "df": float("nan")}, {"distribution": "gamma", "concentration": -1},
    {"distribution": "gamma", "concentration": "2"}, {"distribution": "weibull", "k": 0},
    {"distribution": "lognormal", "sigma": 100.0}, {"distribution": "truncated", "bound": 1e-9},
    {"distribution": "covariance", "path": "/nowhere.npy"}, {"distribution": "covariance", "path": "../../etc/passwd"},
    {"distribution": "laplace", "scale": 2}, {"distribution": "../laplace"}, {"distribution": ""},
    {"distribution": None}, {}, {"distribution": "cauchy"}, {"distribution": "gaussian_mixture", "means": "x"},
    {"distribution": "mixture", "weight": 2.0}, {"distribution": "mixture", "first": [1]},
]  # fmt: skip
SAMPLERS: list[dict[str, object]] = [
    {"method": "ddim"}, {"method": "ddim", "num_inference_steps": 0}, {"method": "ddim", "num_inference_steps": HUGE},
    {"method": "ddim", "num_inference_steps": 10, "eta": 2.0}, {"method": "euler", "num_inference_steps": 10},
    {"method": "ddim", "num_inference_steps": 10, "step_noise": f"averaged:{HUGE}"},
    {"method": "ddim", "num_inference_steps": 10, "step_noise": "averaged:0"},
    {"method": "ddim", "num_inference_steps": 10, "start_noise": "averaged:-1"},
    {"method": "ddim", "num_inference_steps": 10, "start_noise": "averaged:\u0661"},
    {"method": "ddim", "num_inference_steps": 10, "x0_limit": 1.0}, {"method": "auto", "eta": 0.0}, {"method": None},
    {"method": "ddim", "num_inference_steps": 10, "variance": "beta"}, {"method": "auto", "choices": {"../x": {}}},
    {"method": "auto", "choices": {"laplace": {"method": "auto"}}}, {},
    {"method": "posterior", "num_inference_steps": 9,
    "refresh": float("nan")}, {"method": "heun", "num_inference_steps": 5, "timestep_spacing": "log"},
]  # fmt: skip
TEXTS: dict[str, str | bytes] = {
    "empty": "", "a list": "- 1\n", "a word": "word", "not yaml": "a: [", "a tab": "a:\n\t- b", "deep lists": DEEP,
    "deep and closed": f"a: {DEEP}{']' * 100_000}", "deep mappings": "{a: " * 100_000, "deep dashes": "- " * 100_000,
    "bytes": b"\xff\xfe\x00\x80", "a zero": "a: \0", "no such date": "a: 2020-99-99", "a loop": "a: &a [*a]",
    "twice": "seed: 1\nseed: 2\n", "a tag of Python": "!!python/object/apply:os.system ['true']",
    "two texts": "a: 1\n---\nb: 2",
    "a number of many digits": f"seed: {'9' * 5000}", "a key that is a number": "1: 2",
    "a key that is a list": "? [a]\n: 1",
    "laughs": "a: &a [1,1]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghi")),
}  # fmt: skip


def check(path: Path) -> None:
    params = load_params(path, "params.yaml")
    check_networks(params)
    check_noises(params)


def put(content: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    *parents, last = key.removesuffix("+").split(".")
    changed = copy.deepcopy(content)
    section = changed
    for parent in parents:
        section = section[parent]
    assert key.endswith("+") or last in section, f"{key} is not in params.yaml"
    section[last] = value
    return changed


def assert_refused(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError) as refused:
        check(path)
    message = str(refused.value)
    assert "Traceback" not in message
    assert max(map(len, message.splitlines())) <= LONGEST, message
    assert path.read_bytes() == before


@pytest.mark.parametrize(("key", "value"), VALUES, ids=[f"{k}-{str(v)[:30]}" for k, v in VALUES])
def test_a_bad_value_of_params_is_named(content: dict[str, Any], tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(put(content, key, value)))
    assert_refused(path)


@pytest.mark.parametrize("value", ["", "a\0b", "x" * 5000, 10**400, 1e300])
def test_a_bad_value_in_options_of_other_kinds_is_named(content: dict[str, Any], tmp_path: Path, value: object) -> None:
    path = tmp_path / "params.yaml"
    changed = put(put(content, "autoencoder.kind", "diffusers"), "autoencoder.options+", {"model": value})
    path.write_text(yaml.safe_dump(changed))
    assert_refused(path)
    with pytest.raises(InputError, match=r"autoencoder\.options\.model: "):
        load_params(path)


@pytest.mark.parametrize("options", NOISES, ids=str)
def test_a_bad_noise_is_named(content: dict[str, Any], tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(put(content, "noise_options.laplace", options)))
    assert_refused(path)


@pytest.mark.parametrize("options", SAMPLERS, ids=str)
def test_a_bad_sampler_is_named(content: dict[str, Any], tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(put(content, "sampler_options.ancestral", options)))
    assert_refused(path)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_params_is_refused(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / "params.yaml", TEXTS[name]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_refused(path)


def test_yaml_of_ordinary_depth_is_read() -> None:
    assert read_yaml("a: " + "[" * 40 + "]" * 40, "x") is not None
    assert read_yaml("a: &a {b: 1}\nc: *a", "x") == {"a": {"b": 1}, "c": {"b": 1}}


NUMBERS = ("0", "-1", "1.5", "x", "", "1e3", "nan", str(10**30))
COMMANDS: list[tuple[str, ...]] = [
    *(("generate", "--noise", "laplace", "--out", "new", "--num-images", number) for number in (*NUMBERS, str(10**9))),
    *(("generate", "--noise", "laplace", "--out", "new", "--batch-size", number) for number in NUMBERS),
    *(("generate", "--noise", "laplace", "--out", "new", "--seed", number) for number in (*NUMBERS[1:], str(2**63))),
    *(("generate", "--noise", "laplace", "--out", "new", "--sampler", "ddim", "--steps", number) for number in NUMBERS),
    *(("generate", "--noise", name, "--out", "new") for name in ("../x", "a/b", "", "a\nb", "none")),
    ("generate", "--noise=-x", "--out", "new"), ("generate", "--out", "new"), ("generate",),
    ("generate", "--model", "missing.safetensors", "--out", "new"),
    ("generate", "--model", "models:/x@y", "--out", "new"),
    ("generate", "--model", "http://", "--out", "new"), ("generate", "--model", ".", "--out", "new"),
    ("generate", "--noise", "laplace", "--out", "params.yaml"), ("generate", "--noise", "laplace", "--out", "conf"),
    ("generate", "--noise", "laplace", "--out", "new", "--sampler", "ddim"),
    ("generate", "--noise", "laplace", "--out", "new", "--device", "cuda:99"),
    ("generate", "--noise", "laplace", "--out", "new", "--device", "quantum"),
    ("noise", "show", "cauchy"), ("noise", "show", "../laplace"), ("noise", "show", "averaged", "-p", f"n={HUGE}"),
    ("noise", "show", "student_t", "-p", "df"), ("noise", "show", "student_t", "-p", f"df={DEEP[:9000]}"),
    ("noise", "show", "student_t", "-p", "df=.nan"), 
    ("noise", "show", "student_t", "-p", "=5"), ("noise", "show", "student_t", "-p", "df=[1, 2]"), ("noise", "show"),
    ("noise", "gallery", "x {", "--out", "a.png"), ("noise", "gallery", "--out", "a.png"),
    *(("schedule", "show", "--num-train-timesteps", number) for number in (*NUMBERS, str(10**9))),
    ("schedule", "show", "none"), ("schedule", "show", "--beta-start", "nan"),
    ("schedule", "show", "--beta-start", "2"),
    ("schedule", "show", "--degree", str(10**30)), ("schedule", "show", "--rho", "0"),
    ("schedule", "show", "--objective", "x"),
    *(("theorem1", "--steps", number) for number in NUMBERS), ("theorem1", "--noise", "cauchy"),
    ("theorem1", "--draws", str(10**12)), ("theorem1", "--num-latents", "1"), ("theorem1", "--seed", "-1"),
    ("fid", "missing", "params.yaml"), ("fid", "params.yaml", "params.yaml"), ("fid", "conf", "conf"), ("fid", "conf"),
    ("fid", "conf", "conf", "--batch-size", "0"), ("fid", "conf", "conf", "--batch-size", str(10**12)),
    ("fid", "conf", "conf", "--save", "x.txt"), ("fid", "conf", "conf", "--extractor", "vgg"),
    ("params", "-S", "seed=1"), ("params", "--compose", "-S", "seed"), ("params", "--compose", "-S", "seed=x"),
    ("params", "--compose", "-S", "recipe=../../etc/passwd"), ("params", "--compose", "-S", "noise=none"),
    ("params", "--compose", "-S", f"seed={DEEP[:50_000]}"), ("params", "--compose", "-S", "a" * 100_000),
    ("params", "--compose", "-S", f"sample.num_images={10**9}"), ("params", "--compose", "-S", "experiment=../../x"),
    ("params", "--compose", "-S", "experiment=${oc.env:HOME}"), ("params", "--compose", "-S", "seed=${nothing}"),
    ("params", "--compose", "-S", "tuned=../../x"), ("params", "--compose", "-S", "noises=[a;b]"),
    ("params", "--compose", "-S", "="),
    ("params", "--compose", "-S", "~seed"), ("params", "--compose", "-S", "+x=1"),
    ("params", "--compose", "-S", "seed=0,1"),
    ("params", "--compose", "-S", "dataset.source=/nowhere"), ("params", "--compose", "-S", "schedule.name=none"),
    ("params", "--compose", "-S", "noise_options.laplace={distribution: averaged, n: 1000000}"),
    ("params", "--compose", "-S", "noise_options=null"),
    ("search", "run", "none"), ("search", "run", "../x"), ("search", "run", "smoke", "--workers", "0"),
    ("search", "run", "smoke", "--workers", str(10**9)), ("search", "run", "smoke", "--noise", "none"),
    ("search", "show"),
    ("export", "new"), ("export", "new", "--noise", "../x"), ("export", "new", "--noise", "x", "--format", "onnx"),
    ("import", "missing", "--out", "m.safetensors"), ("import", "conf", "--out", "params.yaml"),
    ("generate", "--noise", "laplace", "--out", "x" * 300),
    ("generate", "--noise", "laplace", "--out", "params.yaml/x"),
    ("generate", "--noise", "laplace", "--out", f"new/{'x' * 250}"), ("generate", "--model", "x" * 300, "--out", "new"),
    ("generate", "--noise", "laplace", "--out", ".."), ("fid", "x" * 300, "conf"),
    ("noise", "show", "laplace", "--out", "params.yaml/x.png"),
    ("noise", "show", "laplace", "--out", f"{'x' * 300}.png"),
    *(("guidance", "--noise", "laplace", "--out", "new", *more) for more in (
        ("--num-images", "1"), ("--sampler", "ddim"), ("--steps", "0", "--sampler", "ddim"),
        ("--guidance-rescale", "2"), ("--model", "x"), ("--seed", "-1"), ("--batch-size", "0"),
    )),
    ("guidance", "--noise", "../x", "--out", "new"), ("guidance", "--noise", "laplace", "--out", "conf"),
    ("ema", "write", "--noise", "../x", "--sigma-rel", "0.1", "--out", "m"), ("ema", "write", "--sigma-rel", "0.1"),
    ("ema", "write", "--noise", "laplace", "--sigma-rel", "x", "--out", "m"),
    ("ema", "write", "--noise", "laplace", "--sigma-rel", "0.1", "--out", "params.yaml"),
    *(("ema", "sweep", "--noise", "laplace", option, value) for option, value in (
        ("--num-images", str(HUGE)), ("--num-images", "1"), ("--seed", "-1"), ("--seed", str(2**63)),
        ("--sampler", "../x"), ("--sigma-rel", "x"), ("--out", "params.yaml/t.csv"),
    )),
    ("runs", "--limit", "0"), ("runs", "--format", "xml"), ("import", "conf", "--out", "params.yaml/x"),
    ("compare", "--limit", "0"), ("nothing",), ("--nothing",), ("list",), ("list", "nothing"),
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our conf/ and params.yaml."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments)[:80])
def test_a_bad_command_is_refused(
    ngldm: Callable[..., tuple[int, str, str]],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(project)
    before = contents(project)
    code, _, stderr = ngldm(*arguments)
    assert code == 2, stderr
    assert "Traceback" not in stderr
    assert len(stderr) <= 3 * LONGEST, stderr
    assert contents(project) == before


def test_ten_thousand_nested_lists_do_not_end_the_process(tmp_path: Path) -> None:
    """In a process of its own: what this is about is a segmentation fault, which no test could catch."""
    (tmp_path / "params.yaml").write_text(DEEP)
    command = [sys.executable, "-m", "ngldm", "params"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: more than 50 lists or mappings inside each other\n"


def test_there_are_many() -> None:
    """So that the page's figure stays true."""
    assert len(VALUES) + len(NOISES) + len(SAMPLERS) + len(TEXTS) + len(COMMANDS) >= 300
