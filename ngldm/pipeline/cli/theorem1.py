"""`ngldm theorem1`: Theorem 1's ratio by T for several noises, as a table and a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ngldm.io.errors import InputError
from ngldm.io.limits import MAX_ITEMS, MAX_REPEATS, MAX_T
from ngldm.pipeline import workspace
from ngldm.pipeline.colours import PAPER_NOISES
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import progress

LATENTS = 1000  # to noise, unless the user says how many


def theorem1(
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise",
            "-n",
            help="A registered distribution, or all that fit the latents. May be repeated.",
            show_default="the paper's without gaussian",
        ),
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(
            "--steps", "-T", min=1, max=MAX_T, help="T. May be repeated.", show_default="1, 3, 10, 30, 100, 300, 1000"
        ),
    ] = None,
    num_latents: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=MAX_ITEMS,
            help="Number of latents of data/latents to noise.",
            show_default=f"{LATENTS}, or all if fewer",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, max=MAX_REPEATS, help="Number of draws of x_T for each latent.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for theorem1.csv and theorem1.png.")] = Path("theorem1"),
) -> None:
    """Measure E||x_0 - x_T|| under each noise, divided by that under the Gaussian, on the pipeline's latents."""
    config = load_params().schedule.model_dump()
    from ngldm.data.cache.latents import open_cache
    from ngldm.diffusion.forward import possible_forwards
    from ngldm.diffusion.schedules import Schedule, make_schedule
    from ngldm.noise import make_noise, noise_names
    from ngldm.theory.measure import THEOREM_STEPS, measure_theorem

    def schedule(num_train_timesteps: int) -> Schedule:
        return make_schedule(**{**config, "num_train_timesteps": num_train_timesteps})

    papers = [name for name in PAPER_NOISES if name != "gaussian"]  # the ratio compares to it
    names = noise_names() if noise == ["all"] else list(dict.fromkeys(noise or papers))
    chosen = {name: make_noise(name) for name in names}
    latents = _latents(open_cache(workspace.LATENTS), num_latents).repeat(draws, 1, 1, 1)
    if noise == ["all"]:
        chosen = {name: law for name, law in chosen.items() if _fits(law, latents.shape[1:])}
    counts = sorted(set(steps or THEOREM_STEPS))
    with progress(
        "theorem 1", len(chosen) * len(possible_forwards(schedule(counts[0]))) * len(counts), "ratios"
    ) as advance:
        rows = measure_theorem(latents, chosen, counts, schedule, seed, advance)
    _write(rows, out, tuple(latents.shape[1:]))
    print(f"{'noise':<22}{'forward':<10}{'T':>6}{'ratio':>10}{'+-':>9}{'rms ratio':>11}{'+-':>9}")
    for row in rows:
        print(
            f"{row['noise']:<22}{row['forward']:<10}{row['steps']:>6}{row['ratio']:>10.4f}{row['std_error']:>9.4f}"
            f"{row['rms_ratio']:>11.4f}{row['rms_std_error']:>9.4f}"
        )
    print(f"{out / 'theorem1.csv'}, {out / 'theorem1.png'}")


def _fits(law: Any, item: Sequence[int]) -> bool:
    """Whether the law can make noise for latents of that shape."""
    try:
        law.check_item(item)
    except InputError:
        return False
    return True


def _latents(cache: Any, count: int | None) -> Any:
    """The first `count` training latents, standardised as in training. None: `LATENTS`, or all if there are fewer."""
    import torch

    if count is None:
        count = min(LATENTS, len(cache.train))
    elif count > len(cache.train):
        raise InputError(f"--num-latents: {count}; data/latents has {len(cache.train)} training latents")
    return torch.from_numpy(cache.train[:count].copy())


def _write(rows: Sequence[Any], out: Path, shape: tuple[int, ...]) -> None:
    from ngldm.io.files import atomic_path
    from ngldm.pipeline.report.figures import drawing, laws
    from ngldm.theory.tables import write_theorem

    write_theorem(rows, out / "theorem1.csv")
    with atomic_path(out / "theorem1.png") as temporary:
        drawing.save_png(laws.theorem(rows, shape), temporary)
