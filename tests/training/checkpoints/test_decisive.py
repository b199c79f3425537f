"""Which settings decide the result of a training: those of the table in the module."""

import pytest

from ngldm.training.checkpoints.decisive import decisive

LOOP = {
    "deterministic": True,
    "lr": 0.1,
    "max_steps": 9,
    "log_every": 2,
    "eval_every": 3,
    "checkpoint_every": 4,
    "snapshot_every": 6,
}


@pytest.mark.parametrize(
    ("export", "key", "decides"),
    [
        ("last", "lr", True),
        ("last", "max_steps", True),
        ("last", "snapshot_every", True),
        ("last", "deterministic", True),
        ("last", "log_every", False),
        ("last", "checkpoint_every", False),
        ("last", "eval_every", False),
        ("best", "eval_every", True),
        ("best", "log_every", False),
    ],
)
def test_settings_that_decide_nothing_are_left_out(export: str, key: str, decides: bool) -> None:
    before = decisive({**LOOP, "export": export})
    assert (decisive({**LOOP, "export": export, key: 100}) != before) is decides
    assert decisive({**LOOP, "export": "average"}) != before
