"""One MLflow run and everything that is written to it: params, metrics, tags, pictures, data sets, machine load."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ngldm.pipeline.tracking.care.living import own_mark
from ngldm.pipeline.tracking.store import Store

PARENT_ID = "mlflow.parentRunId"  # the tag by which MLflow's UI nests runs
SYSTEM_SECONDS = 5.0  # between two samples of the machine's load


class Run:
    """One MLflow run. After the store has failed, the methods do nothing.

    Attributes:
        id: MLflow's id; None if the run could not be made.
        parent: the run of the comparison to which it belongs. It ends when its last run ends.
        seconds: how long its training took; None: it lasts until `finish`.
        step: number of optimiser steps of the model that is scored.
    """

    def __init__(
        self, store: Store, run_id: str | None, parent: "Run | None" = None, seconds: float | None = None
    ) -> None:
        self.store, self.id, self.parent, self.seconds, self.step = store, run_id, parent, seconds, 0

    @property
    def alive(self) -> bool:
        """Whether the store still works. If not, there is no need to make pictures."""
        return self.store.client is not None and self.id is not None

    def _do(self, action: Callable[[Any, str], Any]) -> None:
        run_id = self.id
        if run_id is not None:
            self.store.ask(lambda client: action(client, run_id))

    def _log(self, kind: str, entity: str, rows: list[tuple[Any, ...]]) -> None:
        def log(client: Any, run_id: str) -> None:
            import mlflow.entities

            make = getattr(mlflow.entities, entity)
            for start in range(0, len(rows), 100):  # the server's limit for params and tags
                client.log_batch(run_id, **{kind: [make(*row) for row in rows[start : start + 100]]})

        self._do(log)

    def params(self, content: Mapping[str, Any]) -> None:
        self._log("params", "Param", [(key, str(value)) for key, value in content.items()])

    def metrics(self, content: Mapping[str, float | None], step: int = 0, model_id: str | None = None) -> None:
        """Log figures. Entries that are None or NaN are left out.

        Args:
            model_id: id of the logged model that the figures describe. Its page in MLflow shows them too.
        """
        now = int(time.time() * 1000)
        kept = {key: float(value) for key, value in content.items() if value is not None and not math.isnan(value)}
        self._log("metrics", "Metric", [(key, value, now, step, model_id) for key, value in kept.items()])

    def tags(self, content: Mapping[str, str]) -> None:
        self._log("tags", "RunTag", list(content.items()))

    def report(self, report: Any) -> None:
        """Log a report of the training loop and the memory in use, as metrics train.* at its step.

        The number of parts that was found by trial is one too, train.accumulate_steps.found: a training that is resumed
        on other processes may find another, and a param of MLflow's cannot change.
        """
        values = dict(vars(report))
        step, parts = values.pop("step"), values.pop("parts", None)
        if parts is not None:
            values["accumulate_steps.found"] = parts
        self.metrics({f"train.{key}": value for key, value in {**values, **memory_mib()}.items()}, step)

    def image(self, file: Path, folder: str) -> None:
        """Log a picture as an artifact, in that folder."""
        self._do(lambda client, run_id: client.log_artifact(run_id, str(file), folder))

    def picture(self, key: str, image: Any, step: int) -> None:
        """Log a picture for MLflow's image view, which has a slider over steps.

        Args:
            key: name of the series of pictures, of letters, digits, "-" and "_".
            image: uint8 (H, W, C).
        """
        grey = image[..., 0] if image.shape[-1] == 1 else image  # MLflow wants grey images without a channel
        self._do(lambda client, run_id: client.log_image(run_id, grey, key=key, step=step))

    def data_input(self, name: str, file: Path, items: Any, digest: str, context: str) -> None:
        """Log which data was used: name, digest, shape and type.

        Args:
            items: what the file holds or names: an array, or rows in shards. Their numbers are not read.
            digest: SHA-256 of the file. MLflow keeps its first 36 characters.
            context: the use of the data, for example "training".
        """

        def log(client: Any, run_id: str) -> None:
            import mlflow.data
            import numpy as np
            from mlflow.entities import DatasetInput, InputTag

            array = np.broadcast_to(np.zeros((), items.dtype), items.shape)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow warns that it knows two kinds of local files
                data = mlflow.data.from_numpy(array, source=str(file), name=name, digest=digest[:36])
            tags = [InputTag("mlflow.data.context", context)]
            client.log_inputs(run_id, [DatasetInput(data._to_mlflow_entity(), tags)])

        self._do(log)

    @contextmanager
    def system_metrics(self) -> Iterator[None]:
        """Log the load of the machine (CPU, memory, GPU if there is one) while the block runs."""
        monitor = self.store.attempt(self._start_monitor, None) if self.alive and self.store.answers else None
        try:
            yield
        finally:
            if monitor is not None:
                self.store.attempt(monitor.finish, None)

    def _start_monitor(self) -> Any:
        try:
            import psutil  # noqa: F401
        except ImportError:  # usually installed, because DVC needs it
            return None
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(self.id, sampling_interval=SYSTEM_SECONDS)
        # Disk and network are those of the whole machine, and say nothing of the training.
        monitor.monitors = [each for each in monitor.monitors if not isinstance(each, DiskMonitor | NetworkMonitor)]
        monitor.start()
        return monitor

    def go_on(self) -> None:
        """Say that this process works on a run that is there already."""
        self.tags(own_mark())
        self._do(lambda client, run_id: client.update_run(run_id, status="RUNNING"))

    def finish(self, status: str = "FINISHED") -> None:
        """End the run with a status: FINISHED, FAILED or KILLED. Its parent ends when the last of its runs ends.

        A run that has ended keeps its status and its end: scores that are written later are not part of its duration.
        """

        def end(client: Any, run_id: str) -> None:
            about, now = client.get_run(run_id).info, round(time.time() * 1000)
            if self.seconds is not None:
                client.set_terminated(run_id, status, min(about.start_time + round(self.seconds * 1000), now))
            elif about.status == "RUNNING":
                client.set_terminated(run_id, status, now)

        self._do(end)
        if self.parent is not None:
            self.parent.end_with_children()

    def end_with_children(self) -> None:
        """End the parent, unless one of its runs is still running.

        Of runs with the same name only the newest counts. If one of these is not FINISHED, the parent gets its status.
        """

        def end(client: Any, run_id: str) -> None:
            children = client.search_runs(
                [self.store.experiment_id], f"tags.`{PARENT_ID}` = '{run_id}'", order_by=["attributes.start_time ASC"]
            )
            newest = {child.info.run_name: child.info.status for child in children}
            if "RUNNING" not in newest.values():
                bad = [status for status in newest.values() if status != "FINISHED"]
                last = max((child.info.end_time or 0 for child in children), default=0)
                client.set_terminated(run_id, bad[0] if bad else "FINISHED", last or None)

        self._do(end)

    def logged_steps(self, key: str) -> set[int]:
        """The steps at which a metric is already logged."""
        found: set[int] = set()
        self._do(lambda client, run_id: found.update(m.step for m in client.get_metric_history(run_id, key)))
        return found


def memory_mib() -> dict[str, float]:
    """Memory of this process in MiB: `memory_mib` now, and, if torch has used a GPU, the peak `gpu_memory_mib`."""
    found: dict[str, float] = {}
    try:
        import psutil
    except ImportError:
        pass
    else:
        found["memory_mib"] = psutil.Process().memory_info().rss / 2**20
    import torch

    if torch.cuda.is_initialized():
        found["gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found
