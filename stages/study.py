"""Stage `study`: compare noises, forward processes, objectives and samplers over several seeds.

Only some recipes have variants to compare, e.g. recipe=study; with the others this stage writes an empty table.
"""

import time
from typing import Any

from ngldm.data.dataset import open_dataset
from ngldm.data.study import StudyRow, write_scores
from ngldm.io.device import resolve_device
from ngldm.io.files import read_json, write_json
from ngldm.model import item_settings
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.config.sections import Fit
from ngldm.pipeline.experiments.study import Job, run_jobs
from ngldm.pipeline.terminal import Device, command, progress, summary
from ngldm.pipeline.tracking.comparison import record_study
from ngldm.pipeline.tracking.store import Store
from ngldm.sampling.best import resolve_sampler


def study(device: Device = "auto") -> None:
    """Train each variant with each training seed and score each sampler with each sampling seed: study/scores.csv.

    Jobs run in parallel, in `study.workers` processes with one thread each. Each finished job is kept in
    checkpoints/study together with everything it was made from, including the code. So an interrupted study continues
    where it stopped.
    """
    params, start = load_params(), time.perf_counter()
    config = params.study
    jobs: list[Job] = []
    network: dict[str, object] = {}
    if config.variants:
        item_shape = open_dataset(workspace.DATASET).item_shape
        network = item_settings(
            item_shape, params.network.model_dump(), unet=params.unet.model_dump(), mlp=params.mlp.model_dump()
        )
    for seed in range(config.train_seeds):
        for label, variant in config.variants.items():
            distribution = dict(variant.noise)
            settings: dict[str, Any] = {
                "noise": {"name": distribution.pop("distribution"), "params": distribution},
                "schedule": {**params.schedule.model_dump(), **variant.schedule},
                "diffusion": {**params.diffusion.model_dump(), **variant.diffusion()},
                **network,
            }
            names = variant.samplers or list(config.samplers)
            model = (settings["noise"]["name"], settings["schedule"]["num_train_timesteps"])
            samplers = {name: resolve_sampler(config.samplers[name].settings(), *model) for name in names}
            train = Fit(**params.train.model_dump(include=set(Fit.model_fields)))
            weights = params.evaluate.weights
            jobs.append(Job(label, seed, settings, samplers, train, config.scoring(), weights))
    rows: list[StudyRow] = []
    if jobs:
        target = str(resolve_device(device))
        with progress("study", len(jobs), "trainings") as advance:
            rows = run_jobs(jobs, target, config.workers, advance)
    write_scores(rows, workspace.STUDY)
    measured: dict[str, Any] = {"trainings": len(jobs)}
    if jobs:
        measured["seconds"] = time.perf_counter() - start
    write_json(workspace.metrics("study"), measured)
    if rows:
        about = read_json(workspace.REFERENCE / "reference.json")
        record_study(Store(params.experiment), params, rows, about)
    kept = {"file": workspace.STUDY / "scores.csv"} if jobs else {}
    summary("study", {"trainings": len(jobs) or "none, because there are no variants", "scores": len(rows), **kept})


main = command(study)
if __name__ == "__main__":
    main()
