"""A stage on several processes: started here by torch's own elastic launcher, or joined where torchrun started them.

| variable | means | default |
| --- | --- | --- |
| NGLDM_PROCESSES | processes on this machine | one for each visible GPU; 1 on a CPU |
| NGLDM_NODES | machines, on each of which the same command is started | 1 |
| NGLDM_RENDEZVOUS | host:port at which they meet, on one of them | none; needed with several machines |
| NGLDM_RESTARTS | how often all processes are started again after one has died | 3 |
| NGLDM_TIMEOUT | seconds to wait for a process that does not come or does not answer | 600 |

None of them is a parameter, because none of them changes a result: DVC does not see them.
"""

import inspect
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from ngldm.io import processes
from ngldm.io.disk import ending_of
from ngldm.io.errors import InputError
from ngldm.io.files import differences
from ngldm.io.processes import LostProcess
from ngldm.pipeline.closure import code_hash
from ngldm.pipeline.signals import LAUNCHER, Stopped, say_stopped

ENDING = "NGLDM_ENDING"  # file in which a process that ends all of them writes their exit code
HIGHEST_PORT = 65535
MANY = 64  # processes that any machine may start; more only where it has as many cores
LONGEST = 7 * 86_400  # seconds of NGLDM_TIMEOUT: a week; torch counts milliseconds
MOST_NODES, MOST_PROCESSES, MOST_RESTARTS = 10_000, 1_000_000, 1_000
MOST_DIGITS = 18  # Python reads no number of more than some thousands
SHORT = 3.0  # seconds in which the main process says of a fault that it has it too


def on_many(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, which starts itself on as many processes as it should have, or joins those that exist.

    A process prints only if it is the main one, and so does a fault that all of them have.

    Args:
        function: of a stage; it has an argument `device`.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _number("WORLD_SIZE", 1, 1, MOST_PROCESSES) > 1 and "RANK" in os.environ:
            return _join(lambda: function(*args, **kwargs), Path(inspect.getfile(inspect.unwrap(function))))
        count, nodes = wanted_processes(kwargs["device"]), _number("NGLDM_NODES", 1, 1, MOST_NODES)
        if "RANK" in os.environ or count * nodes == 1:
            return function(*args, **kwargs)
        _leave(launch(count, nodes))

    return wrapped


def _number(variable: str, default: int, least: int, most: int) -> int:
    """A whole number from the environment.

    Raises:
        InputError: it is none, too small or too large.
    """
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS and least <= int(text) <= most):
        raise InputError(f"{variable}: {text[:40]!r} must be a whole number, at least {least} and at most {most}")
    return int(text)


def _timeout() -> int:
    return _number("NGLDM_TIMEOUT", 600, 1, LONGEST)


def wanted_processes(device: str) -> int:
    """How many processes this machine should have, by the environment and the option --device.

    Raises:
        InputError: more than one, but the device is a single GPU; or more than there are GPUs.
    """
    import torch

    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    count = _number("NGLDM_PROCESSES", max(1, gpus), 1, max(MANY, os.cpu_count() or 1))
    if count > 1 and device not in ("auto", "cuda", "cpu"):
        raise InputError(f"NGLDM_PROCESSES: {count}, but the device {device!r} is a single one; use auto, cuda or cpu")
    if gpus and count > gpus:
        raise InputError(f"NGLDM_PROCESSES: {count}, but this machine shows {gpus} GPUs; each process needs its own")
    return count


class _Hopeless(Exception):
    """A process says that the input is bad, or that its disk has a fault: starting it again would not help."""


