"""Hard links and names in archives: what tar writes of files with two names, and what must be refused."""

import io
import tarfile
from pathlib import Path

import pytest

from ngldm.data.sources.archives import archive_stem, unpack
from ngldm.io.errors import InputError


def add(tar: tarfile.TarFile, name: str, content: bytes | None = None, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    if content is None:
        member.type, member.linkname = tarfile.LNKTYPE, link
        tar.addfile(member)
    else:
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_files_with_two_names_come_out_whole(suffix, tmp_path, out):
    """Written by tar itself from files that are hard links of each other, as in deduplicated folders."""
    (tmp_path / "in" / "train").mkdir(parents=True)
    (tmp_path / "in" / "a.png").write_bytes(b"one" * 1000)
    (tmp_path / "in" / "b.png").hardlink_to(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "train" / "c.png").hardlink_to(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "d.png").write_bytes(b"two" * 1000)
    with tarfile.open(tmp_path / f"x.{suffix}", f"w:{suffix.partition('.')[2]}") as tar:
        tar.add(tmp_path / "in", ".")
        assert sum(member.islnk() for member in tar.getmembers()) == 2
    assert unpack(tmp_path / f"x.{suffix}", out) == 4
    for path in (p for p in (tmp_path / "in").rglob("*") if p.is_file()):
        assert (out / path.relative_to(tmp_path / "in")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("/etc/passwd", "outside its folder: '/etc/passwd'"),
        ("../../etc/passwd", "outside its folder"),
        ("none.png", r"hard link to no file of its own: 'link\.png'"),
        ("link.png", r"hard link to no file of its own: 'link\.png'"),
        ("", "without a file name"),
    ],
)
def test_a_hard_link_to_no_member_is_refused(link, words, tmp_path, out):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "a.png", b"one")
        add(tar, "link.png", link=link)
    with pytest.raises(InputError, match=words):
        unpack(tmp_path / "x.tar", out)


def test_what_hard_links_unpack_to_counts(tmp_path, out):
    """A hundred names of one file fill the disk as a hundred files do."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "a.png", b"x" * 1000)
        for i in range(100):
            add(tar, f"{i}.png", link="a.png")
    with pytest.raises(InputError, match="more than 50000 bytes"):
        unpack(tmp_path / "x.tar", out, max_bytes=50_000)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("photos.zip", "photos"), ("a.b.tar.gz", "a.b"), ("2024.05.TGZ", "2024.05"), (".zip", ".zip"), ("x.tar.xz", "x")],
)
def test_an_archive_is_named_without_its_suffix(name, stem):
    assert archive_stem(Path(name)) == stem
