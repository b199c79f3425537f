"""Where things lie."""

import pytest

from ngldm.pipeline.workspace import main_root, said_of, without_password


@pytest.mark.parametrize(
    ("inside", "root"),
    [
        ("repo", "repo"),
        ("repo/.dvc/tmp/exps/standalone/tmpabc", "repo"),
        ("repo/.dvc/tmp/exps/standalone/tmpabc/sub", "repo"),
        ("exps/standalone", "exps/standalone"),
    ],
)
def test_an_experiments_copy_belongs_to_the_main_repository(tmp_path, inside, root):
    (tmp_path / inside).mkdir(parents=True)
    assert main_root(tmp_path / inside) == (tmp_path / root).resolve()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:se/cr?e#t@host:1/x", "postgresql://me:***@host:1/x"),
        ("postgresql://me:se@cret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:secret@[::1/x", "postgresql://me:***@[::1/x"),
        ("postgresql://me@host/x?password=secret&a=b", "postgresql://me@host/x?password=***&a=b"),
        ("mysql+pymysql://host/x?passwd=secret&a=b", "mysql+pymysql://host/x?passwd=***&a=b"),
        ("mssql+pyodbc://host/x?UID=me&PWD=secret", "mssql+pyodbc://host/x?UID=me&PWD=***"),
        ("https://me:secret@host:5000", "https://me:***@host:5000"),
        ("https://token@host/a@b", "https://***@host/a@b"),
        ("http://127.0.0.1:5000/a", "http://127.0.0.1:5000/a"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("searches/a:b@c.journal", "searches/a:b@c.journal"),
    ],
)
def test_passwords_are_not_shown(address, shown):
    assert without_password(address) == shown


def test_a_librarys_words_show_no_password() -> None:
    address = "ftp://bob:hunter2@x"
    assert said_of(address, ValueError(f"no such scheme: {address!r}\nmore")) == "no such scheme: 'ftp://bob:***@x'"
    assert said_of(address, ValueError()) == "ValueError"
