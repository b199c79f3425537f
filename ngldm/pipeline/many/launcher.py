"""A stage on several processes: started here by torch's own elastic launcher, or joined where torchrun started them."""

import inspect
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.pipeline.many.joined import join, leave
from ngldm.pipeline.many.variables import (
    ENDING,
    HIGHEST_PORT,
    MANY,
    MOST_NODES,
    MOST_PROCESSES,
    MOST_RESTARTS,
    timeout,
    whole_number,
)
from ngldm.pipeline.signals import LAUNCHER, say_stopped


def on_many(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, which starts itself on as many processes as it should have, or joins those that exist.

    A process prints only if it is the main one, and so does a fault that all of them have.

    Args:
        function: of a stage; it has an argument `device`.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if whole_number("WORLD_SIZE", 1, 1, MOST_PROCESSES) > 1 and "RANK" in os.environ:
            return join(lambda: function(*args, **kwargs), Path(inspect.getfile(inspect.unwrap(function))))
        count, nodes = wanted_processes(kwargs["device"]), whole_number("NGLDM_NODES", 1, 1, MOST_NODES)
        if "RANK" in os.environ or count * nodes == 1:
            return function(*args, **kwargs)
        return leave(launch(count, nodes))

    return wrapped


def wanted_processes(device: str) -> int:
    """How many processes this machine should have, by the environment and the option --device.

    Raises:
        InputError: more than one, but the device is a single GPU; or more than there are GPUs.
    """
    import torch

    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    count = whole_number("NGLDM_PROCESSES", max(1, gpus), 1, max(MANY, os.cpu_count() or 1))
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
    seconds, restarts = timeout(), whole_number("NGLDM_RESTARTS", 3, 0, MOST_RESTARTS)
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
