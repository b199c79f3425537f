"""What the journals keep is sent to MLflow, call by call, in the order in which it was kept.

A journal is removed when all of it is sent. If the store fails meanwhile, the rest stays for the next time. A call that
was sent before a crash may be sent again: MLflow keeps the same figure once.
"""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import Timeout

from ngldm.io.files import atomic_path, sha256_file, write_json
from ngldm.pipeline.tracking.care.journal import LOCAL, folder, kept, lock, read_lines

SENT_TAG = "ngldm.unsent"  # of a run that was kept in a journal: its id there
SAME_RUN = ("ngldm.comparison", "ngldm.model_sha256")  # tags by which a run that is there already is known
OF_SCORES = "ngldm.sample"  # what tags begin with that two models of one run must share
NAMES = "sent.json"  # the ids in MLflow of runs that journals know by their own


class Sending:
    """One pass over the journals.

    Args:
        store: whose client and experiment are used.
        say: called with a line for the user.
    """

    def __init__(self, store: Any, say: Callable[[str], object]) -> None:
        self.store, self.client, self.say = store, store.client, say
        self.names_file = folder() / NAMES
        self.names: dict[str, str] = json.loads(self.names_file.read_text()) if self.names_file.is_file() else {}
        self.calls = 0

    def send_all(self, experiment: str) -> int:
        """Send all that is kept for an experiment. Returns how many calls were sent.

        Journals of processes that are running are left to them.

        Raises:
            Exception: what MLflow raises if the store fails meanwhile.
        """
        for journal in kept(experiment):
            held = lock(journal)
            try:
                held.acquire(timeout=0)
            except Timeout:
                continue
            try:
                self._send(journal)
            finally:
                held.release()
            shutil.rmtree(journal, ignore_errors=True)
        if not kept():
            self.names_file.unlink(missing_ok=True)
            if folder().is_dir() and not any(folder().iterdir()):
                folder().rmdir()
        return self.calls

    def _send(self, journal: Path) -> None:
        done_file, calls = journal / "done", read_lines(journal)
        done = int(done_file.read_text()) if done_file.is_file() else 1  # the first line says which store it is for
        tags, refused = _tags_of_runs(calls), list[str]()
        for number, call in enumerate(calls[done:], start=done):
            try:
                self._make(call, journal, tags)
            except Exception as error:
                self.client.get_experiment(self.store.experiment_id)  # raises, too, if it is the store that fails
                refused.append(str(error).splitlines()[0])
            self.calls += 1
            with atomic_path(done_file) as temporary:
                temporary.write_text(str(number + 1))
        if refused:
            self.say(f"MLflow refused {len(refused)} records that were kept; they are left out: {refused[0]}")
        ended = {call["run"] for call in calls if call["do"] == "set_terminated"}
        for run in (call["run"] for call in calls if call["do"] == "create_run" and call["run"] not in ended):
            self.client.set_terminated(self._id(run), "KILLED")  # the process that kept it has ended without a word

    def _make(self, call: dict[str, Any], journal: Path, tags: dict[str, dict[str, str]]) -> None:
        do = call["do"]
        if do == "create_run":
            self._create(call, tags[call["run"]])
        elif do in ("ensure_logged", "update_best"):
            self._call(call)
        else:
            getattr(self, f"_{do}")(self._id(call["run"]), call, journal)

    def _id(self, run: str) -> str:
        """MLflow's id of a run that a journal knows by its own."""
        if run.startswith(LOCAL) and run not in self.names and (found := self._search(SENT_TAG, run)):
            self.names[run] = found[0].info.run_id
        return self.names.get(run, run)

    def _create(self, call: dict[str, Any], tags: dict[str, str]) -> None:
        own = {key: self._id(value) for key, value in call["tags"].items()}
        found = self._search(SENT_TAG, call["run"])
        for key in (key for key in SAME_RUN if key in own):
            found += [run for run in self._search(key, own[key]) if _fits(run, tags)]
        if not found:
            made = {**own, SENT_TAG: call["run"]}
            found = [self.client.create_run(self.store.experiment_id, call["start"], made, call["name"])]
        self.names[call["run"]] = found[0].info.run_id
        write_json(self.names_file, self.names)

    def _search(self, tag: str, value: str) -> list[Any]:
        condition = f"tags.`{tag}` = '{value}'"
        found: list[Any] = self.client.search_runs([self.store.experiment_id], condition)
        return found

    def _log_batch(self, run: str, call: dict[str, Any], journal: Path) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(key, value, when, step, model) for key, value, when, step, model in call["metrics"]]
        params, tags = [Param(*pair) for pair in call["params"]], [RunTag(*pair) for pair in call["tags"]]
        self.client.log_batch(run, metrics, params, tags)

    def _update_run(self, run: str, call: dict[str, Any], journal: Path) -> None:
        self.client.update_run(run, call["status"], call["name"])

    def _set_terminated(self, run: str, call: dict[str, Any], journal: Path) -> None:
        self.client.set_terminated(run, call["status"], call["end"])

    def _log_artifact(self, run: str, call: dict[str, Any], journal: Path) -> None:
        self.client.log_artifact(run, str(journal / call["file"]), call["folder"])

    def _log_image(self, run: str, call: dict[str, Any], journal: Path) -> None:
        from PIL import Image

        with Image.open(journal / call["file"]) as image:
            self.client.log_image(run, image.copy(), key=call["key"], step=call["step"])

    def _log_inputs(self, run: str, call: dict[str, Any], journal: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        made = [
            DatasetInput(Dataset(**row["dataset"]), [InputTag(key, value) for key, value in row["tags"].items()])
            for row in call["datasets"]
        ]
        self.client.log_inputs(run, made)

    def _call(self, call: dict[str, Any]) -> None:
        """Call a function of `ngldm.pipeline.tracking.models`, which imports the store and thus this module."""
        function = getattr(import_module("ngldm.pipeline.tracking.models"), call["do"])
        arguments = {key: value for key, value in call.items() if key not in ("do", "run")}
        if "file" in arguments:
            file = Path(arguments["file"])
            if not file.is_file() or sha256_file(file) != arguments["sha"]:
                self.say(f"{file}: is not the model any more that could not be sent; it is left out")
                return
            runs = import_module("ngldm.pipeline.tracking.runs")
            arguments |= {"file": file, "shape": tuple(arguments["shape"])}
            arguments["run"] = runs.Run(self.store, self._id(call["run"]))
        function(self.store, **arguments)


def _tags_of_runs(calls: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """All tags that the runs of a journal get in it."""
    tags: dict[str, dict[str, str]] = {}
    for call in calls:
        if call["do"] == "create_run":
            tags[call["run"]] = dict(call["tags"])
        elif call.get("run") in tags:
            tags[call["run"]].update(call.get("tags", []))
    return tags


def _fits(run: Any, tags: dict[str, str]) -> bool:
    """Whether a run in MLflow may be the one with these tags: it was not scored with other settings."""
    own = {key: value for key, value in tags.items() if key.startswith(OF_SCORES)}
    return all(run.data.tags.get(key, value) == value for key, value in own.items())
