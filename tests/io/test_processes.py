"""What processes tell each other: alone, and two of them."""

import pytest

from ngldm.io import processes
from ngldm.io.errors import InputError

SPREAD = """
import time
import torch
from ngldm.io import processes
from ngldm.io.errors import InputError

processes.start(20.0)
me = processes.rank()
assert processes.size() == 2 and processes.is_main() == (me == 0) and processes.local_rank() == me
assert processes.gather("ab"[me]) == ["a", "b"]
assert processes.total(torch.tensor([1.0, 10.0 * me])).tolist() == [2.0, 10.0]
assert list(range(7))[processes.share(7)] == [[0, 1, 2], [3, 4, 5, 6]][me]
assert processes.from_main(lambda: f"from {me}") == "from 0"

def refuse():
    raise InputError("no such file")

try:
    processes.from_main(refuse)
    raise SystemExit("not refused")
except InputError as error:
    assert str(error) == "no such file"

made = []
def make(part):
    made.append(part)
    return part * part

class Kept:
    def __init__(self): self.parts = {1: 1, 4: 16}
    def done(self): return self.parts
    def read(self, part): return self.parts[part]
    def write(self, part, content): self.parts[part] = content

kept = Kept()
found = list(processes.spread(6, make, kept))
assert found == ([0, 1, 4, 9, 16, 25] if me == 0 else [])
assert made == [[0, 3], [2, 5]][me]
assert sorted(kept.parts) == ([0, 1, 2, 3, 4, 5] if me == 0 else [1, 4])

def broken(part):
    if part == 3:
        raise InputError("part 3 is damaged")
    return part

got = []
try:
    for part in processes.spread(4, broken):
        got.append(part)
    assert me == 1
except InputError as error:
    assert me == 0 and got == [0, 1, 2] and str(error) == "part 3 is damaged"

processes.stop()
assert processes.size() == 1 and processes.rank() == 0
print("well")
"""

HANGS = """
import sys, time
from ngldm.io import processes
processes.ROLL_CALL = 1.0
processes.start(3.0)
if processes.rank() == 1:
    time.sleep(12.0)
    sys.exit(0)
try:
    processes.meet()
except processes.LostProcess as error:
    print(error, flush=True)
    import os
    os._exit(0)
"""


def test_two_processes_share_work_and_tell_each_other(together) -> None:
    for done in together(SPREAD):
        assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_a_process_that_hangs_is_named_after_the_time_out(together) -> None:
    main, _ = together(HANGS)
    assert main.returncode == 0, main.stderr
    assert "within 3 s (NGLDM_TIMEOUT): process 1 of 2 hangs or was lost" in main.stdout


def test_processes_that_do_not_come_end_the_wait(together) -> None:
    code = "from ngldm.io import processes\nprocesses.start(2.0)\n"
    (alone,) = together(code, started=1)
    assert alone.returncode == 1
    last = alone.stderr.splitlines()
    assert any("WORLD_SIZE: 2 processes must meet at 127.0.0.1:" in line and "within 2 s" in line for line in last)


def test_one_process_does_all_by_itself() -> None:
    assert (processes.size(), processes.rank(), processes.is_main(), processes.local_rank()) == (1, 0, True, 0)
    assert processes.share(5) == slice(0, 5)
    assert processes.gather(3) == [3]
    assert processes.from_main(lambda: "x") == "x"
    assert list(processes.spread(3, lambda part: part + 1)) == [1, 2, 3]
    processes.meet()
    assert not processes.heard("nothing", 0.0)
    with pytest.raises(InputError, match="bad part"):
        list(processes.spread(2, lambda part: (_ for _ in ()).throw(InputError("bad part"))))
