"""`ngldm noise`: moments and histogram of one law, a picture of several, a data set's spectrum and covariance."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError, shown
from ngldm.io.limits import MAX_REPEATS
from ngldm.pipeline.cli.catalogue import complete_noise

app = typer.Typer(help="The noise distributions.", no_args_is_help=True)
DRAWS, BINS, LIMIT = 200_000, 25, 4.0
ITEM, JOINT_DRAWS = (1, 8, 8), 50_000  # of a law of whole items, one element is taken from each of so many items
CONF = Path("conf/noise")
SPECTRUM_ITEMS = 4096  # latents whose power is measured
COVARIANCE_ITEMS = 2**17  # latents whose covariance is measured: all are in memory at the same time


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A distribution of `ngldm list noises`, or a file of conf/noise/ that has one.",
            autocompletion=complete_noise,
        ),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="A parameter, key=value in YAML, for example -p df=5. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also draw the histogram and write it to this PNG file.")] = None,
) -> None:
    """Show the exact moments and those of a sample, and a histogram with the Gaussian for comparison."""
    params = _parse(param or [])
    own = _in_conf(name)
    if own is not None:
        print(f"{name} is the distribution {own[0]} with {_shown(own[1])}, by {CONF / name}.yaml")
        name, params = own[0], {**own[1], **params}
    import torch

    from ngldm.noise import Noise, make_noise
    from ngldm.theory.measure import draw_elements, exact_moments

    noise = make_noise(name, params)
    exact = exact_moments(noise)
    count = DRAWS if isinstance(noise, Noise) else JOINT_DRAWS
    leading = getattr(noise, "leading", ())
    x = draw_elements(noise, count, (*leading, *ITEM[len(leading) :]), torch.Generator().manual_seed(0))
    centred = x - noise.mean
    variance = exact["variance"] if math.isfinite(exact["variance"]) else float(centred.square().mean())
    z = centred / variance**0.5
    print(f"{name} {params or ''}".rstrip())
    print(_describe(noise))
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


@app.command()
def gallery(
    noises: Annotated[
        list[str], typer.Argument(help="Names, or a name and its parameters in YAML: 'power_law {beta: -0.5}'.")
    ],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
) -> None:
    """Draw samples, spectrum and energies of several noises, a row for each, as images of 32 x 32 pixels."""
    from ngldm.noise import make_noise

    laws = {}
    for text in noises:
        name, _, params = text.partition(" ")
        laws[text] = make_noise(name, _yaml(f"NOISES: {text!r}", params) or {})
    _draw_gallery(laws, out)
    print(out)


@app.command()
def spectrum(
    bins: Annotated[int, typer.Option(min=1, max=MAX_REPEATS, help="Bins of the frequency, from 0 to the corner.")] = 8,
) -> None:
    """Measure the power spectrum of the training latents, as a noise for a file in conf/noise/."""
    import torch

    from ngldm.data.cache.latents import open_cache
    from ngldm.noise.laws.spectra import radial_power
    from ngldm.pipeline import workspace

    latents = open_cache(workspace.LATENTS).train
    if latents.ndim != 4:
        raise InputError(f"{workspace.LATENTS}: items of shape {latents.shape[1:]} have no rows and columns")
    powers = [float(f"{power:.4g}") for power in radial_power(torch.from_numpy(latents[:SPECTRUM_ITEMS].copy()), bins)]
    print("# @package _global_")
    print("noises: [latent_spectrum]")
    print("noise_options:")
    print(f"  latent_spectrum: {{distribution: spectrum, powers: {powers}}}")


@app.command()
def covariance(
    out: Annotated[Path, typer.Option(help=".npy file to write, 4 d^2 bytes for latents of d elements.")],
) -> None:
    """Measure the covariance of the training latents, as a noise for a file in conf/noise/. Its root goes to a file.

    Of more than 131072 latents the first ones are measured.
    """
    from ngldm.data.cache.latents import open_cache
    from ngldm.noise.laws.covariance import covariance_root, root_sha256, write_root
    from ngldm.pipeline import workspace

    latents = open_cache(workspace.LATENTS).train[:COVARIANCE_ITEMS]
    try:
        root, shrinkage = covariance_root(latents)
    except InputError as error:
        raise InputError(f"{workspace.LATENTS}: {error}") from error
    write_root(root, out)
    print("# @package _global_")
    print(f"# the covariance of {len(latents)} latents, shrunk by {shrinkage:.3f} (Ledoit and Wolf 2004)")
    print("noises: [latent_covariance]")
    print("noise_options:")
    print("  latent_covariance:")
    print("    distribution: covariance")
    print(f"    file: {out}")
    print(f"    sha256: {root_sha256(root)}")


def _describe(noise: Any) -> str:
    """A line on what the law is like, beside its moments."""
    from ngldm.noise.laws.filtered import Filtered, white_shift

    traits = noise.traits
    parts = ["elements share randomness" if traits.shared else "elements do not share randomness"]
    parts.append("correlated" if traits.correlated else "uncorrelated")
    parts.append("symmetric" if traits.symmetric else "not symmetric")
    parts.append(f"K_bar needs: {traits.needs}")
    if isinstance(noise, Filtered):
        parts.append(f"white control on {ITEM[1]} x {ITEM[2]} pixels: noise times {white_shift(noise, ITEM):.3f}")
    return "; ".join(parts)


def _in_conf(name: str) -> tuple[str, dict[str, Any]] | None:
    """The distribution and the parameters that a file of conf/noise/ means; None if `name` is a distribution.

    Raises:
        InputError: the file has several noises.
    """
    from ngldm.noise import noise_names

    file = CONF / f"{name}.yaml"
    if name in noise_names() or not file.is_file():
        return None
    entries = (_yaml(str(file), file.read_text(encoding="utf-8")) or {}).get("noise_options") or {}
    meant = [(entry.pop("distribution", "?"), entry) for entry in entries.values()]
    if len(meant) != 1:
        each = ", ".join(distribution for distribution, _ in meant)
        raise InputError(
            f"noise {name!r}: {file} has {len(meant)} noises, of the distributions {each}; show one of them"
        )
    return meant[0]


def _shown(params: dict[str, Any]) -> str:
    """Parameters as options of `show`."""
    import json

    return " ".join(f"-p '{key}={json.dumps(value)}'" for key, value in params.items()) or "no parameters"


def _parse(pairs: list[str]) -> dict[str, Any]:
    params = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        params[key] = _yaml(f"--param: {shown(pair)} is not key=<YAML>", value)
        if not equals or not key:
            raise InputError(f"--param: {shown(pair)} must be key=value")
    return params


def _yaml(fault: str, text: str) -> Any:
    from ngldm.pipeline.config.reading.text import read_yaml

    return read_yaml(text, fault)


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


def _draw_gallery(laws: dict[str, Any], out: Path) -> None:
    """Three images, the mean power by frequency, and the energies of 512 images, for each law."""
    import matplotlib

    matplotlib.use("Agg")
    import torch
    from matplotlib import pyplot as plt

    from ngldm.io.files import atomic_path
    from ngldm.noise.laws.spectra import HIGHEST, radial_power

    bins = 12
    frequency = (torch.arange(bins) + 0.5) * HIGHEST / bins
    figure, axes = plt.subplots(len(laws), 5, figsize=(9, 1.75 * len(laws)), layout="constrained", squeeze=False)
    for row, (label, law) in zip(axes, laws.items(), strict=True):
        x = law.sample((512, 1, 32, 32), torch.Generator().manual_seed(0))
        for axis, image in zip(row[:3], x, strict=False):
            axis.imshow(image[0], cmap="gray", vmin=-3.0, vmax=3.0, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_title(label, loc="left", fontsize=8)
        row[3].loglog(frequency, radial_power(x, bins), color="#0072B2")
        row[3].set(xlim=(0.02, 0.8), ylim=(1e-2, 1e2))
        row[3].set_xticks([0.03, 0.1, 0.3], ["0.03", "0.1", "0.3"])
        row[3].minorticks_off()
        energy = x.flatten(1).square().mean(1).log10()
        row[4].hist(energy.clamp(-1.5, 1.5).numpy(), bins=40, range=(-1.5, 1.5), color="#56B4E9")
        for axis in row[3:]:
            axis.tick_params(labelsize=6)
    axes[0, 3].set_title("power by frequency", fontsize=8)
    axes[0, 4].set_title("log10 of an image's energy", fontsize=8)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=80, format="png")
    plt.close(figure)
