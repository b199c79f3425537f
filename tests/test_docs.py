"""What the documentation says is true: commands and code blocks run, files and links exist.

Commands of `ngldm`, single stages and Python blocks run in a workspace in which every stage has run with tiny settings.
What takes longer than a minute (`dvc`, servers, downloads) is only parsed, and its params are checked.
"""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from benchmarks.fid import random_inception
from ngldm import noise
from ngldm.io.errors import InputError
from ngldm.model import Model, load_model
from ngldm.networks.autoencoders.build import AUTOENCODERS
from ngldm.networks.build import NETWORKS
from ngldm.noise import registry as noise_registry
from ngldm.pipeline.cli.main import app
from ngldm.pipeline.cli.reference_page import reference
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import load_params

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readmes_own_distribution_works_as_typed(monkeypatch):
    monkeypatch.setattr(noise_registry, "REGISTRY", dict(noise_registry.REGISTRY))
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "@register" in b)
    exec(block, {})
    made = noise_registry.make_noise("student_t_5")
    count = 200_000
    x = made.sample((count,), torch.Generator().manual_seed(0), dtype=torch.float64)
    # The sample mean's standard error is n^-1/2, the sample variance's sqrt((kurtosis + 2) / n).
    assert abs(float(x.mean())) < 5 * count**-0.5
    assert abs(float(x.var()) - 1) < 5 * ((made.excess_kurtosis + 2) / count) ** 0.5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} points at {target}"


TO_WRITE = {
    "conf/noise/half_normal.yaml",
    "conf/noise/student_t_5.yaml",
    "conf/noise/two_gammas.yaml",
    "conf/network/small_conv.yaml",
    "conf/search/<name>.yaml",
    "conf/tuned/<noise>.yaml",
    "stages/<stage>.py",
    "tests/<folder>/test_<module>.py",
}  # files that a reader writes; placeholders


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "reference.md"], ids=lambda page: page.name)
def test_files_that_pages_name_exist(page):
    """Everything in backticks that is a path in the repository."""
    named = set(re.findall(r"`((?:ngldm|stages|tests|conf|docs|benchmarks)/[^`\s]*)`", page.read_text())) - TO_WRITE
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_two_commands_are_lines_of_their_own():
    """.ci/run takes the second from there."""
    assert "\npip install uv && uv run dvc repro\n" in README
    assert "\npip install uv && uv run pytest\n" in README


def test_every_stage_is_described():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert all(f"`{stage}" in text for stage in STAGES)


def test_no_lock_file_no_big_file():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "uv.lock" not in tracked
    assert all((ROOT / name).stat().st_size < 1_000_000 for name in tracked)


