"""`ngldm noise list` and `ngldm noise show`: the registered distributions, and the moments and histogram of one."""

import inspect
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError

app = typer.Typer(help="The noise distributions.", no_args_is_help=True)
DRAWS, BINS, LIMIT = 200_000, 25, 4.0
ITEM, JOINT_DRAWS = (1, 8, 8), 50_000  # of a law of whole items, one element is taken from each of so many items


@app.command("list")
def list_noises() -> None:
    """All registered distributions with their parameters, including those of installed packages."""
    from ngldm.noise import noise_factory, noise_names

    names = noise_names()
    for name in names:
        factory = noise_factory(name)
        params = ", ".join(_default(param) for param in inspect.signature(factory).parameters.values())
        print(f"{name:<22} {(inspect.getdoc(factory) or '-').splitlines()[0]}")
        if params:
            print(f"{'':<22} {params}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A registered distribution; `ngldm noise list` shows them.")],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="A parameter, key=value in YAML, for example -p df=5. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also draw the histogram and write it to this PNG file.")] = None,
) -> None:
    """Show the exact moments and those of a sample, and a histogram with the Gaussian for comparison."""
    params = _parse(param or [])
    import torch

    from ngldm.noise import Noise, make_noise
    from ngldm.theory.measure import draw_elements, exact_moments

    noise = make_noise(name, params)
    exact = exact_moments(noise)
    count = DRAWS if isinstance(noise, Noise) else JOINT_DRAWS
    x = draw_elements(noise, count, ITEM, torch.Generator().manual_seed(0))
    centred = x - noise.mean
    variance = exact["variance"] if math.isfinite(exact["variance"]) else float(centred.square().mean())
    z = centred / variance**0.5
    print(f"{name} {params or ''}".rstrip())
    rows = zip(exact.items(), (x, centred**2, z**3, z**4 - 3.0), strict=True)
    print(f"{'':<16}{'exact':>10}{'sampled':>12}{'std. error':>12}")
    for (label, value), values in rows:
        print(f"{label:<16}{value:>10.4f}{float(values.mean()):>12.4f}{float(values.std()) / math.sqrt(count):>12.4f}")
    print(f"{count} draws lie in [{float(x.min()):.3f}, {float(x.max()):.3f}]")
    for low, high, share, gaussian in _histogram(x):
        bar, end = "#" * min(60, round(200 * share)), round(200 * gaussian)
        print(f"{low:+.2f} .. {high:+.2f} {share:6.1%} {bar[:end].ljust(end)}|{bar[end:]}")
    print("The bar of a Gaussian would end at |")
    if out is not None:
        _draw(noise, x, out)
        print(out)


def _default(param: inspect.Parameter) -> str:
    """A parameter as it is written in params.yaml, with its default if it has one: `df: 5.0`."""
    default = list(param.default) if isinstance(param.default, tuple) else param.default
    return param.name if default is inspect.Parameter.empty else f"{param.name}: {default}"


def _parse(pairs: list[str]) -> dict[str, Any]:
    from ruamel.yaml import YAML, YAMLError

    params = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            params[key] = YAML(typ="safe").load(value)
        except YAMLError as error:
            raise InputError(f"--param: {pair!r} is not key=<YAML> ({error})") from error
        if not equals or not key:
            raise InputError(f"--param: {pair!r} must be key=value")
    return params


def _histogram(x: Any) -> list[tuple[float, float, float, float]]:
    """For each bin: (low, high, fraction of the draws, fraction of a Gaussian). They reach to LIMIT deviations."""
    import torch

    edges = torch.linspace(-LIMIT, LIMIT, BINS + 1, dtype=torch.float64)
    shares = torch.histogram(x, edges).hist / len(x)
    gaussian = torch.special.ndtr(edges).diff()
    return [(float(edges[i]), float(edges[i + 1]), float(shares[i]), float(gaussian[i])) for i in range(len(edges) - 1)]


def _draw(noise: Any, x: Any, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import torch
    from matplotlib import pyplot as plt

    from ngldm.io.files import atomic_path
    from ngldm.theory.measure import densities

    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    axes.hist(x.numpy(), bins=160, range=(-LIMIT, LIMIT), density=True, color="#56B4E9", label=f"{len(x):,} draws")
    grid = torch.linspace(-LIMIT, LIMIT, 801, dtype=torch.float64)
    for density in densities({noise.name: noise}, LIMIT).values():
        axes.plot(density.x, density.density, color="#0072B2", label=noise.name)
    axes.plot(grid, (-(grid**2) / 2).exp() / math.sqrt(2 * math.pi), "k--", linewidth=1, label="Gaussian")
    axes.set(xlabel="standardised value", ylabel="density", title=f"{noise.name} {dict(noise.params) or ''}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
