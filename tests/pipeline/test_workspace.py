"""Where things lie."""

import pytest

from ngldm.pipeline.workspace import main_root


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