def commands() -> list[tuple[str, str]]:
    """Page and command of every line of every sh block, without comments, environment, `xargs` and `uv run`."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            lines = [re.sub(r"\s{2,}#.*", "", line) for line in block.strip().splitlines()]
            parts = [part.strip() for line in lines for part in re.split(r";|&+| \| ", line)]
            found += [
                (page.name, re.sub(r"^([A-Z_]+=\S+ +)*(xargs( -\w \d+)+ +)?(uv run +)?", "", part))
                for part in parts
                if part
            ]
    return found


COMMANDS = commands()
assert noise.noise_names()  # registered now, not while a test has a copy of the registry in its place
OTHERS = {
    "pip",
    "uv",
    "git",
    "wait",
    "initdb",
    "pg_ctl",
    "createdb",
    "curl",
    "export",
    "sbatch",
    "grep",
}  # of the system
OTHERS |= {"python3", ".", "mkdocs"}
DEVICES = {"cuda:1": torch.cuda.device_count() > 1, "mps": torch.backends.mps.is_available()}  # and whether it is here


def of(program: str) -> list[str]:
    return sorted({line for _, line in COMMANDS if line.split()[0] == program})


def test_every_command_is_of_a_known_program():
    """So that none is left unchecked."""
    known = {"ngldm", "dvc", "python", "mlflow", "gto", "--with", "pytest", "torchrun"} | OTHERS
    assert {line.split()[0] for _, line in COMMANDS} <= known
    assert all(line.split()[1:3] == ["-m", "stages.train"] for line in of("python")), (
        "test_single_stages_run has no other"
    )


@pytest.mark.parametrize("line", of("torchrun"))
def test_torchrun_commands_parse(line):
    from torch.distributed.run import parse_args

    chosen = parse_args(shlex.split(line)[1:])
    assert (chosen.module, chosen.training_script) == (True, "stages.train")


@pytest.mark.parametrize("line", of("ngldm"))
def test_ngldm_commands_parse(line):
    import typer

    parse(typer.main.get_command(app), shlex.split(line)[1:])


@pytest.mark.parametrize("line", [*of("mlflow"), *(x.split(maxsplit=2)[2] for x in of("--with"))])
def test_mlflow_commands_parse(line):
    from mlflow.cli import cli

    parse(cli, shlex.split(line)[1:])


def parse(command, arguments: list[str]) -> None:
    """As the program itself does, down to the last subcommand; nothing is run."""
    context = command.make_context(command.name or "", list(arguments), resilient_parsing=False)
    rest = [*getattr(context, "_protected_args", []), *context.args]
    if rest and hasattr(command, "resolve_command"):
        _, inner, left = command.resolve_command(context, rest)
        parse(inner, left)


@pytest.mark.parametrize("line", of("dvc"))
def test_dvc_commands_parse_and_their_params_are_valid(line, tmp_path, monkeypatch):
    from dvc.cli import parse_args

    monkeypatch.chdir(ROOT)
    arguments = parse_args(shlex.split(line)[1:])
    stages = {target.split("@")[0] for target in getattr(arguments, "targets", None) or ()} - {None}
    if "repro" in line or "exp run" in line:
        assert stages <= set(STAGES)
    for overrides in sweep(getattr(arguments, "set_param", None) or []):
        params = tmp_path / "params.yaml"
        if any(name in override for override in overrides for name in ("student_t_5", "half_normal", "small_conv")):
            continue  # distributions and a network of the pages, which only their packages have
        compose_params(params, overrides)
        check_noises(load_params(params))


def sweep(overrides: list[str]) -> list[list[str]]:
    """Every combination of a sweep's values: noise=a,b is two."""
    if not overrides:
        return []
    combinations: list[list[str]] = [[]]
    for override in overrides:
        key, _, value = override.partition("=")
        values = [value] if value.startswith(("[", "'")) else value.split(",")
        combinations = [[*done, f"{key}={choice}"] for done in combinations for choice in values]
    return combinations


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Where every stage has run once, with the noises that the pages name; in one process, for imports take longest."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("conf", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        compose_params(Path("params.yaml"), ["recipe=smoke", f"noises=[{','.join(NOISES)}]", "+train.ema.snapshots=4"])
        params = load_params()
        for stage, entry in STAGES.items():
            function = getattr(import_module(f"stages.{stage}"), stage)
            device = {"device": "cpu"} if "device" in inspect.signature(function).parameters else {}
            axes = {"noise": params.training_labels, "sampler": params.samplers}
            for labels in product(*(axes[key] for key in entry.get("matrix", ["noise"] if "foreach" in entry else []))):
                function(*labels, **device)
        shutil.copytree("models/laplace", "models/laplace-s1")  # the model of a second seed
        with_classes(load_model("models/laplace/model.safetensors")).save(Path("models/gaussian/model.safetensors"))
        # What the pages have by then: a model from `dvc artifacts get`, two folders of images, Inception's weights, and
        # a pipeline of diffusers.
        shutil.copy("models/laplace/model.safetensors", "laplace.safetensors")
        for name, noise in (("folder1", "laplace"), ("folder2", "gumbel")):
            app(shlex.split(f"generate --noise {noise} --num-images 3 --out {name}"), standalone_mode=False)
        random_inception(folder).rename("pt_inception.pth")
        small_ddpm().save_pretrained("ddpm-folder")
    finally:
        os.chdir(before)
    return folder


