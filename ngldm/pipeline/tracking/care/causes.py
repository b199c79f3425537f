"""Why the MLflow store cannot be used, found out within seconds: MLflow itself would try for minutes."""

import os
import re
import sqlite3
import ssl
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from ngldm.pipeline.workspace import tracking_uri, without_password

SECONDS = 6.0  # in which a server must answer, or a lock be free
HEADER = b"SQLite format 3\0"


def trouble(seconds: float = SECONDS) -> str | None:
    """Why the store that the environment names cannot be used, and what to do; None if nothing is found.

    Args:
        seconds: how long to wait for a server or a lock.
    """
    uri = tracking_uri()
    if uri.startswith("sqlite:///"):
        return _sqlite_trouble(Path(uri.removeprefix("sqlite:///")), seconds)
    return _server_trouble(uri, seconds) if uri.startswith(("http://", "https://")) else None


def _sqlite_trouble(file: Path, seconds: float) -> str | None:
    place = file if file.exists() else file.parent
    if file.is_dir():
        return f"{file} is a folder, not a database; move it away"
    if not place.is_dir() and not file.is_file():
        return f"{file.parent} is no folder; make it, or set MLFLOW_TRACKING_URI to another place"
    if not os.access(place, os.R_OK | os.W_OK) or not os.access(file.parent, os.W_OK):
        return f"{file} cannot be written by you; change its rights and those of its folder"
    if not file.is_file() or not file.stat().st_size:
        return None
    with file.open("rb") as opened:
        if opened.read(len(HEADER)) != HEADER:
            return f"{file} is not an SQLite database; move it away, and the next stage makes a new one"
    try:
        with closing(sqlite3.connect(file, timeout=seconds)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.Error as error:
        if "locked" in str(error):
            return f"{file} was locked by another process for {seconds:g} s; end the process that holds it"
        return f"{file}: {error}; move it away, or bring back a copy"
    return None


def _server_trouble(uri: str, seconds: float) -> str | None:
    try:
        page = re.sub(r"//[^/]*@", "//", uri)  # urllib takes no user and password
        urllib.request.urlopen(f"{page.rstrip('/')}/health", timeout=seconds).close()
    except urllib.error.HTTPError:
        return None  # it answers; what it wants, as a password, MLflow knows
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        if isinstance(why, ssl.SSLError):
            return None  # it answers; MLflow may know its certificate (MLFLOW_TRACKING_SERVER_CERT_PATH)
        said = f"did not answer within {seconds:g} s" if isinstance(why, TimeoutError) else f"cannot be reached ({why})"
        return f"the server {without_password(uri)} {said}; start it, or unset MLFLOW_TRACKING_URI"
    return None
