"""The shared storage of a search: a journal file, or a database by its URL. One Optuna study for each noise.

The budget is a number of slots. Each trial carries the number of its slot, and a slot is done when one of its trials
has finished. A trial that failed, or whose worker has died, is followed by another trial of its slot with the same
values. If two workers add one for the same slot at once, the one with the lower number is run and the other is dropped.
So no slot is left out and none is counted twice, on any storage and without a lock.
"""

import json
import os
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock, Timeout

from ngldm.io.errors import InputError
from ngldm.pipeline.workspace import main_root, said_of, without_password

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FOLDER = Path("searches")
SLOT, WORKER, ATTEMPT = "slot", "worker", "attempt"
# Of a failed trial: stopped by the user (no attempt is counted), or values that exclude each other (others are drawn)
INTERRUPTED, IMPOSSIBLE = "interrupted", "impossible"
DROPPED = "dropped"  # another trial of its slot is run, or `trials` is lower now
GRACE = 60  # seconds without a sign of life after which a trial is taken to be dead
FIRST_LINE = 2**16  # bytes at which the first line of a journal is longer than any
MAX_IMPOSSIBLE = 200  # draws of values that exclude each other, for one slot


def default_storage(name: str) -> str:
    """The journal file of a search, in the main repository."""
    return str(main_root() / FOLDER / f"{name}.journal")


def is_url(storage: str) -> bool:
    return "://" in storage


def open_storage(storage: str, grace: int = GRACE, create: bool = True) -> "BaseStorage":
    """Connect to a journal file or to a database.

    Args:
        storage: path of the file, or URL as SQLAlchemy has it, for example postgresql+psycopg2://user@host/name.
        grace: seconds after which a worker without a sign of life is taken to be dead.
        create: make the journal file if it is missing.

    Raises:
        InputError: it cannot be reached, its driver is not installed, the file is no journal, or it is missing and not
            to be made.
    """
    quiet_optuna()
    if not (create or is_url(storage) or Path(storage).exists()):
        raise InputError(f"--storage: {storage}: no such file; `ngldm search run` makes it")
    try:
        try:
            connection = _connect(storage, grace)
        except Exception:
            if not is_url(storage):
                raise
            time.sleep(1.0)  # another worker may have been making the tables
            connection = _connect(storage, grace)
        if create and not is_url(storage):
            _end_last_line(Path(storage).resolve())
        return connection
    except Exception as error:  # each driver has its own
        raise InputError(
            f"--storage: {without_password(storage)} cannot be reached ({said_of(storage, error)})"
        ) from error


@contextmanager
def needed(storage: str) -> Iterator[None]:
    """Say it in one line if the storage is lost while the block runs.

    Raises:
        InputError: the server does not answer any more, or the file cannot be read any more.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except Exception as error:
        lost: BaseException | None = error
        while lost and not isinstance(lost, SQLAlchemyError | StorageInternalError | json.JSONDecodeError):
            lost = lost.__cause__ or lost.__context__  # Optuna's own clean-up fails after it
        if lost is None:
            raise
        while lost.__cause__ is not None:  # the driver's own words
            lost = lost.__cause__
        raise InputError(
            f"--storage: {without_password(storage)} was lost while the search ran ({said_of(storage, lost)}). "
            "When it is back, start the worker again: its trial is repeated and goes on from its checkpoint"
        ) from error


def _connect(storage: str, grace: int) -> "BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage, journal

    if not is_url(storage):
        file = Path(storage).resolve()  # else Optuna cannot release the lock of a worker that was killed
        file.parent.mkdir(parents=True, exist_ok=True)
        _require_journal(file)
        return JournalStorage(journal.JournalFileBackend(str(file)))
    waits = {"connect_args": {"connect_timeout": 8}} if storage.startswith("postgresql") else {}
    options: dict[str, Any] = {"heartbeat_interval": max(1, grace // 3), "grace_period": grace}
    return RDBStorage(storage, engine_kwargs=waits, **options)


def _require_journal(file: Path) -> None:
    """Check that a file, if there is one, begins as Optuna's journals do: Optuna itself would append to any file."""
    if not file.exists():
        return
    with file.open("rb") as lines:
        first = lines.readline(FIRST_LINE)
    try:
        whole = not first or "op_code" in json.loads(first)
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise InputError("it is no journal of Optuna")


def _end_last_line(file: Path) -> None:
    """Cut off a line that was not written to its end, as on a full disk.

    Optuna passes over it, but the next one that is written would be joined to it, and then nobody could read the file.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    if _is_whole(file):
        return
    lock = JournalFileSymlinkLock(str(file))
    lock.acquire()  # another worker may be writing it just now
    try:
        if not _is_whole(file):
            os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_whole(file: Path) -> bool:
    if not file.exists() or not file.stat().st_size:
        return True
    with file.open("rb") as journal:
        journal.seek(-1, os.SEEK_END)
        return journal.read() == b"\n"


def quiet_optuna() -> None:
    """Let Optuna print errors only: the worker says what has become of a trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeat, and groups of TPE