def with_classes(model: Model) -> Model:
    """An untrained model of the digits' classes, which the pages call `gaussian`."""
    classes = {"names": list("0123456789"), "counts": [150] * 10, "label_dropout": 0.1}
    return Model.build({**model.config, "classes": classes}, model.autoencoder, model.statistics, model.extent)


def small_ddpm() -> DDPMPipeline:
    levels = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(8, 3, 3, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **levels)
    return DDPMPipeline(unet=unet, scheduler=DDPMScheduler())


NOISES = ("laplace", "gumbel")


def missing_device(line: str) -> str | None:
    """The device that a command asks for and this machine does not have."""
    return next((device for device, is_here in DEVICES.items() if device in line.split() and not is_here), None)


@pytest.mark.parametrize("line", of("ngldm"))
def test_ngldm_commands_run(line, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    arguments = shlex.split(line)[1:]
    if device := missing_device(line):
        with pytest.raises(InputError, match=f"device '{device}'"):
            app(arguments, standalone_mode=False)
        return
    app(arguments, standalone_mode=False)
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", of("python"))
def test_single_stages_run(line, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    _, _, module, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        import_module(module).main()
    if device := missing_device(line):
        assert ended.value.code == 2
        assert f"device '{device}'" in capsys.readouterr().err
    else:
        assert ended.value.code == 0


BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{index}")
    for page in PAGES
    if page.name != "python.md"  # test_init.py runs its blocks
    for index, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block, workspace, monkeypatch):
    """In the root folder of a repository: MLflow finds the store there, as the pages say."""
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(noise_registry, "REGISTRY", dict(noise_registry.REGISTRY))
    for registry in (NETWORKS, AUTOENCODERS):
        monkeypatch.setattr(registry, "entries", dict(registry.entries))
    exec(block, {})


def test_the_loop_with_diffusers_learns_the_grey_squares_of_its_page():
    page = (ROOT / "docs" / "howto-diffusers.md").read_text()
    torch.manual_seed(0)
    made = {}
    exec(next(b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "optimizer" in b), made)
    assert made["x"].std((1, 2, 3)).max() < 0.2  # an image of the data has one grey; x_T has deviation 1
    assert made["x"].abs().max() < 1.2


def test_yaml_blocks_of_noises_compose(tmp_path, monkeypatch):
    """The files of conf/noise/ that the pages print, put where they say."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noise_registry, "REGISTRY", dict(noise_registry.REGISTRY))
    pages = [README, (ROOT / "docs" / "howto-noise.md").read_text()]
    for page in pages:
        exec(next(b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "@register" in b), {})
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    assert len(blocks) > 2
    for index, block in enumerate(blocks):
        (tmp_path / "conf" / "noise" / f"block{index}.yaml").write_text(block)
        compose_params(tmp_path / "params.yaml", [f"noise=block{index}"])
        check_noises(load_params(tmp_path / "params.yaml"))


def test_the_reference_equals_the_code():
    assert (ROOT / "docs" / "reference.md").read_text() == reference(ROOT), (
        "run: python -m ngldm.pipeline.cli.reference_page"
    )


def test_the_reference_has_every_param_that_stages_read():
    from ngldm.pipeline.tracking.comparison import flatten

    page = (ROOT / "docs" / "reference.md").read_text()
    sections = {"dataset", "autoencoder", "latents", "schedule", "diffusion", "network", "unet", "train", "sample"}
    content = load_params(ROOT / "params.yaml").model_dump(include=sections | {"evaluate"})
    assert all(f"| `{key}` |" in page for key in flatten(content))


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(f"]({page.name}" in index for page in PAGES if page.name not in ("README.md", "index.md"))
    assert "(docs/index.md)" in README
