"""Stage `curve`: the score by epoch, from the models that were kept during training."""

import time
from functools import partial

from ngldm.data.results.curve import CurveRow, write_curves
from ngldm.data.snapshots import snapshot_files
from ngldm.io import processes
from ngldm.io.device import resolve_device
from ngldm.io.files import sha256_file, write_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.curve import SnapshotScores
from ngldm.pipeline.terminal import Device, command, duration, progress, summary
from ngldm.pipeline.tracking.comparison import run_of_model
from ngldm.pipeline.tracking.dead import working_on_runs
from ngldm.pipeline.tracking.scores import record_curve, record_snapshot
from ngldm.pipeline.tracking.store import Store


def curve(device: Device = "auto") -> None:
    """Score every snapshot of every noise with one sampler: plots/curve/<noise>.csv, and a curve in MLflow.

    If train.snapshot_every is 0, there are no snapshots, and the tables are empty. Each score is kept in
    checkpoints/curve together with everything it was made from, including the code. So an interrupted run continues
    where it stopped, and if a noise is added, only its own snapshots are scored.
    """
    params = load_params()
    config, scoring = params.curve, params.evaluate
    kept = params.train.snapshot_every > 0
    found = {noise: snapshot_files(workspace.snapshots(noise)) if kept else [] for noise in params.training_labels}
    total = sum(map(len, found.values()))
    if not total:
        if not processes.is_main():
            return
        write_curves({noise: [] for noise in found}, workspace.CURVE)
        write_json(workspace.metrics("curve"), {"snapshots": 0})
        summary("curve", {"snapshots": "none, because train.snapshot_every is 0"})
        return
    target = resolve_device(device)
    start = time.perf_counter()
    store, settings = Store(params.experiment), (config, scoring, params.sampler_options[config.sampler])
    scores = SnapshotScores(settings, params.train.batch_size, target)
    rows: dict[str, list[CurveRow]] = {}
    with working_on_runs(store), progress("curve", total * config.num_images, lower="curve.batch_size") as advance:
        for noise, files in found.items():
            run = run_of_model(store, params, noise, sha256_file(workspace.model(noise)), config.sampler)
            rows[noise] = scores.curve(noise, files, partial(record_snapshot, run), advance)
            record_curve(run, rows[noise])
            run.finish()
    if not processes.is_main():
        return
    write_curves(rows, workspace.CURVE)
    seconds = time.perf_counter() - start
    write_json(workspace.metrics("curve"), {"snapshots": total, "seconds": seconds})
    last = {noise: points[-1]["value"] for noise, points in rows.items() if points}
    summary("curve", {"snapshots": total, "images each": config.num_images, **last, "time": duration(seconds)})


main = command(curve, many=True)
if __name__ == "__main__":
    main()
