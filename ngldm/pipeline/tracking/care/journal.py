"""Records that MLflow could not take, kept on the disk until it can: unsent/ of the main repository.

On disk: a folder for each process that has kept something, with journal.jsonl, a line for each call of MLflow's client,
and the pictures beside it. `sending.py` makes the calls later.
"""

import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from filelock import FileLock

from ngldm.io.files import fingerprint
from ngldm.pipeline.workspace import main_root, store_file, tracking_uri

LOCAL = "unsent-"  # what the id of a run begins with that exists in a journal alone
LINES = "journal.jsonl"
CONDITION = re.compile(r"tags\.`([^`]+)` = '([^']*)'")


class NotKeptHere(Exception):
    """A question to MLflow that a journal cannot answer."""


def folder() -> Path:
    """Where the journals of this repository lie."""
    return main_root() / "unsent"


def address() -> str:
    """Which store a journal is for. It holds no password; that of the repository's own store moves with it."""
    return "here" if store_file() else fingerprint(tracking_uri())


def lock(journal: Path) -> FileLock:
    """The lock of a journal. A process holds it while it writes; who gets it knows that the process has ended."""
    return FileLock(journal / "lock")


def read_lines(journal: Path) -> list[dict[str, Any]]:
    """The calls in a journal. The last line may be cut, if the process was killed; it is left out."""
    lines = []
    for line in (journal / LINES).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def kept(experiment: str | None = None) -> list[Path]:
    """The journals for the store that the environment names, the oldest first.

    Args:
        experiment: name; None takes all.
    """
    found = []
    for file in sorted(folder().glob(f"*/{LINES}")):
        first = next(iter(read_lines(file.parent)), {})
        if first.get("address") == address() and experiment in (None, first.get("experiment")):
            found.append(file.parent)
    return found


def experiments() -> list[str]:
    """The experiments that the journals are for."""
    return list(dict.fromkeys(read_lines(journal)[0]["experiment"] for journal in kept()))


def _later_than_all() -> int:
    """The time, or what makes the newest name of a journal if the clock was set back: they are sent in this order."""
    known = [int(path.name.split("-")[0]) for path in folder().glob("[0-9]*-*")]
    return max([time.time_ns(), *(number + 1 for number in known)])


class Journal:
    """Used like MLflow's client: it keeps the calls that write, and answers what the journals of this repository know.

    Args:
        experiment: name of the experiment that the calls are for.
    """

    def __init__(self, experiment: str) -> None:
        self.experiment, self.folder = experiment, folder() / f"{_later_than_all()}-{os.getpid()}"
        self.numbers, self.lock = itertools.count(1), lock(self.folder)

    def __getattr__(self, name: str) -> Any:
        """Any other call of MLflow's client."""
        raise NotKeptHere(name)

    def write(self, call: Mapping[str, Any]) -> None:
        """Keep a call. The first one makes the folder, so that a process without any leaves none."""
        if not self.lock.is_locked:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
            self.write({"do": "start", "address": address(), "experiment": self.experiment})
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(call) + "\n")

    def create_run(
        self, experiment_id: str, start_time: int | None = None, tags: Any = None, run_name: str | None = None
    ) -> Any:
        run, start = f"{LOCAL}{uuid4().hex}", start_time or int(time.time() * 1000)
        self.write({"do": "create_run", "run": run, "start": start, "tags": dict(tags or {}), "name": run_name})
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def log_batch(
        self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = (), tags: Sequence[Any] = ()
    ) -> None:
        rows = [[m.key, m.value, m.timestamp, m.step, getattr(m, "model_id", None)] for m in metrics]
        pairs = {"params": [[p.key, p.value] for p in params], "tags": [[t.key, t.value] for t in tags]}
        self.write({"do": "log_batch", "run": run_id, "metrics": rows, **pairs})

    def log_metric(self, run_id: str, key: str, value: float, timestamp: int | None = None, step: int = 0) -> None:
        now = timestamp or int(time.time() * 1000)
        rows = [[key, value, now, step, None]]
        self.write({"do": "log_batch", "run": run_id, "metrics": rows, "params": [], "tags": []})

    def set_tag(self, run_id: str, key: str, value: Any) -> None:
        self.write({"do": "log_batch", "run": run_id, "metrics": [], "params": [], "tags": [[key, str(value)]]})

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        self.write({"do": "update_run", "run": run_id, "status": status, "name": name})

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        end = end_time or int(time.time() * 1000)
        self.write({"do": "set_terminated", "run": run_id, "status": status, "end": end})

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        name = f"{next(self.numbers)}/{Path(local_path).name}"
        (self.folder / name).parent.mkdir(parents=True)
        shutil.copyfile(local_path, self.folder / name)
        self.write({"do": "log_artifact", "run": run_id, "file": name, "folder": artifact_path})

    def log_image(self, run_id: str, image: Any, key: str | None = None, step: int | None = None) -> None:
        from PIL import Image

        name = f"{next(self.numbers)}.png"
        self.folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(self.folder / name)
        self.write({"do": "log_image", "run": run_id, "file": name, "key": key, "step": step})

    def log_inputs(self, run_id: str, datasets: Sequence[Any] = ()) -> None:
        rows = [d.to_dictionary() for d in datasets]
        self.write({"do": "log_inputs", "run": run_id, "datasets": rows})

    def call(self, do: str, **arguments: Any) -> None:
        """Keep the call of a function of `ngldm.pipeline.tracking.models`.

        Args:
            do: its name.
            arguments: in types that JSON has.
        """
        self.write({"do": do, **arguments})

    def search_runs(self, experiment_ids: Sequence[str], filter_string: str = "", **options: Any) -> list[Any]:
        """The runs in the journals that have a tag, the newest first: the only question that ngldm asks."""
        found = CONDITION.fullmatch(filter_string)
        if found is None:
            raise NotKeptHere(filter_string)
        key, value = found.groups()
        runs = [run for run in _known(self.experiment) if run.data.tags.get(key) == value]
        return runs if "ASC" in str(options.get("order_by")) else runs[::-1]

    def get_run(self, run_id: str) -> Any:
        """A run of the journals. Of another nothing is known but that it has begun."""
        known = {run.info.run_id: run for run in _known(self.experiment)}
        return known.get(run_id) or _run(run_id, int(time.time() * 1000))

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return []


def _known(experiment: str) -> Iterator[Any]:
    """The runs that exist in journals alone, in the form of MLflow's, the oldest first."""
    runs: dict[str, Any] = {}
    for call in itertools.chain.from_iterable(read_lines(journal) for journal in kept(experiment)):
        if call["do"] == "create_run":
            runs[call["run"]] = _run(call["run"], call["start"], call["name"], call["tags"])
        elif (run := runs.get(call.get("run", ""))) is not None:
            run.data.tags.update(call.get("tags", []))
            run.info.status = call.get("status") or run.info.status
            run.info.end_time = call.get("end") or run.info.end_time
    yield from runs.values()


def _run(run_id: str, start: int, name: str | None = None, tags: Mapping[str, str] | None = None) -> Any:
    info = SimpleNamespace(run_id=run_id, run_name=name, status="RUNNING", start_time=start, end_time=None)
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=dict(tags or {}), params={}, metrics={}))
