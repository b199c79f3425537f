"""Where artifacts are looked for after a move. tests/faults/test_tracking.py moves a real store."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ngldm.pipeline.tracking.care.repairs import PLACES, follow_home, old_home


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Path, Path]:
    """The old folder, with artifacts, and the file of a store with its tables in a new one."""
    old, new = tmp_path / "old", tmp_path / "a new % ü"
    (old / "mlartifacts").mkdir(parents=True)
    new.mkdir()
    with closing(sqlite3.connect(new / "mlflow.db")) as database, database:
        for table, columns in PLACES.items():
            database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            row = [f"{old.as_uri()}/mlartifacts/ngldm/{table}"] * len(columns)
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        database.execute("INSERT INTO runs VALUES ('s3://bucket/mlartifacts/1')")
    return old, new / "mlflow.db"


def test_artifacts_that_stayed_are_left_alone(moved: tuple[Path, Path]) -> None:
    assert old_home(moved[1]) is None


def test_a_copy_follows_its_own_artifacts(moved: tuple[Path, Path]) -> None:
    old, file = moved
    (file.parent / "mlartifacts").mkdir()
    assert old_home(file) == old.as_uri()


def test_the_same_folder_by_another_path_is_left_alone(moved: tuple[Path, Path]) -> None:
    old, file = moved
    (file.parent / "mlartifacts").symlink_to(old / "mlartifacts")
    assert old_home(file) is None


def test_all_places_follow_and_no_other(moved: tuple[Path, Path]) -> None:
    old, file = moved
    shutil.rmtree(old)
    home = old_home(file)
    assert home == old.as_uri()
    follow_home(file, home)
    assert old_home(file) is None
    with closing(sqlite3.connect(file)) as database:
        for table, columns in PLACES.items():
            for column in columns:
                places = {row[0] for row in database.execute(f"SELECT {column} FROM {table}")}
                assert f"{file.parent.as_uri()}/mlartifacts/ngldm/{table}" in places
                assert not any(place.startswith(old.as_uri()) for place in places)
        assert ("s3://bucket/mlartifacts/1",) in database.execute("SELECT artifact_uri FROM runs").fetchall()


def test_a_file_without_tables_has_no_home(tmp_path: Path) -> None:
    assert old_home(tmp_path / "mlflow.db") is None
    (tmp_path / "mlflow.db").touch()
    assert old_home(tmp_path / "mlflow.db") is None
    sqlite3.connect(tmp_path / "mlflow.db").execute("CREATE TABLE a (b)").connection.close()
    assert old_home(tmp_path / "mlflow.db") is None
