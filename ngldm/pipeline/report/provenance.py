"""Where a report comes from: commit, experiment, and how long each stage took."""

import os
import subprocess

from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params


def stage_seconds(params: Params) -> list[tuple[str, float]]:
    """(stage, seconds) of every stage that measures its time, in the pipeline's order."""
    files = {
        "download": workspace.DOWNLOAD_METRICS,
        "autoencoder": workspace.AUTOENCODER_METRICS,
        "latents": workspace.LATENTS_METRICS,
        "reference": workspace.REFERENCE_METRICS,
    }
    pairs = [(noise, sampler) for noise in params.noises for sampler in params.samplers]
    files |= {f"train@{noise}": workspace.train_metrics(noise) for noise in params.noises}
    files |= {f"sample@{noise}-{sampler}": workspace.sample_metrics(noise, sampler) for noise, sampler in pairs}
    files |= {f"evaluate@{noise}-{sampler}": workspace.evaluate_metrics(noise, sampler) for noise, sampler in pairs}
    files |= {"curve": workspace.CURVE_METRICS, "study": workspace.STUDY_METRICS}
    found = []
    for stage, file in files.items():
        content = read_json(file) if file.is_file() else {}
        found += [(stage, entry(content, key, float)) for key in content if key.endswith("seconds")]
    return found


def provenance() -> str:
    """The commit that the working tree stands on, whether it was changed, and DVC's name of the experiment."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return "no git repository"
    changed = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    experiment = os.environ.get("DVC_EXP_NAME")
    return commit + changed + (f", DVC experiment {experiment}" if experiment else "")
