"""Stage `study`: compare noises, forward processes, objectives and samplers over several seeds.

Only some recipes have variants to compare, e.g. recipe=study; with the others this stage writes an empty table.
"""

import time
from typing import Any

from ngldm.data.results.study import StudyRow, write_scores
from ngldm.io.device import resolve_device
from ngldm.io.files import read_json, write_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.networks import check_networks
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.study.run import make_jobs, run_jobs
from ngldm.pipeline.terminal import Device, command, progress, summary
from ngldm.pipeline.tracking.comparison import record_study
from ngldm.pipeline.tracking.dead import working_on_runs
from ngldm.pipeline.tracking.store import Store


def study(device: Device = "auto") -> None:
    """Train each variant with each training seed and score each sampler with each sampling seed: study/scores.csv.

    Jobs run in parallel, in `study.workers` processes with one thread each. Each finished job is kept in
    checkpoints/study together with everything it was made from, including the code. So an interrupted study continues
    where it stopped.
    """
    params, start = load_params(), time.perf_counter()
    workspace.SCORES.unlink(missing_ok=True)  # of an earlier experiment; if this one has scores, its report writes them
    check_networks(params)
    check_noises(params)
    jobs = make_jobs(params.study, params.study_models(), params.networks(), params.evaluate)
    rows: list[StudyRow] = []
    if jobs:
        target = str(resolve_device(device))
        with progress("study", len(jobs), "trainings") as advance:
            rows = run_jobs(jobs, target, params.study.workers, advance)
    write_scores(rows, workspace.STUDY)
    measured: dict[str, Any] = {"trainings": len(jobs)}
    if jobs:
        measured["seconds"] = time.perf_counter() - start
    write_json(workspace.metrics("study"), measured)
    if rows:
        about = read_json(workspace.REFERENCE / "reference.json")
        with working_on_runs(store := Store(params.experiment)):
            record_study(store, params, rows, about)
    kept = {"file": workspace.STUDY / "scores.csv"} if jobs else {}
    summary("study", {"trainings": len(jobs) or "none, because there are no variants", "scores": len(rows), **kept})


main = command(study)
if __name__ == "__main__":
    main()
