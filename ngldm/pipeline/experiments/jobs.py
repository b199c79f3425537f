"""Results of finished jobs of the stages `curve` and `study`. With them a stage that was stopped continues its work.

The rows of a job are kept in checkpoints/<kind>/<name>-<key>.json of the main repository, together with everything that
they were made from: settings, input files, code, type of device. They are used again only if all of this is the same.
If not, a printed line says what has changed.

The `KEPT` newest results of each job are kept. So experiments with different settings can share the folder, and the
folder does not grow without limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

from ngldm.io.errors import InputError
from ngldm.io.files import differences, fingerprint, newest_first, read_json, write_json
from ngldm.pipeline.workspace import main_root

Row = TypeVar(
    "Row", bound=Mapping[str, object]
)  # a TypedDict, of `ngldm.data.results.curve` or `ngldm.data.results.study`
KEPT = 4


@dataclass(frozen=True)
class KeptRows(Generic[Row]):
    """Where the rows of one job are kept.

    Attributes:
        kind: name of the stage.
        name: name of the job, for example "laplace-0".
        columns: the keys of each row.
        made_from: everything that the rows depend on, in types that JSON has: the result of
            `ngldm.pipeline.closure.made_from`, and the type of device.
    """

    kind: str
    name: str
    columns: tuple[str, ...]
    made_from: Mapping[str, object]

    @property
    def path(self) -> Path:
        """The file for exactly this `made_from`."""
        return main_root() / "checkpoints" / self.kind / f"{self.name}-{fingerprint(self.made_from)[:12]}.json"

    def read(self) -> list[Row] | None:
        """The kept rows, or None if there are none to use. If there are others, a printed line says why not."""
        newest = self._newest_first()
        if not newest:
            return None
        path = self.path if self.path in newest else newest[0]
        content = self._content(path)
        if content is None:
            reason = "it is damaged, or an older version wrote it"
        elif changed := differences(content["made_from"], self.made_from):
            reason = f"changed since: {', '.join(changed)}"
        else:
            return cast(list[Row], content["rows"])
        print(f"{self.kind} {self.name}: kept result {path.name} not used, {reason}", flush=True)
        return None

    def write(self, rows: list[Row]) -> None:
        """Keep the rows, and remove the oldest results of the same job."""
        write_json(self.path, {"made_from": self.made_from, "rows": rows, "sha256": fingerprint(rows)})
        others = [path for path in self._newest_first() if path != self.path]  # a wrong clock may call others newer
        for old in others[KEPT - 1 :]:
            old.unlink(missing_ok=True)

    def _newest_first(self) -> list[Path]:
        return newest_first(self.path.parent.glob(f"{self.name}-*.json"))

    def _content(self, path: Path) -> dict[str, object] | None:
        try:
            content = read_json(path, "made_from", "rows", "sha256")
        except (InputError, OSError):
            return None
        rows = content["rows"]
        if not (isinstance(content["made_from"], dict) and isinstance(rows, list)):
            return None
        if not all(isinstance(row, dict) and set(row) == set(self.columns) for row in rows):
            return None
        if content["sha256"] != fingerprint(rows):
            return None
        return content
