"""Servers that stop, lie, lead elsewhere or are asked for more than they should be."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ngldm.data.sources import downloads, web
from ngldm.data.sources.downloads import fetch
from ngldm.data.sources.shards.tars import TarShards, expand
from ngldm.data.sources.web import download, open_address, require_address, shown_address
from ngldm.io.errors import InputError

CONTENT = bytes(range(256)) * 4000
Answer = Callable[[BaseHTTPRequestHandler], None]


class Host:
    """A server whose answer is a function."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.ranges: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                outer.headers.append(dict(self.headers))
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{address}:{self.server.server_address[1]}/"
        self.answer: Answer = whole
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def head(handler: BaseHTTPRequestHandler, status: int = 200, length: int | None = len(CONTENT), **more: str) -> None:
    handler.send_response(status)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    for name, value in more.items():
        handler.send_header(name, value)
    handler.end_headers()


def whole(handler: BaseHTTPRequestHandler) -> None:
    head(handler)
    handler.wfile.write(CONTENT)


def resumable(handler: BaseHTTPRequestHandler) -> None:
    """The first answer is cut after 100,000 bytes; a later one begins where it is asked to."""
    wanted = handler.headers.get("Range")
    if wanted is None:
        head(handler)
        handler.wfile.write(CONTENT[:100_000])
        return
    first = int(wanted.removeprefix("bytes=").removesuffix("-"))
    head(handler, 206, len(CONTENT) - first)
    handler.wfile.write(CONTENT[first:])


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_an_interrupted_download_loads_the_rest(host: Host, tmp_path: Path) -> None:
    host.answer, md5 = resumable, hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(InputError, match="is cut short: 100000 of 1024000 bytes came; run again"):
        fetch(host.url, "x.bin", md5, tmp_path)
    assert not (tmp_path / "x.bin").exists()
    assert fetch(host.url, "x.bin", md5, tmp_path).read_bytes() == CONTENT
    assert host.ranges == [None, "bytes=100000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_a_server_that_cannot_go_on_sends_all_again(host: Host, tmp_path: Path) -> None:
    (tmp_path / ".x.bin.loaded.part").write_bytes(b"another beginning")
    assert fetch(host.url, "x.bin", hashlib.md5(CONTENT).hexdigest(), tmp_path).read_bytes() == CONTENT


def test_another_file_is_thrown_away(host: Host, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its MD5 is not 0000"):
        fetch(host.url, "x.bin", "0" * 32, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("told", [True, False])
def test_a_file_larger_than_it_can_be_is_refused_on_the_way(host: Host, tmp_path: Path, told: bool) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        head(handler, length=10**15 if told else None)
        try:
            while True:
                handler.wfile.write(bytes(2**20))
        except OSError:  # the other side has gone
            pass

    host.answer = endless
    with pytest.raises(InputError, match="it has more than 5000000 bytes"):
        download("key", host.url, tmp_path / "x", 5_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_nothing_more_ends_in_time(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.3)
    go_on = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        head(handler)
        handler.wfile.write(CONTENT[:1000])
        handler.wfile.flush()
        go_on.wait(20)

    host.answer = silent
    with pytest.raises(InputError, match=r"timed out"):
        download("key", host.url, tmp_path / "x", 10**7)
    go_on.set()


def test_a_server_that_accepts_and_never_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(InputError, match="cannot be downloaded"),
    ):
        open_address("key", f"http://127.0.0.1:{listening.getsockname()[1]}/x")


BAD = ["file:///etc/passwd", "ftp://example.org/x", "/etc/passwd", "", "https://", "javascript:1", "data:,x", "http:/x"]
BAD += ["https://exa mple.org/", "https://[::1", "https://example.org:99999999/x\n"]


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_address_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"key: .*is no address"):
        require_address("key", url)


def test_http_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    require_address("key", "https://example.org/x")
    require_address("key", "http://127.0.0.1:9/x")
    require_address("key", "http://example.org/x", checked=True)
    with pytest.raises(InputError, match="NGLDM_ALLOW_HTTP=1"):
        require_address("key", "http://example.org/x")
    monkeypatch.setenv("NGLDM_ALLOW_HTTP", "1")
    require_address("key", "http://example.org/x")


@pytest.mark.parametrize("pattern", ["file:///etc/{a,b}.tar", "ftp://x/{0..3}.tar", "http://example.org/{0..3}.tar"])
def test_shards_come_from_files_or_the_web(tmp_path: Path, pattern: str) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(InputError, match=r"dataset\.shards: "):
        expand("dataset.shards", pattern, tmp_path)


@pytest.mark.parametrize("mirror", ["file:///etc/", "ftp://x/", "x/"])
def test_a_mirror_is_a_server(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(InputError, match=r"dataset\.mirror: .*is no address"):
        fetch(mirror, "x.bin", "0" * 32, tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@example.org/a/b.tar?token=secret#secret", "https://***@example.org/a/b.tar?..."),
        ("https://secret@example.org:8443/", "https://***@example.org:8443/"),
        ("https://example.org/a", "https://example.org/a"),
        ("https://me:secret@[bad", "an address that is none"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert shown_address(url) == shown


def test_no_message_of_a_failed_download_has_the_password(host: Host, tmp_path: Path) -> None:
    host.answer = lambda handler: head(handler, 404, 0)
    url = host.url.replace("//", "//me:secret@")
    shards = TarShards([f"{url}x.tar?token=secret"], "png", None)
    messages = []
    for attempt in (
        lambda: fetch(url, "x.bin", "0" * 32, tmp_path),
        lambda: open_address("key", f"{url}x?token=secret"),
        lambda: list(shards.records(0, web_tally())),
    ):
        with pytest.raises(InputError) as refused:
            attempt()
        messages.append(str(refused.value))
    assert not [message for message in [*messages, *shards.names] if "secret" in message]
    assert host.headers[0]["Authorization"] == "Basic bWU6c2VjcmV0"


def web_tally() -> Any:
    from ngldm.data.sources.shards.records import Tally

    return Tally()


def redirect(to: str) -> Answer:
    return lambda handler: head(handler, 302, 0, Location=to)


def test_another_host_is_named_and_gets_no_password(host: Host) -> None:
    other = Host("127.0.0.2")
    host.answer, said = redirect(f"{other.url}x"), list[str]()
    with open_address("key", host.url.replace("//", "//me:secret@"), say=said.append) as answer:
        assert answer.read() == CONTENT
    assert said == [f"note: {host.url} leads to another host: {other.url}x"]
    assert "Authorization" not in other.headers[0]
    other.server.shutdown()
    other.server.server_close()


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://example.org/x", "http://example.org/x"])
def test_a_redirect_to_what_is_not_allowed_is_refused(host: Host, to: str) -> None:
    host.answer = redirect(to)
    with pytest.raises(InputError, match="key: "):
        open_address("key", host.url)


def test_redirects_in_a_circle_end(host: Host) -> None:
    host.answer = redirect(host.url)
    with pytest.raises(InputError, match="cannot be downloaded"):
        open_address("key", host.url)


def test_the_largest_file_fits_the_limit() -> None:
    """CIFAR-10's archive, by its authors' page and torchvision's download, has 170,052,171 bytes."""
    assert 170_052_171 < downloads.MAX_BYTES < 200_000_000


def test_two_processes_that_want_the_same_file_load_it_once(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both would write into the same unfinished file. A lock is of an open file, so threads stand for processes."""
    asked, goes_on = threading.Event(), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        goes_on.wait(20)
        whole(handler)

    host.answer = slow
    found: list[Path] = []
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    work = [threading.Thread(target=lambda: found.append(fetch(host.url, "a", md5, tmp_path))) for _ in range(2)]
    work[0].start()
    assert asked.wait(20)
    work[1].start()
    said = ""
    while "another process loads" not in said and work[1].is_alive():
        said += capsys.readouterr().err
    goes_on.set()
    for thread in work:
        thread.join()
    assert found == [tmp_path / "a"] * 2
    assert len(host.ranges) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == CONTENT
