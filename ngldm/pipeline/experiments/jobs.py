"""Finished jobs of the stages `curve` and `study`, kept: a stage that was stopped goes on where it was.

The rows of a job lie in checkpoints/<kind>/<name>-<key>.json of the main repository, together with all that they were
made from: settings, input files, code, type of device. They are used again only if all of that is the same. If not, a
line says what has changed.

Of each job the `KEPT` newest results stay. So experiments with different settings can share the folder, and it does not
grow for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngldm.io.errors import InputError
from ngldm.io.files import differences, fingerprint, newest_first, read_json, write_json
from ngldm.pipeline.workspace import main_root

Row = dict[str, Any]
KEPT = 4


@dataclass(frozen=True)
class KeptRows:
    """Where the rows of one job are kept.

    Attributes:
        kind: the stage.
        name: of the job, e.g. "laplace-0".
        columns: keys that each row has.
        made_from: what the rows depend on, JSON-able: `ngldm.pipeline.closure.made_from`, and the type of device.
    """

    kind: str
    name: str
    columns: tuple[str, ...]
    made_from: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The file for exactly this `made_from`."""
        return main_root() / "checkpoints" / self.kind / f"{self.name}-{fingerprint(self.made_from)[:12]}.json"

    def read(self) -> list[Row] | None:
        """The kept rows. None if there are none that can be used; if there are others, a printed line says why not."""
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
            rows: list[Row] = content["rows"]
            return rows
        print(f"{self.kind} {self.name}: kept result {path.name} not used, {reason}", flush=True)
        return None

    def write(self, rows: list[Row]) -> None:
        """Keep the rows, and remove the oldest results of the same job."""
        write_json(self.path, {"made_from": self.made_from, "rows": rows})
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)

    def _newest_first(self) -> list[Path]:
        return newest_first(self.path.parent.glob(f"{self.name}-*.json"))

    def _content(self, path: Path) -> Any:
        try:
            content = read_json(path, "made_from", "rows")
        except (InputError, OSError):
            return None
        rows = content["rows"]
        if not (isinstance(content["made_from"], dict) and isinstance(rows, list)):
            return None
        if not all(isinstance(row, dict) and set(row) == set(self.columns) for row in rows):
            return None
        return content
