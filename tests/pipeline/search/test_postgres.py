"""Four workers on one PostgreSQL, one of which is killed: the others take over its trial."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

ROOT = Path(__file__).parents[3]
TRIALS = int(os.environ.get("NGLDM_SEARCH_TRIALS", "8"))
GOOD = (TrialState.COMPLETE, TrialState.PRUNED)
MISSING = [program for program in ("initdb", "pg_ctl") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} missing; Debian's package is `postgresql`")


def server_user() -> str | None:
    """PostgreSQL refuses to run as root. None is the user of the test."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database on a server of its own."""
    pytest.importorskip("psycopg2", reason="no driver for PostgreSQL: psycopg2-binary")
    user = server_user()
    folder = Path(tempfile.mkdtemp(prefix="ngldm-postgres-"))  # pytest's folders are closed to other users
    if user:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(*command: str) -> None:
        subprocess.run(command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL, timeout=60)

    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        call("initdb", "-D", "data", "-U", "ngldm", "--auth=trust", "--no-sync")
        call("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")
        yield f"postgresql+psycopg2://ngldm@127.0.0.1:{port}/postgres"
        call("pg_ctl", "-D", "data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_four_workers_of_which_one_is_killed(write_search: Callable[..., None], database: str) -> None:
    write_search(trials=TRIALS, startup=2)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NGLDM_SEARCH_STORAGE": database}
    command = [sys.executable, "-m", "ngldm", "search", "run", "tiny", "--device", "cpu", "--grace", "6"]
    workers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(4)
    ]
    storage = RDBStorage(database)  # one: each has connections of its own, and a server takes a hundred
    killed = None
    deadline = time.monotonic() + 180
    while killed is None and time.monotonic() < deadline:
        time.sleep(0.05)
        for trial in _trials(storage):
            if trial.state == TrialState.RUNNING and "worker" in trial.user_attrs and trial.params:
                pid = int(trial.user_attrs["worker"].split("-")[-2])
                killed = next(worker for worker in workers if worker.pid == pid)
                killed.kill()
                break
    assert killed is not None, [worker.communicate(timeout=5)[0] for worker in workers if worker.poll() is not None]
    outputs = {worker.pid: worker.communicate(timeout=180)[0] for worker in workers}
    codes = {worker.pid: worker.returncode for worker in workers}
    assert codes.pop(killed.pid) == -signal.SIGKILL
    assert set(codes.values()) == {0}, outputs
    trials = _trials(storage)
    assert sorted(t.user_attrs["slot"] for t in trials if t.state in GOOD) == list(range(TRIALS))
    assert not [t for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    lost = next(t for t in trials if t.state == TrialState.FAIL and f"-{killed.pid}-" in t.user_attrs.get("worker", ""))
    good = next(t for t in trials if t.state in GOOD and t.user_attrs["slot"] == lost.user_attrs["slot"])
    assert good.params == lost.params
    assert f"-{killed.pid}-" not in good.user_attrs["worker"]


def _trials(storage: RDBStorage) -> list[optuna.trial.FrozenTrial]:
    try:
        return optuna.load_study(study_name="tiny-laplace", storage=storage).trials
    except KeyError:  # no worker has made it yet
        return []
