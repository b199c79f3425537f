"""A recipe from its data to its scores, as far as time goes: the stages of the pipeline, in a folder of its own.

A stage is done if the file of its figures is there, which it writes last. A training that is out of time saves a
checkpoint and ends, and the next call of its stage goes on from there.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.common import Row
from ngldm.io.errors import InputError
from ngldm.io.files import differences, entry, newest_first, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.dataset.source import require_source
from ngldm.pipeline.config.networks import check_networks, check_pretrained
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import Params, load_params, load_raw
from ngldm.scoring.features.inception import FID_WEIGHTS_NAME
from ngldm.training.checkpoints.checkpointer import KEY
from ngldm.training.checkpoints.whole import state_of

ROOT = Path(__file__).parents[2]
SAVING = 20.0  # seconds that a training has to save a checkpoint
ENDING = 20.0  # seconds that a stage has to end when it was told to; then it is killed
now = time.monotonic


@dataclass(frozen=True)
class Stage:
    """A call of a stage.

    Attributes:
        module: of stages/.
        labels: of a training, and of a sampler.
        checkpoints: the label of its checkpoints, if it trains.
    """

    module: str
    labels: tuple[str, ...] = ()
    checkpoints: str | None = None

    @property
    def command(self) -> list[str]:
        options = [word for pair in zip(("--noise", "--sampler"), self.labels, strict=False) for word in pair]
        return [sys.executable, "-m", f"stages.{self.module}", *options]

    @property
    def figures(self) -> Path:
        return workspace.metrics(self.module, *self.labels)

    def __str__(self) -> str:
        return " ".join((self.module, *self.labels))


def composed(size: str, given: Sequence[str]) -> list[str]:
    """Overrides of Hydra: those given, and ours for the other keys.

    Without weights of FID's Inception the extractor is that of the data set.
    """
    if size == "smallest":
        own = ["recipe=smoke", "noises=[gaussian,laplace]"]
    else:
        own = ["recipe=best", "noises=[gaussian,laplace]", "seeds=[0]", "train.snapshot_every=0"]
        weights = any(one.startswith("evaluate.inception_weights=") for one in given)
        if not weights and not (Path(torch.hub.get_dir()) / "checkpoints" / FID_WEIGHTS_NAME).is_file():
            own.append("evaluate.extractor=auto")
    keys = {one.partition("=")[0].lstrip("+") for one in given}
    return [*(one for one in own if one.partition("=")[0] not in keys), *given]


@dataclass(frozen=True)
class Recipe:
    """The folder in which the stages run."""

    folder: Path
    params: Params

    @staticmethod
    def of(folder: Path, size: str, given: Sequence[str]) -> "Recipe":
        """Write params.yaml, if there is none or settings are given.

        Raises:
            InputError: a setting is not allowed; or a stage has run with other ones, besides those of `evaluate`, with
                which only the scores are computed anew.
        """
        folder.mkdir(parents=True, exist_ok=True)
        conf, file = folder / "conf", folder / "params.yaml"
        if not conf.exists():
            conf.unlink(missing_ok=True)  # a link of another machine
            conf.symlink_to(ROOT / "conf")
        if given or not file.is_file():
            with chdir(folder), TemporaryDirectory(dir=".", prefix=".params") as name:
                wanted = Path(name) / "params.yaml"
                compose_params(wanted, composed(size, given), _check)
                if Path("params.yaml").is_file() and Path("metrics").is_dir():
                    _start_anew(differences(load_raw(Path("params.yaml")), load_raw(wanted)), folder)
                wanted.replace("params.yaml")
        return Recipe(folder, load_params(file))

    @property
    def parts(self) -> dict[str, list[Stage]]:
        """The stages of each part, by its name."""
        shared = [Stage("download"), Stage("autoencoder", checkpoints="autoencoder"), Stage("latents")]
        parts = {"best, data": [*shared, Stage("reference")]}
        for label in self.params.training_labels:
            samples = [Stage("sample", (label, sampler)) for sampler in self.params.samplers]
            parts[f"best, {label}"] = [Stage("train", (label,), label), *samples, Stage("evaluate", (label,))]
        return parts

    def done(self, part: str) -> bool:
        return all(self._figures(stage) is not None for stage in self.parts[part])

    def advance(self, part: str, until: float) -> str | None:
        """Run the stages of a part that are not done, until a time (of `now`).

        Returns:
            Where it stopped; None if all are done.

        Raises:
            InputError: a stage failed.
        """
        for stage in self.parts[part]:
            if self._figures(stage) is None and not self._run(stage, until - SAVING - ENDING):
                step = self._kept(stage.checkpoints)["step"] if stage.checkpoints else None
                return str(stage) if step is None else f"{stage}, step {step}"
        return None

    def progress(self, part: str) -> tuple[object, ...]:
        """What changes as a part goes on: stages that are done, steps of trainings, files of batches that are kept."""
        stages = self.parts[part]
        steps = [self._kept(stage.checkpoints)["step"] for stage in stages if stage.checkpoints]
        files = sum(1 for _ in (self.folder / "checkpoints").rglob("*"))
        return *(self._figures(stage) is not None for stage in stages), *steps, files

    def _figures(self, stage: Stage) -> Mapping[str, Any] | None:
        file = self.folder / stage.figures
        return read_json(file) if file.is_file() else None

    def _kept(self, label: str) -> dict[str, Any]:
        """Step and seconds of the newest checkpoint of a training."""
        for folder in newest_first((self.folder / "checkpoints").glob(f"{escape(label)}-{KEY}")):
            if state := state_of(folder):
                return {"step": state["step"], "seconds": state.get("seconds")}
        return {"step": 0, "seconds": None}

    def _run(self, stage: Stage, until: float) -> bool:
        """Run a stage. Returns whether it ended by itself, before it was told to."""
        if now() >= until:
            return False
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        environment.pop("MLFLOW_TRACKING_URI", None)  # the store is that of the folder
        process = subprocess.Popen(stage.command, cwd=self.folder, env=environment)
        try:
            if in_time := _ended(process, until):
                if process.returncode:
                    raise InputError(f"stage {stage}: exit code {process.returncode}; the lines above say why")
            elif stage.checkpoints:
                self._save(process, stage.checkpoints)
        finally:
            _end(process)
        return in_time or process.returncode == 0

    def _save(self, process: subprocess.Popen[bytes], label: str) -> None:
        """Let a training save a checkpoint, and wait for it."""
        before = self._kept(label)
        process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + SAVING
        while process.poll() is None and self._kept(label) == before and time.monotonic() < end:
            time.sleep(0.1)

    def rows(self) -> list[Row]:
        """A row for each noise and sampler whose training has begun: how far it is, its speed, its score."""
        found = []
        for label in self.params.training_labels:
            for sampler in self.params.samplers:
                row = self._row(label, sampler)
                if row["steps"]:
                    found.append(row)
        return found

    def _row(self, label: str, sampler: str) -> Row:
        config, count = self.params.train, self.params.sample.num_images
        kept = self._kept(label)
        steps, seconds, machine = kept["step"], kept["seconds"], ""
        if trained := self._figures(Stage("train", (label,))):
            steps, seconds, machine = config.max_steps, trained["train_seconds"], trained["made"]["machine"]
        row: Row = {"noise": label, "sampler": sampler, "steps": steps, "of": config.max_steps}
        row["training, s"] = seconds or ""
        row["images/s in training"] = steps * config.batch_size / seconds if seconds else ""
        sampled = self._figures(Stage("sample", (label, sampler)))
        row["images/s in sampling"] = count / sampled["sample_seconds"] if sampled else ""
        row |= dict.fromkeys(("metric", "score", "spread", "images scored", "extractor"), "")
        if scored := self._figures(Stage("evaluate", (label,))):
            scores = entry(scored, "samplers", dict)[sampler]
            metric = next(iter(scores))
            row |= {"metric": metric, "score": scores[metric], "spread": scores[f"{metric}_std"]}
            row["images scored"] = scores["num_samples"]
            row["extractor"] = read_json(self.folder / workspace.REFERENCE / "reference.json")["extractor"]
        return {**row, "machine": machine}

    def pictures(self, part: str, out: Path) -> list[Path]:
        """Copy the grids of a part's samples there. Returns the copies."""
        sampled = [stage for stage in self.parts[part] if stage.module == "sample" and self._figures(stage)]
        grids = [self.folder / workspace.sample_plot(*stage.labels) for stage in sampled]
        return [Path(shutil.copy(grid, out / grid.name)) for grid in grids]


def _check(params: Params) -> None:
    """Check before any work what the stages would refuse.

    Raises:
        InputError: something is not allowed, or the data set is not there.
    """
    check_networks(params)
    check_pretrained(params)
    check_noises(params)
    require_source(params.dataset.source)


def _start_anew(changed: Sequence[str], folder: Path) -> None:
    """Forget the scores, if only they depend on what was changed.

    Raises:
        InputError: more does.
    """
    if others := [key for key in changed if not key.startswith("evaluate.")]:
        raise InputError(
            f"--set: {folder / 'params.yaml'} has other settings: {', '.join(others)}; give the same ones, none, or "
            "another --workspace"
        )
    if changed:
        Path(workspace.metrics("reference")).unlink(missing_ok=True)
        for file in Path("metrics/evaluate").glob("*.json"):
            file.unlink()


def _ended(process: subprocess.Popen[bytes], until: float) -> bool:
    """Wait until a process has ended, or until a time. Returns whether it has ended."""
    while process.poll() is None and now() < until:
        time.sleep(0.1)
    return process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process end well if it can."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