def slot_of(trial: "FrozenTrial") -> int | None:
    """The slot of a trial that counts; None if another trial of its slot is run in its place."""
    return None if DROPPED in trial.user_attrs else trial.user_attrs.get(SLOT)


def is_live(trial: "FrozenTrial") -> bool:
    """Whether a trial has finished well, runs, or waits."""
    return slot_of(trial) is not None and trial.state.name != "FAIL"


def good_trials(study: "Study") -> "list[FrozenTrial]":
    """One trial for each slot that is done, by number."""
    done = [trial for trial in study.get_trials(deepcopy=False) if is_live(trial) and trial.state.is_finished()]
    return list({slot_of(trial): trial for trial in reversed(done)}.values())[::-1]


def best_trial(study: "Study") -> "FrozenTrial | None":
    """The complete trial with the lowest score; None if there is none."""
    complete = [trial for trial in good_trials(study) if trial.state.name == "COMPLETE"]
    return min(complete, key=lambda trial: trial.values[0], default=None)


def may_run(trials: "Sequence[FrozenTrial]", number: int, budget: int) -> bool:
    """Whether the trial with this number is the first of its slot that is alive, and its slot is in the budget."""
    slot = slot_of(trials[number])
    return slot is not None and slot < budget and not any(is_live(t) and slot_of(t) == slot for t in trials[:number])


def failures(trials: "Sequence[FrozenTrial]", slot: int) -> "list[FrozenTrial]":
    """The failed trials of a slot that count as attempts."""
    failed = [t for t in trials if slot_of(t) == slot and t.state.name == "FAIL"]
    return [t for t in failed if not {INTERRUPTED, IMPOSSIBLE} & set(t.user_attrs)]


def fill(study: "Study", first: Sequence[dict[str, Any]], trials: int, attempts: int) -> None:
    """Add a trial for each slot that has none alive.

    Args:
        first: the values of the first slots, as Optuna stores them. The optimiser chooses those of the others.
        trials: number of slots.
        attempts: a slot with so many failures gets no more.
    """
    known = study.get_trials(deepcopy=False)
    alive = {slot_of(trial) for trial in known if is_live(trial)}
    for slot in range(trials):
        if slot in alive or len(failures(known, slot)) >= attempts:
            continue
        old = [trial for trial in known if slot_of(trial) == slot]
        if sum(IMPOSSIBLE in trial.user_attrs for trial in old) >= MAX_IMPOSSIBLE:
            raise InputError(f"{study.study_name}: {old[-1].user_attrs[IMPOSSIBLE]} (in {MAX_IMPOSSIBLE} draws)")
        _add(study, slot, old, first[slot] if slot < len(first) else {})


def _add(study: "Study", slot: int, old: "Sequence[FrozenTrial]", values: dict[str, Any]) -> None:
    """Add a trial. It goes on where the last of its slot has stopped, unless its values were impossible."""
    import optuna

    user: dict[str, Any] = {}
    system: dict[str, Any] = {"fixed_params": {} if old else values}
    scores: dict[int, float] = {}
    if old and IMPOSSIBLE not in old[-1].user_attrs:
        last = old[-1]
        user = {key: value for key, value in last.user_attrs.items() if key not in (WORKER, INTERRUPTED)}
        system = {**last.system_attrs, "fixed_params": {**last.system_attrs.get("fixed_params", {}), **last.params}}
        scores = dict(last.intermediate_values)
    user |= {SLOT: slot, ATTEMPT: len(old)}
    waiting = optuna.create_trial(
        state=optuna.trial.TrialState.WAITING, user_attrs=user, system_attrs=system, intermediate_values=scores
    )
    study.add_trial(waiting)


class Worker:
    """A process that runs trials. While it lives it holds the lock of a file, if the storage is a journal.

    Attributes:
        id: a name that no other worker has.
    """

    def __init__(self, storage: str, grace: int = GRACE) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.grace = grace
        self._folder = None if is_url(storage) else Path(f"{storage}.workers")

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Show that this worker lives, as long as the block runs."""
        if self._folder is None:  # the database has Optuna's heartbeat
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(self.id)
        with lock:
            yield
        Path(lock.lock_file).unlink(missing_ok=True)

    def _lock(self, worker: str) -> FileLock:
        assert self._folder is not None
        return FileLock(self._folder / f"{worker}.lock")

    def bury_dead(self, study: "Study") -> None:
        """Mark trials as failed whose workers have died."""
        import optuna

        optuna.storages.fail_stale_trials(study)  # does nothing with a journal
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if self._is_dead(trial):
                with suppress(ValueError):  # another worker was faster
                    study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def _is_dead(self, trial: "FrozenTrial") -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker is None:  # its worker has died, or is about to write its name
            return trial.datetime_start is not None and datetime.now() - trial.datetime_start > timedelta(
                seconds=self.grace
            )
        if self._folder is None or worker == self.id:
            return False
        lock = self._lock(worker)
        if not Path(lock.lock_file).exists():
            return True
        with suppress(Timeout), lock.acquire(timeout=0):
            Path(lock.lock_file).unlink(missing_ok=True)
            return True
        return False
