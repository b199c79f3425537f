"""Archives of images, unpacked where nothing in them can do harm: no path out, no link, no endless file."""

import errno
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from ngldm.io.errors import InputError, shown
from ngldm.io.limits import require_members, require_unpacked

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
ZIP_UTF8 = 0x800  # flag: the name is UTF-8; else zipfile reads it as code page 437
Member = tuple[str, int, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file's name says that it is an archive that `unpack` reads."""
    return path.name.lower().endswith(SUFFIXES)


def archive_stem(path: Path) -> str:
    """The name of an archive without its suffix: photos of photos.tar.gz."""
    return next(path.name[: -len(suffix)] for suffix in SUFFIXES if path.name.lower().endswith(suffix)) or path.name


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the regular files of a zip or tar archive into an existing folder; returns how many.

    Raises:
        InputError: the archive is damaged, cut or empty, holds a symbolic link, a device, a path out of its folder or a
            name that cannot be a file, or unpacks to more files or bytes than the limits of `ngldm.io.limits` or the
            free space allow. What was unpacked before stays: give a temporary folder.
    """
    members = _zip_members(archive) if archive.name.lower().endswith(".zip") else _tar_members(archive, folder)
    count, total, packed = 0, 0, archive.stat().st_size
    free = shutil.disk_usage(folder).free
    try:
        for name, size, source in members:
            total += size
            require_unpacked(f"dataset.source: {archive}", total, packed)
            require_members(f"dataset.source: {archive}", count + 1)
            if total > free:
                raise InputError(f"dataset.source: {archive} unpacks to more than the {free} bytes free in {folder}")
            with _open(archive, folder / _inside(archive, name), name) as file:
                shutil.copyfileobj(source, file)
            count += 1
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of this machine, as a full disk
            raise
        raise InputError(f"dataset.source: {archive} is damaged or not an archive ({error})") from error
    except (ValueError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"dataset.source: {archive} is damaged ({error})") from error
    if not count:
        raise InputError(f"dataset.source: {archive} has no files")
    return count


def _open(archive: Path, target: Path, name: str) -> BinaryIO:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("wb")
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(f"dataset.source: {archive} has a file and folder of one name: {shown(name)}") from error
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise
        raise InputError(f"dataset.source: {archive} has a name that no file can have here: {shown(name)}") from error


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts:
        raise InputError(f"dataset.source: {archive} has a member without a file name: {shown(name)}")
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise InputError(f"dataset.source: {archive} has a member outside its folder: {shown(name)}")
    return path


def _tar_members(archive: Path, folder: Path) -> Iterator[Member]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            if member.islnk():  # a further name of an earlier member: tar writes a file's content once
                with _linked(archive, folder, member).open("rb") as unpacked:
                    yield member.name, os.fstat(unpacked.fileno()).st_size, unpacked
                continue
            if not member.isreg():
                raise InputError(f"dataset.source: {archive} has a link or a special file: {shown(member.name)}")
            source = tar.extractfile(member)
            assert source is not None  # a regular file has content
            yield member.name, member.size, source
        # The last that was read is the first block of the end mark, or nothing: then the file ends between two members.
        if tar.fileobj is not None and tar.fileobj.tell() <= tar.offset:
            raise InputError(f"dataset.source: {archive} is cut: it has no end mark; if it is whole, pack it again")


def _linked(archive: Path, folder: Path, member: tarfile.TarInfo) -> Path:
    """The unpacked file that a hard link means: read there, for going back in a compressed tar is slow."""
    target = _inside(archive, member.linkname)
    if target == _inside(archive, member.name) or not (folder / target).is_file():
        raise InputError(
            f"dataset.source: {archive} has a hard link to no file of its own: {shown(member.name)} to "
            f"{shown(member.linkname)}"
        )
    return folder / target


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            name = _zip_name(member)
            if name.endswith("/"):
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(f"dataset.source: {archive} has a link or a special file: {shown(name)}")
            with bundle.open(member) as source:
                yield name, member.file_size, source


def _zip_name(member: zipfile.ZipInfo) -> str:
    """A member's name with slashes, as Windows means its backslashes, and in UTF-8, which a Mac writes unmarked."""
    name = member.filename
    if not member.flag_bits & ZIP_UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")
