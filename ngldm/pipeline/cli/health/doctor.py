"""`ngldm doctor`: check that everything the pipeline needs is there, and say how to repair what is not."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from ngldm.data.sources.names import DOWNLOADED
from ngldm.io.device import resolve_device
from ngldm.io.errors import InputError
from ngldm.pipeline import workspace
from ngldm.pipeline.cli.health.disk import GIGABYTE, disk
from ngldm.pipeline.cli.health.finding import Finding, found_by
from ngldm.pipeline.cli.health.store import store
from ngldm.pipeline.config.params import PARAMS_FILE, Params, load_params

PYTHON = (3, 11)
COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


def doctor() -> None:
    """Check environment, GPU, params, data, weights, MLflow store, DVC and disk. Exit with 1 if something is broken."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    try:
        params = load_params()
    except InputError:
        params = None  # the check of the params says why
    failed = 0
    for name, check in CHECKS.items():
        finding = found_by(check, params)
        failed += finding.state == "FAIL"
        colour = COLOURS[finding.state]
        console.print(f"[{colour}]{finding.state:<4}[/] {name:<10} ", end="")
        console.print(finding.detail, markup=False)
        if finding.remedy:
            console.print(f"{'':<16}to repair it: {finding.remedy}", markup=False)
    print(f"{failed} of {len(CHECKS)} checks failed" if failed else "everything that is needed is here")
    if failed:
        raise typer.Exit(1)


def python(params: Params | None) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        return Finding("FAIL", version, "Python 3.11 or newer: `uv sync` fetches one")
    return Finding("ok", f"{version} at {sys.prefix}")


def packages(params: Params | None) -> Finding:
    """Whether the packages that ngldm needs are installed, in the right versions."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("ngldm") or ()]
    except PackageNotFoundError:
        return Finding("FAIL", "ngldm itself is not installed", "uv sync")
    wrong = []
    needed = [requirement for requirement in wanted if not requirement.marker or requirement.marker.evaluate()]
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    if wrong:
        return Finding("FAIL", "; ".join(wrong), "uv sync")
    return Finding("ok", f"{len(needed)} required packages in the versions asked for")


def device(params: Params | None) -> Finding:
    import torch

    wish = os.environ.get("NGLDM_DEVICE", "auto")
    try:
        target = resolve_device(wish)
    except InputError as error:
        return Finding("FAIL", f"NGLDM_DEVICE: {error}", "unset NGLDM_DEVICE, or name a device that exists")
    if target.type == "cuda":
        about = torch.cuda.get_device_properties(target)
        return Finding("ok", f"{about.name}, {about.total_memory / GIGABYTE:.0f} GB, torch {torch.__version__}")
    detail = f"{target.type}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if wish == "auto" and shutil.which("nvidia-smi"):
        return Finding("warn", f"{detail}: there is an NVIDIA driver, but torch sees no GPU", "a torch built for CUDA")
    return Finding("ok", detail)


def params_file(params: Params | None) -> Finding:
    from ngldm.pipeline.config.networks import check_networks
    from ngldm.pipeline.config.noises import check_noises

    try:
        params = load_params()
        check_networks(params)
        check_noises(params)
    except InputError as error:
        return Finding(
            "FAIL", str(error), f"edit {PARAMS_FILE}, or run `ngldm params --compose`, which writes it again"
        )
    seeds = f", seeds {', '.join(map(str, params.seeds))}" if len(params.seeds) > 1 else ""
    return Finding("ok", f"recipe {params.recipe}: {', '.join(params.noises)} with {', '.join(params.samplers)}{seeds}")


def data_set(params: Params | None) -> Finding:
    if params is None:
        return Finding("warn", "not checked without params")
    config = params.dataset
    if not Path(config.source).exists():
        return Finding(
            "FAIL", f"dataset.source: {config.source} does not exist", "-S dataset.source=<folder or archive>"
        )
    if (workspace.DATASET / "dataset.json").is_file():
        from ngldm.data.dataset import open_dataset

        try:
            data = open_dataset(workspace.DATASET)
        except InputError as error:
            return Finding("FAIL", str(error), f"remove {workspace.DATASET}; `dvc repro download` makes it again")
        detail = f"{data.name}: {data.num_train} training and {len(data.test)} test images in {workspace.DATASET}"
        if config.name not in data.name and config.name != "image_folder":
            return Finding("warn", f"{detail}, but params.yaml says {config.name}", "`dvc repro` makes it again")
        return Finding("ok", detail)
    raw = workspace.main_root() / workspace.RAW / config.name
    downloads = config.name in DOWNLOADED and not (raw.is_dir() and any(raw.iterdir()))
    if downloads:
        return Finding(
            "warn", f"{config.name} has not been downloaded", "run `dvc repro download` once, with a network"
        )
    return Finding("ok", f"{config.name}: `dvc repro` makes it")


def weights(params: Params | None) -> Finding:
    from ngldm.scoring.features.dinov2 import dinov2_weights
    from ngldm.scoring.features.inception import inception_weights

    if params is not None and params.evaluate.extractor == "dinov2":
        try:
            return Finding("ok", str(dinov2_weights(params.evaluate.dinov2_weights)))
        except InputError as error:
            return Finding("FAIL", str(error), "download them, or -S evaluate.dinov2_weights=<file>")
    needed = params is not None and params.evaluate.extractor == "inception"
    try:
        file = inception_weights(params.evaluate.inception_weights if params else None)
    except InputError as error:
        if needed:
            return Finding("FAIL", str(error), "download them, or -S evaluate.inception_weights=<file>")
        chosen = f"evaluate.extractor is `{params.evaluate.extractor}`" if params else "the default extractor"
        return Finding("ok", f"no Inception weights; {chosen} needs none")
    return Finding("ok", f"{file}" + ("" if needed else ", though evaluate.extractor needs none"))


def dvc(params: Params | None) -> Finding:
    import subprocess

    if not shutil.which("git"):
        return Finding("FAIL", "git is not on the PATH", "install git: `dvc exp` needs it")
    if subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode:
        return Finding("FAIL", "no git repository here", "run from a clone: `dvc exp` keeps experiments in git")
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            hydra = repo.config["hydra"].get("enabled", False)
            stages = len(list(repo.index.stages))
    except DvcException as error:
        return Finding("FAIL", str(error), "run from the repository's root; `dvc.yaml` and params.yaml must be valid")
    if not hydra:
        return Finding(
            "FAIL", "Hydra is off: `dvc exp run -S noise=...` would not compose", "dvc config hydra.enabled True"
        )
    return Finding("ok", f"{stages} stages, Hydra on")


CHECKS: dict[str, Callable[[Any], Finding]] = {
    "python": python,
    "packages": packages,
    "device": device,
    "params": params_file,
    "data set": data_set,
    "weights": weights,
    "store": store,
    "dvc": dvc,
    "disk": disk,
}
