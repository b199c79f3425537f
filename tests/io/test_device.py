"""Devices: which are taken, which are refused; and the same bits each time."""

import subprocess
import sys

import psutil
import pytest
import torch

from ngldm.io.device import be_deterministic, free_memory, resolve_device
from ngldm.io.errors import InputError


def test_auto_is_a_gpu_if_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_named_device_is_taken():
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_with_what_is_allowed(name):
    with pytest.raises(InputError, match=rf"^device '{name}' cannot be used here .*; choose auto, cpu or a GPU"):
        resolve_device(name)


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
