"""The environment variables of a command on several processes.

| variable | means | default |
| --- | --- | --- |
| NGLDM_PROCESSES | processes on this machine | one for each visible GPU; 1 on a CPU |
| NGLDM_NODES | machines, on each of which the same command is started | 1 |
| NGLDM_RENDEZVOUS | host:port at which they meet, on one of them | none; needed with several machines |
| NGLDM_RESTARTS | how often all processes are started again after one has died | 3 |
| NGLDM_TIMEOUT | seconds to wait for a process that does not come or does not answer | 600 |

None of them is a parameter, because none of them changes a result: DVC does not see them.

torchrun, which may also start the processes, has its own: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
"""

import os

from ngldm.io.errors import InputError

ENDING = "NGLDM_ENDING"  # names the file in which a process that ends all of them writes their exit code
HIGHEST_PORT = 65535
MANY = 64  # processes that any machine may start; more only where it has as many cores
LONGEST = 7 * 86_400  # seconds of NGLDM_TIMEOUT: a week; torch counts milliseconds
MOST_NODES, MOST_PROCESSES, MOST_RESTARTS = 10_000, 1_000_000, 1_000
MOST_DIGITS = 18  # Python reads no number of more than some thousands


def whole_number(variable: str, default: int, least: int, most: int) -> int:
    """A whole number from the environment.

    Raises:
        InputError: it is none, too small or too large.
    """
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS and least <= int(text) <= most):
        raise InputError(f"{variable}: {text[:40]!r} must be a whole number, at least {least} and at most {most}")
    return int(text)


def timeout() -> int:
    """Seconds to wait for another process.

    Raises:
        InputError: NGLDM_TIMEOUT is out of range.
    """
    return whole_number("NGLDM_TIMEOUT", 600, 1, LONGEST)
