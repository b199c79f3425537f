"""The disk: its faults in one line, space reserved before it is filled, temporary names, ordinary modes.

This module imports neither torch nor numpy, because every command starts with it.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ngldm.io.errors import InputError, shown

# What the system says when neither the input nor the program is wrong.
FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota of this disk is used up",
    errno.EFBIG: "a file may not become so large here (`ulimit -f`)",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "you have no permission",
    errno.EPERM: "you have no permission",
    errno.EMFILE: "too many open files of this process",
    errno.ENFILE: "too many open files of this machine",
    errno.EIO: "the disk fails to read or to write; it may be damaged or gone",
}
# What it says of a path that cannot be: one that a person gave.
NO_PATHS = {
    errno.ENAMETOOLONG: "a name of a file or folder is too long",
    errno.ENOTDIR: "a part of this path is a file, and no folder",
    errno.EISDIR: "is a folder, and no file",
    errno.EEXIST: "something else has this name already",
}
MAX_NAME_BYTES = 255  # of a file or folder, on all usual disks
SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_FALLOCATE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}  # what file systems say that cannot reserve space
BLOCK = 2**20  # bytes
MOST_PROCESSES = 2**22  # the highest number of a process on Linux
UMASK = os.umask(0)  # there is no way to read it without setting it, which is safe only while nothing runs beside
os.umask(UMASK)
STALE = 7 * 24 * 3600  # seconds; nobody writes for so long on a temporary file without a change


def _machine() -> str:
    """What tells this machine from others: its name and, on Linux, what tells containers of the same name apart."""
    parts = []
    with suppress(OSError):  # not Linux
        parts = [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").stat().st_ino)]
    name = re.sub(r"[^\w-]", "-", platform.node()) or "unknown"
    return "-".join([name, *([hashlib.sha256("".join(parts).encode()).hexdigest()[:8]] if parts else [])])


HOST = _machine()  # numbers of processes say nothing of another start of the machine, nor of another container
TEMPORARY = re.compile(r"\..+\.(?P<process>\d+)(?:@(?P<host>[\w-]+))?\.tmp(?:\..*)?")  # older versions named no host
_cleared: set[Path] = set()  # folders that this process has looked at


class StorageError(OSError):
    """The disk, a limit of it or a permission stands in the way: the message names path and bytes.

    Commands print it without a traceback and exit with status 1.
    """


def storage_fault(
    error: BaseException, path: Path | None = None, written: int | None = None, needed: int | None = None
) -> StorageError | None:
    """The same error in one line, if it is a fault of the disk; None if it is anything else.

    Args:
        error: what was raised. Libraries wrap the system's errors, so its text counts too.
        path: what was to be written or read; None takes the path of the error.
        written: bytes that were written before, if that is known.
        needed: bytes that are needed, if that is known.
    """
    if isinstance(error, StorageError):
        return error
    code = _code(error)
    if code not in FAULTS:
        return None
    named = path or Path(str(getattr(error, "filename", None) or "."))
    parts = [f"{named}: {FAULTS[code]}"]
    if code in SPACE:
        parts += [f"{needed} bytes are needed"] * (needed is not None)
        parts += [f"{written} bytes were written so far"] * (written is not None)
        parts += [f"{free_bytes(named)} bytes are free", "make space and run the same command again"]
    elif code == errno.EMFILE:
        parts += [f"`ulimit -n` raises the limit, which is {_most_open_files()} now"]
    elif code in (errno.EACCES, errno.EPERM):
        parts += [_owner(named)]
    return StorageError("; ".join(parts))


def path_fault(error: OSError) -> InputError | None:
    """The same error as bad input in one line, if its path cannot be; None if it is anything else."""
    if error.errno not in NO_PATHS or error.filename is None:
        return None
    return InputError(f"{shown(str(error.filename))}: {NO_PATHS[error.errno]}")


def require_place(path: Path) -> None:
    """Check that a file or folder can have this path, before any work and before folders are made for it.

    Raises:
        InputError: it has no name, one that is too long, for its temporary name too, or a part of it is a file.
    """
    if path.name in ("", ".."):
        raise InputError(f"{path}: give the name of a file or folder to write")
    names = [*path.absolute().parent.parts, temporary_beside(path.absolute()).name]
    if (longest := max(len(os.fsencode(name)) for name in names) - MAX_NAME_BYTES) > 0:
        raise InputError(f"{shown(str(path))}: a name of a file or folder is too long, by {longest} bytes")
    with suppress(PermissionError):  # what may not be seen is said when it is written
        above = next(place for place in path.absolute().parents if place.exists())
        if not above.is_dir():
            raise InputError(f"{path}: {above} is a file, and no folder")


def ending_of(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code of bad input (2) and of the disk's faults (1); None of a defect."""
    if isinstance(error, InputError):
        # A reader takes a file that it may not open for a damaged one.
        fault = storage_fault(error.__cause__) if error.__cause__ else None
        return str(fault or error), 1 if fault else 2
    if not isinstance(error, OSError):
        return None
    if no_path := path_fault(error):
        return str(no_path), 2
    fault = storage_fault(error)
    return None if fault is None else (str(fault), 1)


