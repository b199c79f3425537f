"""What counts as a whole checkpoint; tests/faults/test_checkpoints.py damages them in a training."""

import zlib
from pathlib import Path

import pytest
import torch
from torch import nn

from ngldm.io.errors import InputError
from ngldm.training.checkpoints.whole import checksum, file_checksum, require_fitting


def test_the_checksum_sees_names_types_shapes_bytes_and_state_in_any_order() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor(3.0)
    one = checksum({"a": a, "b": b}, {"x": 1, "y": [0.1]})
    assert checksum({"b": b, "a": a}, {"y": [0.1], "x": 1, "checksum": 7}) == one
    others = [
        checksum({"a": a, "c": b}, {"x": 1, "y": [0.1]}),
        checksum({"a": a.to(torch.float64), "b": b}, {"x": 1, "y": [0.1]}),
        checksum({"a": a[:, None], "b": b}, {"x": 1, "y": [0.1]}),
        checksum({"a": a + 1e-7, "b": b}, {"x": 1, "y": [0.1]}),
        checksum({"a": a, "b": b}, {"x": 2, "y": [0.1]}),
    ]
    assert len({one, *others}) == 6


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.int64, torch.bool])
def test_any_type_and_layout_has_a_checksum(kind: torch.dtype) -> None:
    tensor = torch.arange(24).reshape(1, 2, 3, 4).to(kind)
    assert checksum({"a": tensor.contiguous(memory_format=torch.channels_last)}, {}) == checksum({"a": tensor}, {})


def test_the_checksum_of_a_file_is_crc_32(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(content)
    assert file_checksum(tmp_path / "file") == zlib.crc32(content)


def test_an_infinite_buffer_is_no_fault_and_an_infinite_weight_is_one() -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors = {f"model.{key}": value.clone() for key, value in net.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    require_fitting(tensors, {"model": net}, optimizer, Path("file"))
    tensors["model.bias"][0] = torch.inf
    with pytest.raises(InputError, match=r"file: NaN or infinite numbers in model\.bias \(1 of 2\)"):
        require_fitting(tensors, {"model": net}, optimizer, Path("file"))
