"""Archives: what they hold comes out; what would do harm is refused by name."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from ngldm.data.sources.archives import is_archive, unpack
from ngldm.io.errors import InputError

FILES = {"a.png": b"one", "deep/er/b.png": b"two" * 1000}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    mode = {".xz": "w:xz", ".gz": "w:gz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def make(path: Path, files: dict[str, bytes]) -> Path:
    return make_zip(path, files) if path.suffix == ".zip" else make_tar(path, files)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
def test_every_file_comes_out(name, tmp_path, out):
    assert is_archive(tmp_path / name)
    assert unpack(make(tmp_path / name, FILES), out) == 2
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == FILES


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
@pytest.mark.parametrize("member", ["../evil.png", "x/../../evil.png", "/evil.png", "..\\evil.png", "C:\\evil.png"])
def test_paths_out_of_the_folder_are_refused(name, member, tmp_path, out):
    with pytest.raises(InputError, match="outside its folder"):
        unpack(make(tmp_path / name, {member: b"x"}), out)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("archive", ["a.zip", "a.tar"])
@pytest.mark.parametrize(
    ("members", "words"),
    [
        (["a", "a/b"], "file and folder of one name: 'a/b'"),
        (["a", "a/b/c"], "file and folder of one name: 'a/b/c'"),
        (["a/b", "a"], "file and folder of one name: 'a'"),
        (["x" * 300], "no file can have here: 'xxx"),
        (["y/" + "x" * 300 + "/z"], "no file can have here: 'y/xxx"),
        (["."], "without a file name: '.'"),
    ],
)
def test_names_that_cannot_be_files_are_refused(members, words, archive, tmp_path, out):
    with pytest.raises(InputError, match=words):
        unpack(make(tmp_path / archive, dict.fromkeys(members, b"x")), out)


def test_links_are_refused(tmp_path, out):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(info, "/etc/passwd")
    for name in ("a.tar", "a.zip"):
        with pytest.raises(InputError, match=r"link.*'link\.png'"):
            unpack(tmp_path / name, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_the_unpacked_size_is_bounded(name, tmp_path, out):
    with pytest.raises(InputError, match="more than 3002 bytes"):
        unpack(make(tmp_path / name, FILES), out, max_bytes=3002)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_cut_archive_is_named(name, keep, tmp_path, out):
    path = make(tmp_path / name, {f"{i}.png": bytes(range(256)) * 9 for i in range(40)})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    with pytest.raises(InputError, match=f"{name}.*damaged"):
        unpack(path, out)


def test_a_changed_byte_is_noticed(tmp_path, out):
    path = make_zip(tmp_path / "a.zip", {"a.png": b"stored" * 999})
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        unpack(path, out)
