"""Damaged and hostile archives, zip and tar: each is refused by name, and nothing of it lies outside its folder."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ngldm.data.sources.archives import unpack
from ngldm.io.errors import InputError

pytestmark = pytest.mark.usefixtures("in_time")
PACKED = {".zip": bytes, ".tar": bytes, ".tar.gz": gzip.compress, ".tar.xz": lzma.compress, ".tar.bz2": bz2.compress}
NOISE = np.random.default_rng(0).bytes(5000)  # no compression makes it shorter
FILES = {"a/1.png": NOISE, "a/2.png": NOISE[::-1], "b/3.png": b"x" * 3000}
Edit = Callable[[bytes], bytes]


def zip_of(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as bundle:
        for info, content in members:
            bundle.writestr(info, content)
    return out.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def whole(suffix: str) -> bytes:
    if suffix == ".zip":
        return zip_of(*FILES.items(), method=zipfile.ZIP_DEFLATED)
    return PACKED[suffix](tar_of(*((tarfile.TarInfo(name), content) for name, content in FILES.items())))


def special(kind: bytes, name: str = "x.png", to: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return tar_of((info, b""))


def linked(mode: int) -> bytes:
    info = zipfile.ZipInfo("x.png")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    return zip_of((info, b"/etc/passwd"))


def flip(place: int) -> Edit:
    return lambda content: content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


DAMAGES: dict[str, Edit] = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "half": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[: 2 * len(content) // 3],
    "without its start": lambda content: content[len(content) // 4 :],
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"<html>404 Not Found</html>" * 50,
    "a hole": lambda content: content[:300] + content[1500:],
    "the first byte": flip(0),
    "reversed": lambda content: content[::-1],
}
PATHS = ("../x", "a/../../x", "/x", "..\\x", "C:\\x", "C:x", ".", "x" * 300, f"a/{'x' * 300}/b")


def named(suffix: str, name: str) -> bytes:
    return zip_of((name, b"x")) if suffix == ".zip" else tar_of((tarfile.TarInfo(name), b"x"))


def lying(content: bytes, field: int, form: str, value: int) -> bytes:
    """A zip whose list of files says something else of the first one; `field` counts from the entry's start."""
    place = content.index(b"PK\x01\x02") + field
    return content[:place] + struct.pack(form, value) + content[place + struct.calcsize(form) :]


def sized(size: bytes) -> bytes:
    """A tar whose first header says another size, with the right checksum."""
    content = bytearray(whole(".tar"))
    content[124:136], content[148:156] = size, b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    return bytes(content)


def deep(depth: int) -> str:
    return "/".join(["d"] * depth)


HOSTILE: dict[str, tuple[str, bytes]] = {
    **{f"{suffix} {name[:12]}": (suffix, named(suffix, name)) for suffix in (".zip", ".tar") for name in PATHS},
    "a folder and a file of one name, zip": (".zip", zip_of(("a", b"x"), ("a/b", b"x"))),
    "a symbolic link, zip": (".zip", linked(stat.S_IFLNK)),
    "a symbolic link, tar": (".tar", special(tarfile.SYMTYPE, to="/etc/passwd")),
    "a hard link out": (".tar", special(tarfile.LNKTYPE, to="../../etc/passwd")),
    "a hard link to itself": (".tar", special(tarfile.LNKTYPE, to="x.png")),
    "a hard link to nothing": (".tar", special(tarfile.LNKTYPE, to="y.png")),
    "a pipe": (".tar", special(tarfile.FIFOTYPE)),
    "a device": (".tar", special(tarfile.CHRTYPE)),
    "a disk": (".tar", special(tarfile.BLKTYPE)),
    "a size of 8 GiB": (".tar", sized(b"77777777777\0")),
    "a size that is no number": (".tar", sized(b"x" * 12)),
    "another checksum": (".zip", lying(whole(".zip"), 16, "<I", 1)),
    "another method": (".zip", lying(whole(".zip"), 10, "<H", 98)),
    "encrypted": (".zip", lying(whole(".zip"), 8, "<H", 1)),
    "a file that lies behind the end": (".zip", lying(whole(".zip"), 42, "<I", 2**31)),
    "a smaller size": (".zip", lying(whole(".zip"), 24, "<I", 10)),
    "a smaller size, packed": (".zip", lying(whole(".zip"), 20, "<I", 10)),
    "cut between two files": (".tar", whole(".tar")[: 512 + 5120]),
    "cut between two files, packed": (".tar.gz", gzip.compress(whole(".tar")[: 512 + 5120])),
    "without files, zip": (".zip", zip_of()),
    "without files, tar": (".tar", tar_of()),
    "with a folder only": (".tar", special(tarfile.DIRTYPE, "x")),
    "a tar with the name of a zip": (".zip", whole(".tar")),
    "a zip with the name of a tar": (".tar", whole(".zip")),
    "4000 folders inside each other, zip": (".zip", named(".zip", deep(4000))),
    "4000 folders inside each other, tar": (".tar", named(".tar", deep(4000))),
}
CASES = {f"{suffix} {name}": (suffix, edit(whole(suffix))) for suffix in PACKED for name, edit in DAMAGES.items()}
CASES |= HOSTILE


@pytest.mark.parametrize("name", CASES)
def test_an_archive_is_refused(tmp_path: Path, name: str) -> None:
    suffix, content = CASES[name]
    archive, out = tmp_path / f"x{suffix}", tmp_path / "out"
    archive.write_bytes(content)
    out.mkdir()
    with pytest.raises(InputError) as refused:
        unpack(archive, out)
    assert str(archive) in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert {place.name for place in tmp_path.iterdir()} == {archive.name, "out"}


@pytest.mark.parametrize("suffix", PACKED)
def test_a_whole_archive_is_taken(tmp_path: Path, suffix: str) -> None:
    archive, out = tmp_path / f"x{suffix}", tmp_path / "out"
    archive.write_bytes(whole(suffix))
    out.mkdir()
    assert unpack(archive, out) == len(FILES)
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == FILES


def test_there_are_many() -> None:
    """So that the page's figure stays true."""
    assert len(CASES) >= 60