def launch(count: int, nodes: int) -> int:
    """Run this command on `count` processes of each of `nodes` machines, and wait for them. Returns the exit code.

    Raises:
        InputError: the machines did not meet.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for part in ("multiprocessing.api", "agent.server.api"):  # that it ends the other processes is no news
        logger = logging.getLogger(f"torch.distributed.elastic.{part}")
        logger.setLevel(logging.ERROR)
        logger.addFilter(lambda record: not str(record.msg).startswith("failed (exitcode"))  # our own line says it
    seconds, restarts = _timeout(), _number("NGLDM_RESTARTS", 3, 0, MOST_RESTARTS)
    place = _meeting_place(nodes)
    if not _is_here(place):
        try:
            processes.wait_for_host(*_host_and_port(place), seconds)
        except OSError as error:
            raise _not_met(nodes, place, seconds, error) from None
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # a new store for each restart, without the old addresses
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of each word that does not come in time
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))

    def hopeless(*_: object) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # each of the processes may say it
        raise _Hopeless

    signal.signal(signal.SIGUSR2, hopeless)
    signal.signal(signal.SIGUSR1, lambda number, frame: _pass_on(number))
    with TemporaryDirectory(prefix="ngldm-") as logs:
        ending = Path(logs, "exit-code")
        os.environ[ENDING] = str(ending)
        config = LaunchConfig(
            *(nodes, nodes, count),
            run_id="ngldm",
            rdzv_backend="c10d",
            rdzv_endpoint=place,
            rdzv_configs={"timeout": seconds, "join_timeout": seconds, "read_timeout": seconds},
            max_restarts=restarts,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
            local_addr="localhost" if nodes == 1 else None,
        )
        try:
            elastic_launch(config, sys.executable)("-u", *_this_command())
        except _Hopeless:
            return int(ending.read_text()) if ending.exists() else 1  # a full disk takes no code
        except SignalException as error:
            say_stopped(int(error.sigval))
            return 128 + int(error.sigval)
        except ChildFailedError as error:
            who, failure = error.get_first_failure()
            print(f"error: process {who} ended ({_ending(failure.exitcode)}); {restarts} restarts", file=sys.stderr)
            return 2 if failure.exitcode == 2 else 1
        except (RendezvousError, RuntimeError) as error:
            raise _not_met(nodes, place, seconds, error) from error
    return 0


def _not_met(nodes: int, place: str, seconds: int, error: Exception) -> InputError:
    return InputError(
        f"NGLDM_RENDEZVOUS: {nodes} machines (NGLDM_NODES) must meet at {place}, but did not within "
        f"{seconds} s (NGLDM_TIMEOUT): {type(error).__name__} {error}".splitlines()[0]
    )


def _pass_on(number: int) -> None:
    """Send a signal to the processes that this one has started."""
    import psutil

    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            child.send_signal(number)


def _meeting_place(nodes: int) -> str:
    """host:port at which the machines meet. One machine alone takes a free port of its own.

    Raises:
        InputError: there is none for several machines, or it is no host:port.
    """
    place = os.environ.get("NGLDM_RENDEZVOUS") or ("localhost:0" if nodes == 1 else "")
    if not place:
        raise InputError(f"NGLDM_RENDEZVOUS: {place!r}; {nodes} machines (NGLDM_NODES) need host:port of one of them")
    host, _, port = place.rpartition(":")
    found = re.fullmatch(r"[\w.:-]+|\[[\w.:-]+\]", host)
    if not (found and re.fullmatch("[0-9]{1,5}", port) and min(nodes - 1, 1) <= int(port) <= HIGHEST_PORT):
        raise InputError(f"NGLDM_RENDEZVOUS: {place!r} must be host:port, with a port from 1 to {HIGHEST_PORT}")
    return place


def _host_and_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def _is_here(place: str) -> bool:
    """Whether a meeting place is on this machine: it has the host's name, or one of its addresses."""
    host, _ = _host_and_port(place)
    if host in (socket.gethostname(), socket.getfqdn()):
        return True
    with suppress(OSError, UnicodeError):
        for family, kind, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind) as tried:
                tried.bind(address)
                return True
    return False


