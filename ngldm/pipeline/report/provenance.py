"""The origin of a report: commit, experiment; when, where and with which versions its results were made."""

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


def origins(params: Params) -> list[dict[str, str]]:
    """Of each training and its scores: stage, date, machine and versions. None of results of older versions.

    They are those of the results, as the stages wrote them, not of the report: the report of the same files is the
    same on every machine and at any time.
    """
    found = []
    for stage in ("train", "evaluate"):
        for label in params.training_labels:
            file = workspace.metrics(stage, label)
            content = read_json(file)
            if "made" in content:
                found.append({"stage": f"{stage}@{label}", **entry(content, "made", dict, file)})
    return found


def experiment() -> str | None:
    """DVC's name of the experiment in which the report is made; None outside of one."""
    return os.environ.get("DVC_EXP_NAME")


def commit() -> str:
    """The commit of the working tree, and whether the tree has changes."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    found = git("rev-parse", "HEAD")
    if not found:
        return "no git repository"
    return found + (" with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else "")
