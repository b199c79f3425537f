"""A control of a search: the Gaussian with settings that were found for other noises, and they with the Gaussian's.

Trained and scored on the fresh seeds of `ngldm search confirm`. So a noise that wins by its settings alone is seen.

python -m benchmarks.crossed digits laplace multivariate_t --found benchmarks/tuned/digits
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.verdicts import Study, table
from ngldm.data.dataset import open_dataset
from ngldm.data.results.study import write_scores
from ngldm.io.errors import InputError
from ngldm.io.files import require
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_raw
from ngldm.pipeline.experiments.study.compute import Job
from ngldm.pipeline.experiments.study.run import run_jobs
from ngldm.pipeline.search.results import TUNED_FOLDER, fresh_jobs
from ngldm.pipeline.search.space import TUNED, made_params
from ngldm.pipeline.search.studies import Plan, make_plan
from ngldm.pipeline.terminal import progress, run

GAUSSIAN = "gaussian"


def _found(folder: Path, label: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What a search has found for a noise: its options, the settings of its training, those of its sampler."""
    path = folder / f"{label}.yaml"
    require(path, "`ngldm search apply`")
    content = load_raw(path)
    try:
        options, sampler = content.pop("noise_options")[label], content.pop("sampler_options")[TUNED]
    except (KeyError, TypeError):
        raise InputError(f"{path}: not a file that `ngldm search apply` has written for {label!r}") from None
    content.pop("samplers", None)
    return options, content, sampler


def crossed_jobs(plan: Plan, folder: Path, noise: str, settings_of: str, item_shape: tuple[int, ...]) -> list[Job]:
    """The trainings of one noise with what was found for another."""
    options = _found(folder, noise)[0]
    _, settings, sampler = _found(folder, settings_of)
    base = {**plan.base(noise), "noise_options": {noise: options}}
    params = made_params(base, settings, sampler)
    return fresh_jobs(plan, f"{noise} as {settings_of}", params, sampler, item_shape)


def main(
    name: Annotated[str, typer.Argument(help="The search, a file of conf/search without .yaml.")],
    noises: Annotated[list[str], typer.Argument(help="Noises to compare with the Gaussian.")],
    found: Annotated[Path, typer.Option(help="Folder of files that `ngldm search apply` has written.")] = TUNED_FOLDER,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = os.cpu_count() or 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for scores.csv.")] = Path("benchmarks/results/crossed"),
) -> None:
    """Print the table of means with standard errors over trainings."""
    plan = make_plan(name, None, [GAUSSIAN, *noises])
    shape = open_dataset(workspace.DATASET).item_shape
    pairs = [(GAUSSIAN, GAUSSIAN)] + [
        pair for noise in noises for pair in ((GAUSSIAN, noise), (noise, noise), (noise, GAUSSIAN))
    ]
    jobs = [job for noise, other in pairs for job in crossed_jobs(plan, found, noise, other, shape)]
    with progress(f"crossed {name}", len(jobs), "trainings") as advance:
        write_scores(run_jobs(jobs, device, workers, advance), out)
    scores = Study(out)

    def text(noise: str, settings_of: str) -> str:
        return scores.of(f"{noise} as {settings_of}", TUNED, "fd").text(3)

    rows = [(noise, text(GAUSSIAN, noise), text(noise, noise), text(noise, GAUSSIAN)) for noise in noises]
    head = ("noise", "the Gaussian with its settings", "itself", "itself with the Gaussian's settings")
    table(head, [(GAUSSIAN, text(GAUSSIAN, GAUSSIAN), "", ""), *rows])


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
