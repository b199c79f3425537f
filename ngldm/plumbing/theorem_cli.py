"""`ngldm theorem1`: Theorem 1's ratio by T for several noises, as a table and a figure."""

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.errors import InputError

COLUMNS = ("noise", "forward", "steps", "ratio", "std_error", "rms_ratio", "rms_std_error", "kurtosis_left")
PAPER_NOISES = ("laplace", "exponential", "uniform", "gumbel")


def theorem1(
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise", "-n", help="A registered distribution, or all; may be repeated. [default: the paper's]"
        ),
    ] = None,
    steps: Annotated[list[int] | None, typer.Option("--steps", "-T", min=1, help="T; may be repeated.")] = None,
    num_latents: Annotated[int, typer.Option(min=2, help="Latents of data/latents to carry to x_T.")] = 1000,
    draws: Annotated[int, typer.Option(min=1, help="Times that each is carried.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for theorem1.csv and theorem1.png.")] = Path("reports/theorem1"),
) -> None:
    """E||x_0 - x_T|| under each noise relative to the Gaussian, by T, on the pipeline's latents and its schedule."""
    from ngldm.plumbing import paths
    from ngldm.plumbing.params import load_params

    config = load_params().schedule.model_dump()
    from ngldm.latents import open_cache
    from ngldm.noise import make_noise, noise_names

    names = noise_names() if noise == ["all"] else list(dict.fromkeys(noise or PAPER_NOISES))
    chosen = [make_noise(name) for name in names]
    latents = _latents(open_cache(paths.LATENTS), num_latents).repeat(draws, 1, 1, 1)
    rows = _measure(latents, chosen, sorted(set(steps or (1, 3, 10, 30, 100, 300, 1000))), config, seed)
    _write(rows, out, tuple(latents.shape[1:]))
    print(f"{'noise':<22}{'forward':<10}{'T':>6}{'ratio':>10}{'+-':>9}{'rms ratio':>11}{'+-':>9}")
    for row in rows:
        print(
            f"{row['noise']:<22}{row['forward']:<10}{row['steps']:>6}{row['ratio']:>10.4f}{row['std_error']:>9.4f}"
            f"{row['rms_ratio']:>11.4f}{row['rms_std_error']:>9.4f}"
        )
    print(f"{out / 'theorem1.csv'}, {out / 'theorem1.png'}")


def _latents(cache: Any, count: int) -> Any:
    """The first `count` training latents, standardised as training sees them."""
    import torch

    if count > len(cache.train):
        raise InputError(f"--num-latents: {count}; data/latents has {len(cache.train)} training latents")
    return torch.from_numpy(cache.train[:count].copy())


def _measure(
    latents: Any, noises: list[Any], steps: list[int], config: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    from ngldm.forward import FORWARDS
    from ngldm.plumbing.command import progress
    from ngldm.schedules import make_schedule
    from ngldm.theorem import kurtosis_left, theorem1_ratio

    rows = []
    with progress("theorem 1", len(noises) * len(FORWARDS) * len(steps), "ratios") as advance:
        for noise in noises:
            for forward in FORWARDS:
                for count in steps:
                    schedule = make_schedule(**{**config, "num_train_timesteps": count})
                    found = theorem1_ratio(latents, noise, schedule, forward, seed)
                    left = kurtosis_left(schedule) if forward == "markov" else 1.0
                    values = (found.mean, found.std_error, found.rms, found.rms_std_error, left)
                    rows.append(dict(zip(COLUMNS, (noise.name, forward, count, *values), strict=True)))
                    advance(1)
    return rows


def _write(rows: list[dict[str, Any]], out: Path, shape: tuple[int, ...]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from ngldm.files import atomic_path
    from ngldm.plumbing.report import style

    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "theorem1.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    names = list(dict.fromkeys(row["noise"] for row in rows))
    titles = {"marginal": "one draw of D", "markov": "T draws of D (equation 1)"}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for axis, (forward, title) in zip(axes, titles.items(), strict=True):
        for name in names:
            line = [row for row in rows if (row["noise"], row["forward"]) == (name, forward)]
            axis.errorbar(
                [row["steps"] for row in line],
                [row["ratio"] for row in line],
                yerr=[2.0 * row["std_error"] for row in line],
                capsize=3,
                label=name,
                **style(name, names),
            )
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set(xscale="log", xlabel="T", title=title)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("E||x_0 - x_T|| relative to Gaussian")
    axes[1].legend(frameon=False, fontsize=8)
    figure.suptitle(f"latents of shape {shape}; bars: two standard errors", fontsize=9)
    with atomic_path(out / "theorem1.png") as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
