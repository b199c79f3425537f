"""Stage `study`: noises, forward processes, objectives and samplers over several seeds. Only recipe=study has any."""

import csv
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

from ngldm.io.device import resolve_device
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.study import COLUMNS, Job, run_job
from ngldm.pipeline.terminal import Device, command, progress, summary
from ngldm.sampling.best import resolve_sampler


def study(device: Device = "auto") -> None:
    """Train every variant with every training seed, score every sampler with every sampling seed: study/scores.csv.

    Jobs run side by side in `study.workers` processes of one thread each. A finished job is kept in checkpoints/study
    until its settings change, so that an interrupted study goes on where it stopped.
    """
    params, start = load_params(), time.perf_counter()
    config = params.study
    jobs: list[Job] = []
    for seed in range(config.train_seeds):
        for label, variant in config.variants.items():
            distribution = dict(variant.noise)
            settings: dict[str, Any] = {
                "noise": {"name": distribution.pop("distribution"), "params": distribution},
                "schedule": {**params.schedule.model_dump(), **variant.schedule},
                "diffusion": {**params.diffusion.model_dump(), **variant.diffusion()},
                "unet": params.unet.model_dump(),
            }
            names = variant.samplers or list(config.samplers)
            samplers: dict[str, dict[str, Any]] = {
                name: dict(
                    resolve_sampler(
                        config.samplers[name].settings(),
                        settings["noise"]["name"],
                        settings["schedule"]["num_train_timesteps"],
                    )
                )
                for name in names
            }
            train, weights = params.train.model_dump(), params.evaluate.inception_weights
            jobs.append(Job(label, seed, settings, samplers, train, config.scoring(), weights))
    rows: list[dict[str, Any]] = []
    if jobs:
        target = str(resolve_device(device))
        with (
            ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool,
            progress("study", len(jobs), "trainings") as advance,
        ):
            for future in as_completed([pool.submit(run_job, job, target) for job in jobs]):
                rows += future.result()
                advance(1)
    from ngldm.io.files import atomic_directory, write_json

    with atomic_directory(workspace.STUDY) as folder, (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: [str(row[column]) for column in COLUMNS[:4]]))
    measured: dict[str, Any] = {"trainings": len(jobs)}
    if jobs:
        measured["seconds"] = time.perf_counter() - start
    write_json(workspace.STUDY_METRICS, measured)
    if rows:
        from ngldm.pipeline.tracking.comparison import record_study
        from ngldm.pipeline.tracking.store import Store

        record_study(Store(params.experiment), params, rows)
    kept = {"file": workspace.STUDY / "scores.csv"} if jobs else {}
    summary("study", {"trainings": len(jobs) or "none, for there are no variants", "scores": len(rows), **kept})


main = command(study)
if __name__ == "__main__":
    main()
