"""Training state on disk: it comes back as it was, survives a crash, and says what is wrong with a bad file."""

import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ngldm.io import tensors
from ngldm.io.tensors import save_tensors
from ngldm.training.checkpoints.checkpointer import KEPT, Checkpointer

STATE = {"step": 3, "best": 0.1 + 0.2, "losses": [1e-300, 0.1], "history": [{"loss": 1.5}]}
MADE_FROM = {"settings": {"lr": 0.1, "widths": (8, 16)}, "inputs": {"data/x": "1"}, "code": "c"}


def keeper(root: Path, **changed: Any) -> Checkpointer:
    return Checkpointer(root, "laplace", {**MADE_FROM, **changed}, 1, keeps_best=False)


def make_parts(seed: int) -> tuple[dict[str, nn.Module], torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    ema = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return {"model": model, "ema": ema}, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for step in range(count):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def trained(seed: int = 0, steps: int = 3) -> tuple[dict[str, nn.Module], torch.optim.Optimizer]:
    parts, optimizer = make_parts(seed)
    take_steps(parts["model"], optimizer, steps)
    return parts, optimizer


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key
        assert value.dtype == theirs[key].dtype, key


# --- round trip


def test_weights_buffers_and_optimiser_moments_come_back(tmp_path: Path) -> None:
    parts, optimizer = trained()
    keeper(tmp_path).save("last", parts, optimizer, STATE)
    fresh, fresh_optimizer = make_parts(seed=9)
    state = keeper(tmp_path).resume(fresh, fresh_optimizer)
    assert state is not None
    assert {key: state[key] for key in STATE} == STATE
    for part in parts:
        assert_equal(fresh[part].state_dict(), parts[part].state_dict())
    moments, expected = fresh_optimizer.state_dict()["state"], optimizer.state_dict()["state"]
    assert moments.keys() == expected.keys()
    for index, values in expected.items():
        assert_equal(moments[index], values)


def test_the_next_step_after_resuming_is_the_one_that_would_have_come(tmp_path: Path) -> None:
    parts, optimizer = trained()
    keeper(tmp_path).save("last", parts, optimizer, STATE)
    fresh, fresh_optimizer = make_parts(seed=9)
    keeper(tmp_path).resume(fresh, fresh_optimizer)
    take_steps(parts["model"], optimizer, 2)
    take_steps(fresh["model"], fresh_optimizer, 2)
    assert_equal(fresh["model"].state_dict(), parts["model"].state_dict())


def test_the_state_lies_in_the_file_itself_and_in_a_readable_copy_beside_it(tmp_path: Path) -> None:
    checkpointer = keeper(tmp_path)
    checkpointer.save("best", *trained(), STATE)
    with safe_open(checkpointer.folder / "best.safetensors", framework="pt") as file:
        inside = json.loads(file.metadata()["state"])
    del inside["crc32"]  # of the file, which the copy is not
    assert {key: inside[key] for key in STATE} == STATE
    assert inside["made_from"] == json.loads(json.dumps(MADE_FROM))
    assert json.loads((checkpointer.folder / "best.json").read_text()) == inside


def test_the_readable_copy_is_never_read(tmp_path: Path) -> None:
    keeper(tmp_path).save("last", *trained(), STATE)
    (keeper(tmp_path).folder / "last.json").write_text('{"step": 99, "made_from": "other"}')
    state = keeper(tmp_path).resume(*make_parts(9))
    assert state is not None
    assert state["step"] == 3


@pytest.mark.parametrize("part", ["model", "ema"])
def test_load_gives_one_part_of_one_checkpoint(tmp_path: Path, part: str) -> None:
    checkpointer = keeper(tmp_path)
    first, second = trained(seed=0), trained(seed=1)
    checkpointer.save("best", *first, STATE)
    checkpointer.save("last", *second, STATE)
    assert_equal(checkpointer.load("best", part), dict(first[0][part].state_dict()))
    assert_equal(checkpointer.load("last", part), dict(second[0][part].state_dict()))


# --- what is not resumed


def test_nothing_to_resume_is_none(tmp_path: Path) -> None:
    assert keeper(tmp_path / "none").resume(*make_parts(0)) is None
    assert keeper(tmp_path / "none").outlook() is None


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"settings": {"lr": 0.2, "widths": (8, 16)}}, "settings.lr"),
    ({"inputs": {"data/x": "2"}}, "inputs.data/x"),
    ({"code": "d"}, "code"),
    ({"code": "d", "settings": {"lr": 0.1, "widths": (8,)}}, "settings.widths, code"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_checkpoint_made_from_anything_else_is_left_alone_and_a_line_says_why(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    first, other = keeper(tmp_path), keeper(tmp_path, **change)
    first.save("last", *trained(), STATE)
    parts, optimizer = make_parts(9)
    before = {k: v.clone() for k, v in parts["model"].state_dict().items()}
    said = f"checkpoint of step 3 in {first.folder} not used, changed since: {words}"
    assert other.outlook() == said
    assert other.resume(parts, optimizer) is None
    assert_equal(dict(parts["model"].state_dict()), before)
    assert not optimizer.state_dict()["state"]
    assert first.outlook() == f"continues from the checkpoint of step 3 in {first.folder}"
    other.save("last", *trained(seed=1), {**STATE, "step": 8})  # two experiments side by side
    assert other.outlook() == f"continues from the checkpoint of step 8 in {other.folder}"
    assert first.outlook() == f"continues from the checkpoint of step 3 in {first.folder}"
    resumed = first.resume(*make_parts(9))
    assert resumed is not None
    assert resumed["step"] == 3


def test_another_labels_checkpoints_are_of_no_interest(tmp_path: Path) -> None:
    Checkpointer(tmp_path, "gaussian", MADE_FROM, 1).save("last", *trained(), STATE)
    assert keeper(tmp_path, code="d").outlook() is None


@pytest.mark.parametrize("folder", ["laplace-0123456789ab", None])
def test_a_checkpoint_of_an_older_version_is_not_used_and_a_line_says_so(tmp_path: Path, folder: str | None) -> None:
    place = tmp_path / folder if folder else keeper(tmp_path).folder
    state = {**STATE, "complete": False, "fingerprint": "0" * 64}
    tensors = {f"model.{key}": value for key, value in trained()[0]["model"].state_dict().items()}
    save_tensors(tensors, state, place / "last.safetensors")
    (place / "last.json").write_text(json.dumps(state))
    assert keeper(tmp_path).resume(*make_parts(9)) is None
    assert keeper(tmp_path).outlook() == f"checkpoint in {place} not used, it is damaged, or an older version wrote it"


# --- the end of a training


def test_a_training_that_succeeds_leaves_nothing_and_one_that_fails_its_checkpoint(tmp_path: Path) -> None:
    checkpointer = keeper(tmp_path)
    checkpointer.save("last", *trained(), STATE)
    with pytest.raises(OSError, match="disk"), checkpointer.until_done():
        raise OSError("disk")
    with checkpointer.until_done():
        assert checkpointer.resume(*make_parts(9)) is not None
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_before_its_first_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"), keeper(tmp_path).until_done():
        raise OSError("disk")
    assert list(tmp_path.iterdir()) == []


def test_the_time_of_all_processes_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    first = keeper(tmp_path)
    clock[0] = 107.0
    first.save("last", *trained(), STATE)
    clock[0] = 500.0
    second = keeper(tmp_path)
    second.resume(*make_parts(9))
    clock[0] = 503.0
    assert second.seconds() == 10.0
    second.save("last", *trained(), STATE)
    clock[0] = 900.0
    third = keeper(tmp_path)
    third.resume(*make_parts(9))
    assert third.seconds() == 10.0
    assert keeper(tmp_path, code="d").seconds() == 0.0


def test_the_time_in_which_another_training_is_waited_for_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    checkpointer = keeper(tmp_path)
    clock[0] = 700.0  # the other one has ended
    with checkpointer.until_done():
        clock[0] = 703.0
        assert checkpointer.seconds() == 3.0


# --- what is of no use any more


def test_stale_checkpoints_are_removed_and_others_are_not(tmp_path: Path) -> None:
    stale, useful, running = (keeper(tmp_path, code=code) for code in ("stale", "useful", "stale but running"))
    own, foreign = keeper(tmp_path), Checkpointer(tmp_path, "gaussian", {"code": "stale"}, 1)
    for checkpointer in (stale, useful, running, own, foreign):
        checkpointer.save("last", *trained(), STATE)
    only_best = keeper(tmp_path, code="killed before its first save of last")
    only_best.save("best", *trained(), STATE)
    (only_best.folder / "last.json").unlink(missing_ok=True)
    (tmp_path / ".laplace-0123456789ab.lock").touch()  # of a training that was killed before its first save
    with running.until_done(), own.until_done():
        removed = own.remove_stale(lambda made_from: "stale" in str(made_from["code"]))
        assert running.folder.with_name(f".{running.folder.name}.lock").exists()
        (running.folder / "kept").touch()
        assert set(removed) == {stale.folder, only_best.folder}
        folders = {path for path in tmp_path.iterdir() if path.is_dir()}
        assert folders == {useful.folder, running.folder, own.folder, foreign.folder}
    assert set(tmp_path.iterdir()) == {useful.folder, foreign.folder}


def test_only_the_newest_stopped_trainings_are_kept(tmp_path: Path) -> None:
    stopped = [keeper(tmp_path, settings={"lr": lr}) for lr in range(KEPT + 2)]
    for number, checkpointer in enumerate(stopped):
        checkpointer.save("last", *trained(), STATE)
        os.utime(checkpointer.folder, ns=(number, number))
    removed = keeper(tmp_path).remove_stale(lambda made_from: False)
    assert set(removed) == {checkpointer.folder for checkpointer in stopped[:2]}
    assert all(checkpointer.folder.exists() for checkpointer in stopped[2:])


def test_a_second_process_with_the_same_training_waits(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with keeper(tmp_path).until_done():
            order.append("second")

    with keeper(tmp_path).until_done():
        thread = Thread(target=second)
        thread.start()
        thread.join(0.3)
        with keeper(tmp_path, code="another").until_done():
            order.append("another training")
        order.append("first")
    thread.join(10)
    assert order == ["another training", "first", "second"]


WAITS = """
from pathlib import Path
from ngldm.io import processes
from ngldm.training.checkpoints.checkpointer import Checkpointer

def waits(holder):
    print(holder, flush=True)
    Path("../waits").touch()

processes.start(4.0)
with Checkpointer(Path("../kept"), "laplace", {"code": "c"}, 1).until_done(waits):
    print(processes.rank(), flush=True)
    processes.meet()
processes.stop()
"""


def test_several_processes_wait_longer_than_for_each_other(tmp_path: Path, together: Callable[..., Any]) -> None:
    """The second of two equal trainings used to end after NGLDM_TIMEOUT: its other processes waited in the training."""
    first = Checkpointer(tmp_path / "kept", "laplace", {"code": "c"}, 1)
    with ThreadPoolExecutor() as pool:
        with first.until_done():
            second = pool.submit(together, WAITS)
            while not ((tmp_path / "waits").exists() or second.done()):
                time.sleep(0.1)
            time.sleep(6.0)  # longer than the four seconds
            assert not second.done()
        main, other = second.result()
    assert (main.returncode, other.returncode) == (0, 0), main.stderr + other.stderr
    assert main.stdout == f"process {os.getpid()} on {socket.gethostname()}\n0\n"
    assert other.stdout == "1\n"
    assert list((tmp_path / "kept").iterdir()) == []


# --- crashes and bad files


def crash_while_writing(tensors: Any, path: Path, metadata: Any = None) -> None:
    Path(path).write_bytes(b"half of a checkpo")
    raise OSError("no space left on device")


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_crash_during_a_save_leaves_the_previous_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    checkpointer = keeper(tmp_path)
    checkpointer.save(name, *trained(), STATE)
    content = {file.name: file.read_bytes() for file in checkpointer.folder.iterdir()}
    monkeypatch.setattr(tensors, "save_file", crash_while_writing)
    with pytest.raises(OSError, match="no space"):
        checkpointer.save(name, *trained(seed=1), {**STATE, "step": 4})
    assert {file.name: file.read_bytes() for file in checkpointer.folder.iterdir()} == content


def test_a_crash_during_the_first_save_leaves_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "save_file", crash_while_writing)
    with pytest.raises(OSError, match="no space"):
        keeper(tmp_path).save("last", *trained(), STATE)
    assert not list(keeper(tmp_path).folder.iterdir())
    assert keeper(tmp_path).resume(*make_parts(0)) is None


def test_a_bad_file_is_set_aside_and_a_line_names_it(tmp_path: Path) -> None:
    """tests/faults/test_checkpoints.py has all kinds of them."""
    lines: list[str] = []
    checkpointer = Checkpointer(tmp_path, "laplace", MADE_FROM, 1, say=lines.append)
    path = checkpointer.folder / "last.safetensors"
    save_tensors({"a": torch.ones(1000)}, STATE, path)
    path.write_bytes(path.read_bytes()[:-100])
    assert checkpointer.resume(*make_parts(0)) is None
    assert lines[0].startswith(f"{path} is damaged (not a whole safetensors file (")
    assert lines[0].endswith(" and was set aside as last.damaged.safetensors; starts anew")
    assert not path.exists()
