"""The origin of a report: commit, experiment, and how long each stage took."""

import os
import subprocess

from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params


def stage_seconds(params: Params) -> list[tuple[str, float]]:
    """(stage, seconds) of each stage that measures its time, in the order of the pipeline."""
    labels: dict[str, list[tuple[str, ...]]] = {
        "train": [(label,) for label in params.training_labels],
        "sample": [(label, sampler) for label in params.training_labels for sampler in params.samplers],
        "evaluate": [(label,) for label in params.training_labels],
    }
    found = []
    for stage in workspace.STAGES:
        for label in labels.get(stage, [()]):
            file = workspace.metrics(stage, *label)
            content = read_json(file) if file.is_file() else {}
            name = stage + ("@" + "-".join(label) if label else "")
            found += [(name, entry(content, key, float)) for key in content if key.endswith("seconds")]
    return found


def provenance() -> str:
    """The commit of the working tree, whether the tree has changes, and DVC's name of the experiment."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return "no git repository"
    changed = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    experiment = os.environ.get("DVC_EXP_NAME")
    return commit + changed + (f", DVC experiment {experiment}" if experiment else "")
