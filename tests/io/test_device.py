"""Devices: which are taken, which are refused; and the same bits each time."""

import subprocess
import sys

import psutil
import pytest
import torch

from ngldm.io.device import (
    CANDIDATES,
    Computation,
    be_deterministic,
    copied_once,
    fastest,
    free_memory,
    has_float64,
    in_float64,
    random_generator,
    resolve_device,
)
from ngldm.io.errors import InputError


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_a_gpu_if_there_is_one(cuda, mps, chosen, monkeypatch):
    """Of a machine that torch says has them; the check that a tensor can be made there is made on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "empty", lambda size, device: torch.zeros(size))
    assert resolve_device("auto") == torch.device(chosen)


def test_a_named_device_is_taken():
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_with_what_is_allowed(name):
    with pytest.raises(InputError, match=rf"^device '{name}' cannot be used here .*; choose auto, cpu or a GPU"):
        resolve_device(name)


def test_a_bad_number_of_threads_is_refused_before_any_work(monkeypatch):
    monkeypatch.setenv("NGLDM_THREADS", "two")
    with pytest.raises(InputError, match="NGLDM_THREADS: 'two' must be a whole number, 1 to 1024"):
        resolve_device("cpu")


def test_where_there_is_no_float64_noise_is_drawn_on_the_cpu():
    """A generator for Apple's GPU can be asked for on any machine: it is the CPU's."""
    for device in ("mps", torch.device("mps:0"), "cpu"):
        made = random_generator(device, 7)
        assert made.device.type == "cpu"
        assert torch.equal(torch.rand(3, generator=made), torch.rand(3, generator=torch.Generator().manual_seed(7)))
    assert not has_float64(torch.device("mps"))


def test_in_float64_keeps_the_numbers_and_the_device():
    x = torch.tensor([1.0, 1e-30])
    assert in_float64(x).dtype == torch.float64
    assert in_float64(x).device == x.device
    assert torch.equal(in_float64(x).float(), x)


def test_a_table_is_copied_to_a_device_once_and_serves_a_training_too() -> None:
    made = copied_once(torch.ones(2), torch.zeros(3))
    with torch.inference_mode():
        first = made(torch.device("meta"))
    assert [x.shape[0] for x in first] == [2, 3]
    assert all(x.device.type == "meta" and not x.is_inference() for x in first)
    assert all(one is other for one, other in zip(made(torch.device("meta")), first, strict=True))


def test_free_memory_is_positive_and_below_the_machines():
    assert 0 < free_memory(torch.device("cpu")) < psutil.virtual_memory().total


def test_be_deterministic_asks_torch_for_it():
    before = torch.get_deterministic_debug_mode()
    try:
        be_deterministic()
        assert torch.get_deterministic_debug_mode() == 1  # warn
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.set_deterministic_debug_mode(before)


def test_importing_the_module_imports_no_torch():
    code = "import sys, ngldm.io.device, ngldm.io.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FP32, BF16 = Computation("fp32", "channels_last"), Computation("bf16", "contiguous")


@pytest.mark.parametrize(("faster", "expected"), [(1.0, FP32), (1.04, FP32), (1.06, BF16), (3.0, BF16)])
def test_another_computation_than_float32_must_be_clearly_faster(faster: float, expected: Computation) -> None:
    seconds = dict.fromkeys(CANDIDATES, 1.2) | {FP32: 1.0, BF16: 1.0 / faster}
    assert fastest(seconds) == expected
