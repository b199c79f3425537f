"""A store that was moved together with its repository: MLflow keeps the places of artifacts as absolute paths."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

ARTIFACTS = "mlartifacts"  # folder beside the store's file
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def old_home(file: Path) -> str | None:
    """The address of the folder in which the store lay before it was moved; None if it lies where it always was.

    None as well if the artifacts stayed there, or if both paths lead to the same folder.

    Args:
        file: of the store, SQLite.
    """
    if not file.is_file() or not file.stat().st_size:
        return None
    here = file.parent.as_uri()
    with closing(sqlite3.connect(file, timeout=1.0)) as database:
        if not _columns(database, "experiments"):
            return None
        found = database.execute(
            "SELECT artifact_location FROM experiments WHERE artifact_location LIKE 'file:///%'"
        ).fetchall()
    homes = {place.rpartition(f"/{ARTIFACTS}/")[0] for (place,) in found if f"/{ARTIFACTS}/" in place}
    for home in sorted(homes - {here}):
        old = Path(unquote(urlparse(home).path)) / ARTIFACTS
        new = file.parent / ARTIFACTS
        if not old.is_dir() or (new.is_dir() and not old.samefile(new)):
            return home
    return None


def follow_home(file: Path, old: str) -> None:
    """Change the places of all artifacts from the old folder to that in which the store lies now.

    Args:
        file: of the store, SQLite.
        old: of `old_home`.
    """
    before, after = f"{old}/{ARTIFACTS}/", f"{file.parent.as_uri()}/{ARTIFACTS}/"
    with closing(sqlite3.connect(file, timeout=5.0)) as database, database:
        for table, columns in PLACES.items():
            for column in set(columns) & _columns(database, table):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (after, len(before) + 1, len(before), before),
                )


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
