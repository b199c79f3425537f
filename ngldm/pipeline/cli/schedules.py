"""`ngldm schedule list` and `ngldm schedule show`: the noise schedules, and a comparison of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ngldm.diffusion.names import BETA_END, BETA_START, NUM_TRAIN_TIMESTEPS, SCHEDULES, SHAPE, Shape

if TYPE_CHECKING:
    from torch import Tensor

    from ngldm.diffusion.process import Diffusion
    from ngldm.diffusion.schedules import Schedule

app = typer.Typer(help="The noise schedules.", no_args_is_help=True)
ROWS = 11
LOWEST = -14.0  # of the lambdas that are drawn: -inf where a = 0


@app.command("list")
def list_schedules() -> None:
    """All schedules by name."""
    from ngldm.diffusion.schedules.curves import CURVES

    meanings = {
        "polynomial": "beta_t, a polynomial in t of degree schedule.degree",
        **dict.fromkeys(CURVES, "abar_t, a curve of t / T"),
        "rectified_flow": "a = 1 - t / T, b = t / T",
        "edm_ve": "a = 1, b = sigma from sigma_min to sigma_max",
        "stable": "a^alpha = abar_t of cosine, b^alpha = 1 - a^alpha",
    }
    for name in SCHEDULES:
        print(f"{name:<15} {meanings.get(name, 'beta_t, a polynomial in t from beta_start to beta_end')}")


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
    sigma_min: Annotated[float, typer.Option(help="Noise of `edm_ve` at t = 1.")] = SHAPE["sigma_min"],
    sigma_max: Annotated[float, typer.Option(help="Noise of `edm_ve` at T.")] = SHAPE["sigma_max"],
    rho: Annotated[float, typer.Option(help="sigma^(1/rho) of `edm_ve` is linear in t.")] = SHAPE["rho"],
    alpha: Annotated[float, typer.Option(help="a^alpha + b^alpha = 1 for `stable`.")] = SHAPE["alpha"],
    objective: Annotated[str, typer.Option(help="What the network predicts, for the picture.")] = "x0",
    weighting: Annotated[str, typer.Option(help="Weight of each t in the loss, for the picture.")] = "min_snr",
    time_density: Annotated[str, typer.Option(help="How often each t is trained, for the picture.")] = "uniform",
    out: Annotated[Path | None, typer.Option(help="Also draw the curves and write them to this PNG file.")] = None,
) -> None:
    """Show the share of x_0 in the variance of x_t, a^2 / (a^2 + b^2), for each schedule; with --out draw the curves.

    It is abar_t for the schedules that have betas. The last of the curves is w(lambda) p(lambda), lambda = log(a / b):
    how much the loss counts the error of eps at each noise level. Two trainings with the same curve have the same loss.
    """
    from ngldm.diffusion.objective import Objective
    from ngldm.diffusion.process import Diffusion
    from ngldm.diffusion.schedules import make_schedule
    from ngldm.diffusion.time_density import TimeDensity
    from ngldm.noise import make_noise

    Objective(objective, weighting), TimeDensity(time_density)  # they check the names, also without a picture
    shape: Shape = {"sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho, "alpha": alpha}
    chosen = {
        name: make_schedule(name, num_train_timesteps, beta_start, beta_end, zero_terminal_snr, degree, **shape)
        for name in names or (name for name in SCHEDULES if not (zero_terminal_snr and name == "edm_ve"))
    }
    steps = sorted({round(i * num_train_timesteps / (ROWS - 1)) for i in range(ROWS)})
    print("a^2 / (a^2 + b^2): the share of x_0 in the variance of x_t")
    print("t".ljust(8) + "".join(f"{name:>16}" for name in chosen))
    for t in steps:
        print(f"{t:<8}" + "".join(f"{float(_share(schedule)[t]):>16.3g}" for schedule in chosen.values()))
    if out is not None:
        gaussian = make_noise("gaussian")
        diffusions = {
            name: Diffusion.make(gaussian, schedule, "marginal", objective, weighting, time_density=time_density)
            for name, schedule in chosen.items()
        }
        _draw(diffusions, out)
        print(out)


def _share(schedule: "Schedule") -> "Tensor":
    return schedule.signal.square() / schedule.power


def _draw(chosen: "dict[str, Diffusion]", out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from ngldm.io.files import atomic_path

    figure, axes = plt.subplots(1, 4, figsize=(16, 3.6), layout="constrained")
    styles = ("-", "--", ":")
    colours = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#999999")
    for i, (name, diffusion) in enumerate(chosen.items()):
        schedule = diffusion.schedule
        look = {"color": colours[i % len(colours)], "linestyle": styles[i // len(colours)], "label": name}
        t = range(1, schedule.num_train_timesteps + 1)
        axes[0].plot(t, _share(schedule)[1:], **look)
        if schedule.chain is not None:
            axes[1].plot(t, schedule.betas[1:], **look)
        lambdas = schedule.lambdas[1:]
        axes[2].plot(t, 2.0 * lambdas.clamp(min=LOWEST), **look)
        product = diffusion.emphasis()
        inside = product.isfinite() & (lambdas.abs() < -LOWEST)
        if bool(inside.any()):  # a schedule of one level has nothing to draw here
            axes[3].plot(lambdas[inside], product[inside] / product[inside].max(), **look)
    axes[1].set_yscale("log")
    titles = (
        "a^2 / (a^2 + b^2)",
        "beta_t, where there are betas",
        "log SNR",
        "w p of eps",
    )
    for axis, title, variable in zip(axes, titles, ("t", "t", "t", "lambda = log(a / b)"), strict=True):
        axis.set(title=title, xlabel=variable)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