def _this_command() -> list[str]:
    """What python was told to run: -m module, or a file; with its arguments."""
    spec = sys.modules["__main__"].__spec__
    return [*(["-m", spec.name] if spec else [sys.argv[0]]), *sys.argv[1:]]


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _join(work: Callable[[], Any], file: Path) -> Any:
    """Do the work as one of the processes that the environment names.

    If the input is bad (exit code 2), or the disk has a fault (1), all processes end, and none is started again.
    """
    _end_with_parent()
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    try:
        _require_joinable()
        processes.start(_timeout())
        if again and processes.is_main():
            print(f"a process ended: all {processes.size()} are started again (restart {again})", flush=True)
        _require_same(file)
        result = work()
    except (InputError, OSError) as error:
        if (ending := ending_of(error)) is None:
            raise
        line, code = ending
        _tell("refused", line, SHORT)
        if (launcher := os.environ.get(LAUNCHER)) and int(launcher) == os.getppid():
            _write_ending(Path(os.environ[ENDING]), code)
            os.kill(int(launcher), signal.SIGUSR2)
        if processes.size() > 1:
            _leave(code)
        raise SystemExit(code) from None
    except Stopped as stop:
        say_stopped(stop.number)
        _leave(128 + stop.number)
    except LostProcess as error:
        _tell("lost", str(error), processes.ROLL_CALL + SHORT)
        _leave(1)
    processes.stop()
    return result


def _write_ending(file: Path, code: int) -> None:
    """Write the exit code whole or not at all: the launcher ends this process as soon as another one has told it."""
    own = file.with_name(f"{file.name}-{os.getpid()}")
    with suppress(OSError):
        own.write_text(str(code))
        own.replace(file)


def _leave(code: int) -> NoReturn:
    """End this process without torch's clean-up.

    That waits for processes that are lost, and aborts the process if one of its threads is busy at that moment.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _require_joinable() -> None:
    """Check the variables that torchrun sets for each process.

    Raises:
        InputError: one is missing or out of range.
    """
    _number("RANK", 0, 0, _number("WORLD_SIZE", 1, 1, MOST_PROCESSES) - 1)
    _number("LOCAL_RANK", 0, 0, MOST_PROCESSES)
    for variable in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(variable):
            raise InputError(f"{variable}: missing; WORLD_SIZE and RANK need it, torchrun sets all of them")
    _number("MASTER_PORT", 0, 1, HIGHEST_PORT)


def _tell(word: str, message: str, seconds: float) -> None:
    """Print a fault: on the main process, else only if the main process does not have it too."""
    _record(message)
    if not processes.is_main():
        if processes.heard(word, seconds):
            processes.say(f"{word} {processes.rank()}")
            return
        message = f"{message} (process {processes.rank()} on {socket.gethostname()})"
    print(f"error: {message}", file=sys.stderr, flush=True)
    processes.say(word)
    if processes.is_main():  # it may hold the store by which the others hear of it
        end = time.monotonic() + SHORT
        for rank in range(1, processes.size()):
            processes.heard(f"{word} {rank}", max(0.1, end - time.monotonic()))


def _record(message: str) -> None:
    """Write a fault to the file that torchrun has for it. So the report that torchrun prints last ends with it."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ and LAUNCHER not in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import ErrorHandler

        try:
            raise InputError(message) from None  # the handler writes the error that is being handled
        except InputError as error:
            ErrorHandler().record_exception(error)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, also if that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _require_same(file: Path) -> None:
    """Check that all processes run the same command with the same parameters and the same code.

    Raises:
        InputError: one of them differs; the message says in what.
    """
    import torch
    import yaml

    params = Path("params.yaml")
    try:
        content = yaml.safe_load(params.read_text()) if params.is_file() else None
    except (yaml.YAMLError, ValueError, RecursionError):  # the check of params.yaml says what is wrong
        content = params.read_text()
    own = {"arguments": sys.argv[1:], "params": content, "code": code_hash(file), "torch": torch.__version__}
    all_own = processes.gather((socket.gethostname(), own))
    for rank, (host, theirs) in enumerate(all_own):
        if changed := differences(all_own[0][1], theirs):
            raise InputError(
                f"process {rank} on {host} differs from process 0 on {all_own[0][0]} in: {', '.join(changed)}; "
                "all must have the same"
            )
