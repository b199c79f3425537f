"""What counts as a whole checkpoint; tests/faults/test_checkpoints.py damages them in a training."""

import zlib
from pathlib import Path

import pytest
import torch
from torch import nn

from ngldm.io.errors import InputError
from ngldm.training.checkpoints.whole import file_checksum, require_fitting


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
