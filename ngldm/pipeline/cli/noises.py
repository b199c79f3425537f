"""`ngldm noise show`: the moments and the histogram of a registered distribution."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError

app = typer.Typer(help="The noise distributions.", no_args_is_help=True)
DRAWS, BINS, LIMIT = 200_000, 25, 4.0


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A registered distribution; `ngldm list noises` shows them.")],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="A parameter, key=value in YAML, for example -p df=5. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also draw the histogram and write it to this PNG file.")] = None,
) -> None:
    """Show the exact moments and those of a sample, and a histogram with the Gaussian for comparison."""
    params = _parse(param or [])
    import torch

    from ngldm.noise import make_noise

    noise = make_noise(name, params)
    x = noise.sample((DRAWS,), torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (x - noise.mean) / noise.variance**0.5
    print(f"{name} {params or ''}".rstrip())
    rows = {
        "mean": (noise.mean, x),
        "variance": (noise.variance, (x - noise.mean) ** 2),
        "skewness": (noise.skewness, z**3),
        "excess kurtosis": (noise.excess_kurtosis, z**4 - 3.0),
    }
    print(f"{'':<16}{'exact':>10}{'sampled':>12}{'std. error':>12}")
    for label, (exact, values) in rows.items():
        print(f"{label:<16}{exact:>10.4f}{float(values.mean()):>12.4f}{float(values.std()) / math.sqrt(DRAWS):>12.4f}")
    print(f"{DRAWS} draws lie in [{float(x.min()):.3f}, {float(x.max()):.3f}]")
    for low, high, share, gaussian in _histogram(x):
        bar, end = "#" * min(60, round(200 * share)), round(200 * gaussian)
        print(f"{low:+.2f} .. {high:+.2f} {share:6.1%} {bar[:end].ljust(end)}|{bar[end:]}")
    print("The bar of a Gaussian would end at |")
    if out is not None:
        _draw(noise, x, out)
        print(out)


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

    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    axes.hist(x.numpy(), bins=160, range=(-LIMIT, LIMIT), density=True, color="#56B4E9", label="200,000 draws")
    grid = torch.linspace(-LIMIT, LIMIT, 801, dtype=torch.float64)
    if noise.base.function("log_prob") and not noise.base.discrete:
        axes.plot(grid, noise.log_prob(grid).exp(), color="#0072B2", label=noise.name)
    axes.plot(grid, (-(grid**2) / 2).exp() / math.sqrt(2 * math.pi), "k--", linewidth=1, label="Gaussian")
    axes.set(xlabel="standardised value", ylabel="density", title=f"{noise.name} {dict(noise.params) or ''}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
