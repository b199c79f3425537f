"""Training state on disk: it comes back as it was, survives a crash, and says what is wrong with a bad file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ngldm.io import tensors
from ngldm.io.errors import InputError
from ngldm.io.tensors import save_tensors
from ngldm.training.checkpoint import Checkpointer

STATE = {"step": 3, "complete": False, "best": 0.1 + 0.2, "losses": [1e-300, 0.1], "history": [{"loss": 1.5}]}


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
    Checkpointer(tmp_path, "key", 1).save("last", parts, optimizer, STATE)
    fresh, fresh_optimizer = make_parts(seed=9)
    state = Checkpointer(tmp_path, "key", 1).resume(fresh, fresh_optimizer)
    assert state == {**STATE, "fingerprint": "key"}
    for part in parts:
        assert_equal(fresh[part].state_dict(), parts[part].state_dict())
    moments, expected = fresh_optimizer.state_dict()["state"], optimizer.state_dict()["state"]
    assert moments.keys() == expected.keys()
    for index, values in expected.items():
        assert_equal(moments[index], values)


def test_the_next_step_after_resuming_is_the_one_that_would_have_come(tmp_path: Path) -> None:
    parts, optimizer = trained()
    Checkpointer(tmp_path, "key", 1).save("last", parts, optimizer, STATE)
    fresh, fresh_optimizer = make_parts(seed=9)
    Checkpointer(tmp_path, "key", 1).resume(fresh, fresh_optimizer)
    take_steps(parts["model"], optimizer, 2)
    take_steps(fresh["model"], fresh_optimizer, 2)
    assert_equal(fresh["model"].state_dict(), parts["model"].state_dict())


def test_the_state_lies_in_the_file_itself_and_in_a_readable_copy_beside_it(tmp_path: Path) -> None:
    Checkpointer(tmp_path, "key", 1).save("best", *trained(), STATE)
    with safe_open(tmp_path / "best.safetensors", framework="pt") as file:
        inside = json.loads(file.metadata()["state"])
    assert inside == {**STATE, "fingerprint": "key"}
    assert json.loads((tmp_path / "best.json").read_text()) == inside


def test_the_readable_copy_is_never_read(tmp_path: Path) -> None:
    Checkpointer(tmp_path, "key", 1).save("last", *trained(), STATE)
    (tmp_path / "last.json").write_text('{"step": 99, "fingerprint": "other"}')
    state = Checkpointer(tmp_path, "key", 1).resume(*make_parts(9))
    assert state is not None
    assert state["step"] == 3


@pytest.mark.parametrize("part", ["model", "ema"])
def test_load_gives_one_part_of_one_checkpoint(tmp_path: Path, part: str) -> None:
    checkpointer = Checkpointer(tmp_path, "key", 1)
    first, second = trained(seed=0), trained(seed=1)
    checkpointer.save("best", *first, STATE)
    checkpointer.save("last", *second, STATE)
    assert_equal(checkpointer.load("best", part), dict(first[0][part].state_dict()))
    assert_equal(checkpointer.load("last", part), dict(second[0][part].state_dict()))


# --- what is not resumed


def test_nothing_to_resume_is_none(tmp_path: Path) -> None:
    assert Checkpointer(tmp_path / "none", "key", 1).resume(*make_parts(0)) is None


@pytest.mark.parametrize(("key", "complete"), [("other", False), ("key", True)])
def test_another_fingerprint_or_a_finished_run_is_left_alone(tmp_path: Path, key: str, complete: bool) -> None:
    Checkpointer(tmp_path, "key", 1).save("last", *trained(), {**STATE, "complete": complete})
    parts, optimizer = make_parts(9)
    before = {k: v.clone() for k, v in parts["model"].state_dict().items()}
    assert Checkpointer(tmp_path, key, 1).resume(parts, optimizer) is None
    assert_equal(dict(parts["model"].state_dict()), before)
    assert not optimizer.state_dict()["state"]


# --- crashes and bad files


def crash_while_writing(tensors: Any, path: Path, metadata: Any = None) -> None:
    Path(path).write_bytes(b"half of a checkpo")
    raise OSError("no space left on device")


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_crash_during_a_save_leaves_the_previous_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    checkpointer = Checkpointer(tmp_path, "key", 1)
    checkpointer.save(name, *trained(), STATE)
    content = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(tensors, "save_file", crash_while_writing)
    with pytest.raises(OSError, match="no space"):
        checkpointer.save(name, *trained(seed=1), {**STATE, "step": 4})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == content


def test_a_crash_during_the_first_save_leaves_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "save_file", crash_while_writing)
    with pytest.raises(OSError, match="no space"):
        Checkpointer(tmp_path, "key", 1).save("last", *trained(), STATE)
    assert not list(tmp_path.iterdir())
    assert Checkpointer(tmp_path, "key", 1).resume(*make_parts(0)) is None


def test_resuming_from_a_bad_file_is_an_input_error_naming_its_path(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_tensors({"a": torch.ones(1000)}, STATE, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as error:
        Checkpointer(tmp_path, "key", 1).resume(*make_parts(0))
    assert str(path) in str(error.value)
