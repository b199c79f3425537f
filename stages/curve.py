"""Stage `curve`: the score by epoch, from the models that the trainings kept on their way."""

import time
from typing import Any

from ngldm.io.device import resolve_device
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.curve import score_snapshots, write_curves
from ngldm.pipeline.experiments.jobs import Row
from ngldm.pipeline.terminal import Device, command, duration, progress, summary


def curve(device: Device = "auto") -> None:
    """Score every snapshot of every noise with one sampler: plots/curve/<noise>.csv, and a curve in MLflow.

    Does nothing unless train.snapshot_every keeps snapshots. A score is kept in checkpoints/curve with
    what it was made from, its code included: an interrupted run goes on where it stopped, and one more noise costs only
    its own.
    """
    params = load_params()
    from ngldm.io.files import sha256_file, write_json

    kept = params.train.snapshot_every > 0
    found = {noise: sorted(workspace.snapshots(noise).glob("*.safetensors")) if kept else [] for noise in params.noises}
    rows: dict[str, list[Row]] = {noise: [] for noise in params.noises}
    total = sum(map(len, found.values()))
    content: dict[str, Any] = {"snapshots": "none, for train.snapshot_every is 0"}
    measured: dict[str, Any] = {"snapshots": total}
    if total:
        target = resolve_device(device)
        from ngldm.pipeline.tracking.comparison import run_of_model
        from ngldm.pipeline.tracking.store import Store

        store, start = Store(params.experiment), time.perf_counter()
        settings = (params.curve, params.evaluate, params.sampler_options[params.curve.sampler])
        with progress("curve", total * params.curve.num_images) as advance:
            for noise, files in found.items():
                run = run_of_model(store, params, noise, sha256_file(workspace.model(noise)), params.curve.sampler)
                rows[noise] = score_snapshots(noise, files, settings, params.train.batch_size, target, run, advance)
                run.finish()
        last = {noise: scores[-1]["value"] for noise, scores in rows.items() if scores}
        seconds = time.perf_counter() - start
        measured["seconds"] = seconds
        content = {"snapshots": total, "images each": params.curve.num_images, **last, "time": duration(seconds)}
    write_curves(rows)
    write_json(workspace.CURVE_METRICS, measured)
    summary("curve", content)


main = command(curve)
if __name__ == "__main__":
    main()
