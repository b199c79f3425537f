"""One MLflow run and what is written to it: params, metrics by step, tags, pictures, data sets, the machine's load."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ngldm.pipeline.tracking.store import Store

PARENT_ID = "mlflow.parentRunId"  # the tag by which MLflow's UI nests runs
SYSTEM_SECONDS = 5.0  # between two samples of the machine's load


class Run:
    """One MLflow run; every method does nothing once the store has failed.

    Attributes:
        id: MLflow's; None if the run could not be made.
        parent: the run of the comparison that it belongs to, ended with it.
        step: optimiser steps of the model that is scored.
    """

    def __init__(self, store: Store, run_id: str | None, parent: "Run | None" = None) -> None:
        self.store, self.id, self.parent, self.step = store, run_id, parent, 0

    @property
    def alive(self) -> bool:
        """Whether what is written still arrives: costly pictures need not be made otherwise."""
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
        """Log figures; entries that are None or NaN are left out.

        Args:
            model_id: of the logged model that they describe, at whose page they then stand too.
        """
        now = int(time.time() * 1000)
        kept = {key: float(value) for key, value in content.items() if value is not None and not math.isnan(value)}
        self._log("metrics", "Metric", [(key, value, now, step, model_id) for key, value in kept.items()])

    def tags(self, content: Mapping[str, str]) -> None:
        self._log("tags", "RunTag", list(content.items()))

    def report(self, report: Any) -> None:
        """A report of the training loop, and the memory it takes, as metrics train.* at its step."""
        values = {key: value for key, value in vars(report).items() if key != "step"}
        self.metrics({f"train.{key}": value for key, value in {**values, **memory_mib()}.items()}, report.step)

    def image(self, file: Path, folder: str) -> None:
        """Keep a picture as an artifact in a folder."""
        self._do(lambda client, run_id: client.log_artifact(run_id, str(file), folder))

    def picture(self, key: str, image: Any, step: int) -> None:
        """A frame of the UI's image view, which has a slider over steps.

        Args:
            key: letters, digits, "-", "_"; one strip of pictures each.
            image: uint8 (H, W, C).
        """
        grey = image[..., 0] if image.shape[-1] == 1 else image  # MLflow wants grey images without a channel
        self._do(lambda client, run_id: client.log_image(run_id, grey, key=key, step=step))

    def data_input(self, name: str, file: Path, digest: str, context: str) -> None:
        """Say which data went in: name, digest, shape and type of an .npy file.

        Args:
            digest: SHA-256 of the file; MLflow keeps 36 characters.
            context: what it was used for: training, validation, ...
        """

        def log(client: Any, run_id: str) -> None:
            import mlflow.data
            import numpy as np
            from mlflow.entities import DatasetInput, InputTag

            array = np.load(file, mmap_mode="r", allow_pickle=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow has two registered kinds of local source, and says so
                data = mlflow.data.from_numpy(array, source=str(file), name=name, digest=digest[:36])
            tags = [InputTag("mlflow.data.context", context)]
            client.log_inputs(run_id, [DatasetInput(data._to_mlflow_entity(), tags)])

        self._do(log)

    @contextmanager
    def system_metrics(self) -> Iterator[None]:
        """Log the machine's load (CPU, memory, disk, network, GPU where one is) while the block runs."""
        monitor = self.store.attempt(self._start_monitor, None) if self.alive else None
        try:
            yield
        finally:
            if monitor is not None:
                self.store.attempt(monitor.finish, None)

    def _start_monitor(self) -> Any:
        try:
            import psutil  # noqa: F401
        except ImportError:  # of DVC's dependencies, so mostly there
            return None
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(self.id, sampling_interval=SYSTEM_SECONDS)
        monitor.start()
        return monitor

    def finish(self, status: str = "FINISHED") -> None:
        """`status`: FINISHED, FAILED or KILLED. A parent ends with the last of its children to end."""
        self._do(lambda client, run_id: client.set_terminated(run_id, status))
        if self.parent is not None:
            self.parent._end_with_children()

    def _end_with_children(self) -> None:
        """End as FINISHED, or as the newest child of some name that did not; go on while one of them runs."""

        def end(client: Any, run_id: str) -> None:
            children = client.search_runs(
                [self.store.experiment_id], f"tags.`{PARENT_ID}` = '{run_id}'", order_by=["attributes.start_time ASC"]
            )
            newest = {child.info.run_name: child.info.status for child in children}
            if "RUNNING" not in newest.values():
                bad = [status for status in newest.values() if status != "FINISHED"]
                client.set_terminated(run_id, bad[0] if bad else "FINISHED")

        self._do(end)

    def logged_steps(self, key: str) -> set[int]:
        """Steps at which a metric was logged already."""
        found: set[int] = set()
        self._do(lambda client, run_id: found.update(m.step for m in client.get_metric_history(run_id, key)))
        return found


def memory_mib() -> dict[str, float]:
    """What this process holds now: `memory_mib`, and `gpu_memory_mib` where torch has used a GPU."""
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
