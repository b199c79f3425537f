"""Files from web servers: within a time and a size, of the file that was meant, and continued where they were cut.

Only https counts as an address, unless the environment variable NGLDM_ALLOW_HTTP is 1, the server is this machine, or
the file has a checksum that is known beforehand.
"""

import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException, HTTPMessage, HTTPResponse
from ipaddress import ip_address
from pathlib import Path
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock, Timeout

from ngldm.io.errors import InputError, shown

TIMEOUT = 60  # seconds without an answer, or without a byte
CHUNK = 2**20
PARTIAL = 206  # status: the answer begins where it was asked to
Say = Callable[[str], object]


def shown_address(url: str) -> str:
    """An address without what can be a secret: user and password, and all that follows a question mark."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is none"
    secret = "***@" if parts.username or parts.password else ""
    return f"{parts.scheme}://{secret}{host}{port}{parts.path}" + ("?..." if parts.query or parts.fragment else "")


def require_address(key: str, url: str, checked: bool = False) -> None:
    """Check an address before anything is sent.

    Args:
        key: of the setting, for the message.
        checked: whether what comes is compared with a checksum, so that nobody on the way can change it.

    Raises:
        InputError: it is no address of the web, or not https where it must be.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http") or not url.isprintable() or " " in url:
        raise InputError(f"{key}: {shown(shown_address(url))} is no address; it must begin with https://")
    if parts.scheme == "http" and not (checked or _is_here(host) or os.environ.get("NGLDM_ALLOW_HTTP") == "1"):
        raise InputError(
            f"{key}: {shown_address(url)}: anybody on the way can read and change what comes by http; use https, or "
            "set NGLDM_ALLOW_HTTP=1"
        )


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(HTTPRedirectHandler):
    """Follows to other addresses, which must be allowed too; other hosts are named."""

    def __init__(self, key: str, checked: bool, say: Say) -> None:
        self.key, self.checked, self.say = key, checked, say

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        require_address(self.key, newurl, self.checked)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise InputError(f"{self.key}: {shown_address(req.full_url)} leads from https to {shown_address(newurl)}")
        new, old = urlsplit(newurl), urlsplit(req.full_url)
        if (new.hostname, new.port) != (old.hostname, old.port):
            self.say(f"note: {shown_address(req.full_url)} leads to another host: {shown_address(newurl)}")
            req.remove_header("Authorization")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def open_address(key: str, url: str, first: int = 0, checked: bool = False, say: Say = _warn) -> HTTPResponse:
    """The answer of a server, to be read.

    Args:
        key: of the setting, for messages.
        first: the byte to begin with, if the server can.
        checked: see `require_address`.
        say: told of redirects to other hosts.

    Raises:
        InputError: the address is not allowed, the server cannot be reached, or it has no such file.
    """
    require_address(key, url, checked)
    headers = {"User-Agent": "ngldm", **({"Range": f"bytes={first}-"} if first else {})}
    parts = urlsplit(url)
    if parts.username or parts.password:
        word = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(word.encode()).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        opener = build_opener(_Redirects(key, checked, say))
        return cast(HTTPResponse, opener.open(Request(url, headers=headers), timeout=TIMEOUT))
    except InputError:
        raise
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise InputError(f"{key}: {shown_address(url)} cannot be downloaded ({_reason(error)})") from None


def _reason(error: BaseException) -> str:
    """What urllib says, on one line; an address in it could hold a password."""
    reason = error if isinstance(error, HTTPError) else getattr(error, "reason", None) or error
    text = " ".join(str(reason).split()) or type(error).__name__
    return type(error).__name__ if "://" in text or "@" in text else text[:200]


@contextmanager
def one_at_a_time(path: Path, say: Say = _warn) -> Iterator[None]:
    """Let only one process of this machine load a file. The others wait, and then find it there.

    Args:
        path: of the file. The lock's file lies beside it as long as the block runs.
        say: told that this process waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with suppress(Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        say(f"note: another process loads {path}; waits for it")
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows: the file is open
            Path(lock.lock_file).unlink()
        lock.release()


def download(key: str, url: str, path: Path, most: int, say: Say = _warn) -> None:
    """Load a file whose checksum is known. What was cut short before is continued.

    What has come stays beside `path`, with the suffix .part, until the file is whole; the caller then compares the
    checksum, and removes a wrong file.

    Two processes that load the same file must not do so at once (`one_at_a_time`).

    Args:
        key: of the setting, for messages.
        path: where the file appears, once it is whole.
        most: bytes that it has at most.

    Raises:
        InputError: the address is not allowed, the server cannot be reached, what comes is too large or cut short.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    done = part.stat().st_size if part.is_file() else 0
    if not 0 < done < most:
        done = 0
    try:
        answer = open_address(key, url, done, checked=True, say=say)
    except InputError:
        if not done:
            raise
        done, answer = 0, open_address(key, url, checked=True, say=say)  # a server that refuses the rest gives all
    with closing(answer), part.open("ab" if done and answer.status == PARTIAL else "wb") as file:
        whole = file.tell() + answer.length if answer.length is not None else None
        size = file.tell()
        try:
            while size <= most and (chunk := answer.read(CHUNK)):
                size += file.write(chunk)
        except (OSError, HTTPException) as error:
            raise InputError(f"{key}: {shown_address(url)}: {size} bytes came, then: {_reason(error)}") from None
    if size > most or (whole or 0) > most:
        part.unlink()
        raise InputError(f"{key}: {shown_address(url)} is not the file that was meant: it has more than {most} bytes")
    if whole is not None and size < whole:
        raise InputError(f"{key}: {shown_address(url)} is cut short: {size} of {whole} bytes came; run again to go on")
    part.replace(path)