def _code(error: BaseException) -> int | None:
    """The system's number of an error, also where a library wraps it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors and other libraries in Rust
        return int(found[1])
    short = isinstance(error, OSError) and re.search(r"\d+ requested and \d+ written", str(error))
    return errno.ENOSPC if short else None  # NumPy says no more than that


def _most_open_files() -> int | str:
    try:
        import resource
    except ImportError:  # Windows
        return "unknown"
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _owner(path: Path) -> str:
    """Whose the path is, or the nearest folder above it that can be seen."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            about = place.stat()
            return f"{place} belongs to user {about.st_uid}, mode {stat.S_IMODE(about.st_mode):o}, you are {_user()}"
    return f"you are {_user()}"


def _user() -> int | str:
    return os.getuid() if hasattr(os, "getuid") else "unknown"


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of a path, which need not be there yet."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; 0 if there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size
    return total


@contextmanager
def storing(path: Path, temporary: Path) -> Iterator[None]:
    """Turn a fault of the disk in the block into one line that names `path`.

    Args:
        temporary: file or folder that the block writes, which becomes `path`.

    Raises:
        StorageError: the disk, a limit of it or a permission stands in the way.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        other = getattr(error, "filename", None)
        if other and temporary not in (Path(other), *Path(other).parents):
            fault = storage_fault(error)  # of a file that the block reads, or writes elsewhere
        else:
            fault = storage_fault(error, path, _size(temporary))
        if fault is None:
            raise
        raise StorageError(str(fault).replace(str(temporary), str(path))) from error


def reserve(path: Path, start: int, size: int) -> None:
    """Claim space on the disk for a part of a file that nobody has written yet.

    A page of a memory-mapped file that finds no space ends the process by SIGBUS, without a message. After this none
    does, but on file systems that copy on writing (btrfs, ZFS), which promise nothing.

    Args:
        start, size: of the part, in bytes.

    Raises:
        StorageError: there is not that much space.
    """
    try:
        with path.open("r+b") as file:
            if not _fallocate(file.fileno(), start, size):
                file.seek(start)
                for done in range(0, size, BLOCK):
                    file.write(bytes(min(BLOCK, size - done)))
    except OSError as error:
        fault = storage_fault(error, path, needed=size)
        if fault is None:
            raise
        raise fault from error


def _fallocate(file: int, start: int, size: int) -> bool:
    """Whether the system can reserve the space, and has."""
    if not size or not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return not size
    try:
        os.posix_fallocate(file, start, size)
    except OSError as error:
        if error.errno in NO_FALLOCATE:
            return False
        raise
    return True


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """The name under which this process writes what becomes `path`. `.dvcignore` and `.gitignore` know the pattern.

    Args:
        suffix: what it must end with.
    """
    return path.with_name(f".{path.name.removesuffix(suffix)}.{os.getpid()}@{HOST}.tmp{suffix}")


def clear_temporaries(folders: Iterable[Path]) -> None:
    """Remove what processes of this machine left in these folders when they died. Each folder is looked at once.

    What others left is removed after a week without a change: whether they live cannot be seen from here.
    """
    for folder in {folder.absolute() for folder in folders} - _cleared:
        _cleared.add(folder)
        with suppress(OSError):
            for found in [Path(entry) for entry in os.scandir(folder) if _is_left(entry.name) or _is_stale(entry)]:
                if found.is_dir():
                    shutil.rmtree(found, ignore_errors=True)
                else:
                    found.unlink(missing_ok=True)


def _is_left(name: str) -> bool:
    """Whether this is a temporary name of a process of this machine that is dead.

    One with this process's number is left, too, by an earlier process: in containers the numbers come back.
    """
    found = TEMPORARY.fullmatch(name)
    if found is None or found["host"] not in (None, HOST):
        return False
    import psutil

    process = int(found["process"])
    return bool(process == os.getpid() or process > MOST_PROCESSES or not psutil.pid_exists(process))


def _is_stale(found: os.DirEntry[str]) -> bool:
    """Whether this is a temporary name of another machine or container which nobody has touched for a week."""
    name = TEMPORARY.fullmatch(found.name)
    if name is None or name["host"] in (None, HOST):
        return False
    path = Path(found)
    newest: float = max(place.stat().st_mtime for place in (path, *(path.rglob("*") if path.is_dir() else ())))
    return time.time() - newest > STALE


def make_ordinary(path: Path) -> None:
    """Give a file, or a folder with all in it, the rights that new ones have by the user's umask.

    safetensors and `tempfile` make files that only their owner can read, whatever the umask is.
    """
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        with suppress(OSError):  # file systems without rights
            mode = stat.S_IMODE(place.lstat().st_mode)
            wanted = mode | ((0o777 if place.is_dir() else 0o666) & ~UMASK)
            if wanted != mode and not place.is_symlink():
                place.chmod(wanted)
