"""`ngldm schedule list` and `ngldm schedule show`: the noise schedules, and a comparison of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.diffusion.names import BETA_END, BETA_START, NUM_TRAIN_TIMESTEPS, SCHEDULES

app = typer.Typer(help="The noise schedules.", no_args_is_help=True)
ROWS = 11


@app.command("list")
def list_schedules() -> None:
    """All schedules by name."""
    from ngldm.diffusion.schedules import CURVES

    meanings = {
        "polynomial": "beta_t, a polynomial in t of degree schedule.degree",
        **dict.fromkeys(CURVES, "abar_t, a curve of t / T"),
    }
    for name in SCHEDULES:
        print(f"{name:<12} {meanings.get(name, 'beta_t, a polynomial in t from beta_start to beta_end')}")


@app.command()
def show(
    names: Annotated[
        list[str] | None, typer.Argument(help="Schedules; `ngldm schedule list` shows them.", show_default="all")
    ] = None,
    num_train_timesteps: Annotated[int, typer.Option(help="T, the number of timesteps.")] = NUM_TRAIN_TIMESTEPS,
    beta_start: Annotated[float, typer.Option(help="beta_1 of the polynomials.")] = BETA_START,
    beta_end: Annotated[float, typer.Option(help="beta_T of the polynomials.")] = BETA_END,
    degree: Annotated[int, typer.Option(help="Degree of `polynomial`.")] = 1,
    zero_terminal_snr: Annotated[bool, typer.Option(help="Rescale so that abar_T is 0.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also draw abar, beta and log-SNR and write them to this PNG file.")
    ] = None,
) -> None:
    """Show abar_t of each schedule; with --out also draw the curves."""
    from ngldm.diffusion.schedules import make_schedule

    chosen = {
        name: make_schedule(name, num_train_timesteps, beta_start, beta_end, zero_terminal_snr, degree)
        for name in names or SCHEDULES
    }
    steps = sorted({round(i * num_train_timesteps / (ROWS - 1)) for i in range(ROWS)})
    print("abar_t".ljust(8) + "".join(f"{name:>12}" for name in chosen))
    for t in steps:
        print(f"{t:<8}" + "".join(f"{float(schedule.alphas_cumprod[t]):>12.3g}" for schedule in chosen.values()))
    if out is not None:
        _draw(chosen, out)
        print(out)


def _draw(chosen: dict[str, Any], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from ngldm.io.files import atomic_path

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    styles = ("-", "--", ":")
    colours = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#999999")
    for i, (name, schedule) in enumerate(chosen.items()):
        look = {"color": colours[i % len(colours)], "linestyle": styles[i // len(colours)], "label": name}
        abar = schedule.alphas_cumprod[1:]
        t = range(1, len(abar) + 1)
        log_snr = (abar / (1.0 - abar)).clamp(min=1e-12).log()
        for axis, values in zip(axes, (abar, schedule.betas[1:], log_snr), strict=True):
            axis.plot(t, values, **look)
    axes[1].set_yscale("log")
    for axis, title in zip(axes, ("abar_t: fraction of x_0 in the variance", "beta_t", "log SNR"), strict=True):
        axis.set(title=title, xlabel="t")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
