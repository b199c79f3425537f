"""`ngldm list`: the choices, with a line for each. Also those that a shell completes after the Tab key."""

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any

import typer

from ngldm.io.errors import InputError
from ngldm.io.registry import Parameters, Registry
from ngldm.pipeline import workspace

CONF, WIDTH = Path("conf"), 110
LINE, LEAST = 120, 50  # of a line of `list noises`: all of it, and what the meaning has at least
app = typer.Typer(help="List the choices, with a line for each.", no_args_is_help=True)


@app.command()
def noises() -> None:
    """Registered distributions with their parameters, including those of installed packages.

    `ngldm noise show` says more about one.
    """
    from inspect import signature

    from ngldm.noise import noise_factory, noise_names

    factories = {name: noise_factory(name) for name in noise_names()}
    _print_fitted({name: (_first_line(factory), signature(factory).parameters) for name, factory in factories.items()})


@app.command()
def networks() -> None:
    """Kinds of networks, for network.kind, including those of installed packages."""
    from ngldm.networks.build import NETWORKS

    _print_registry(NETWORKS)


@app.command()
def autoencoders() -> None:
    """Kinds of autoencoders, for autoencoder.kind, including those of installed packages."""
    from ngldm.networks.autoencoders.build import AUTOENCODERS

    _print_registry(AUTOENCODERS)


@app.command()
def samplers() -> None:
    """Sampling methods, for `method` in sampler_options and `ngldm generate --sampler`."""
    from ngldm.sampling.samplers import SAMPLERS

    _print({name: _first_line(function) for name, function in SAMPLERS.items()})


@app.command()
def recipes() -> None:
    """Files of conf/recipe, for `-S recipe=<name>`."""
    folder = CONF / "recipe"
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise InputError(f"{folder}: no such folder, or no recipes in it; run from the repository's root")
    _print({file.stem: _comment(file) for file in files})


@app.command()
def datasets() -> None:
    """Data sets, for `-S dataset=<name>`."""
    from ngldm.data.sources.registry import SOURCES

    _print({name: _first_line(source) for name, source in SOURCES.items()})


def complete_model(incomplete: str) -> list[str]:
    """The labels of the models that are here and begin so."""
    return _begin(workspace.trained(), incomplete)


def complete_noise(incomplete: str) -> list[str]:
    """The files of conf/noise that begin so. The registry has a few more names, but it would need torch: seconds."""
    return _begin(_stems("noise"), incomplete)


def complete_search(incomplete: str) -> list[str]:
    """The files of conf/search that begin so."""
    return _begin(_stems("search"), incomplete)


def complete_override(incomplete: str) -> list[str]:
    """Overrides that choose a file of conf/, as `recipe=smoke`, and begin so."""
    groups = [path.name for path in sorted(CONF.glob("*/")) if path.name not in ("search", "hydra_plugins")]
    return _begin([f"{group}={stem}" for group in groups for stem in _stems(group)], incomplete)


def _stems(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _begin(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _print_registry(registry: Registry[Any]) -> None:
    found = {name: registry.find(name) for name in registry.names()}
    _print_fitted({name: (_first_line(entry.function), entry.parameters) for name, entry in found.items()})


def _print_fitted(entries: dict[str, tuple[str, Parameters]]) -> None:
    """Print a line for each name: its meaning, then its parameters."""
    width = LINE - 2 - max(map(len, entries))  # what is left for the meaning and the parameters
    _print({name: _fitted(meaning, _parameters(known), width) for name, (meaning, known) in entries.items()})


def _print(entries: dict[str, str]) -> None:
    width = max(map(len, entries))
    for name, meaning in entries.items():
        print(f"{name:<{width}}  {meaning}")


def _fitted(meaning: str, parameters: str, width: int) -> str:
    """The meaning and the parameters on a line; the meaning is cut first, then the parameters."""
    parameters = shorten(parameters, width - min(len(meaning), LEAST), placeholder=" ...)") if parameters else ""
    room = width - len(parameters) - bool(parameters)
    return f"{shorten(meaning, room, placeholder=' ...')} {parameters}".rstrip()


def _parameters(parameters: Parameters) -> str:
    """The parameters in brackets, as they are written in params.yaml: `(df: 5.0)`. Nothing if there are none."""
    import inspect

    parts = []
    for parameter in parameters.values():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        parts.append(parameter.name if default is inspect.Parameter.empty else f"{parameter.name}: {default}")
    return f"({', '.join(parts)})" if parts else ""


def _first_line(function: Callable[..., Any]) -> str:
    import inspect

    return _sentence((inspect.getdoc(function) or "-").split("\n\n")[0])


def _comment(file: Path) -> str:
    """The first sentence of the comment at the start of a file. A line that is meant for Hydra is left out."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    return _sentence(" ".join(lines) or "-")


def _sentence(text: str) -> str:
    """The first sentence, cut if it is longer than a line."""
    first = re.split(r"(?<=[.?])\s+(?=[A-Z])", " ".join(text.split()))[0]
    return shorten(first.rstrip("."), WIDTH, placeholder=" ...")
