"""Where and in what to compute, and how to get the same bits each time.

With precision "auto" a few calls in each precision and layout are timed. The choice is kept in torch's cache folder, by
machine and work, so that all that an experiment does on a machine has the same one. Who sets both keys gets the same
bits every time.

This module imports torch only when it is called: `--help` needs none.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ngldm.io import processes
from ngldm.io.errors import InputError, unknown
from ngldm.io.files import entry, fingerprint, read_json, write_json
from ngldm.io.threads import fixed_threads

if TYPE_CHECKING:
    import torch
    from torch import nn

AUTO = "auto"
FP32, BF16 = "fp32", "bf16"
PRECISIONS = (FP32, BF16, AUTO)  # in which a network computes
CHANNELS_LAST = "channels_last"
LAYOUTS = (CHANNELS_LAST, "contiguous")  # of weights and images in memory
HURRIED = ("cuda",)  # kinds of devices that have faster kernels, which do not give the same bits each time
REPEATS = 3  # timed calls of each candidate, by turns, after one that is not timed
GAIN = 1.05  # how many times faster than float32 in channels_last another must be


def resolve_device(name: str) -> "torch.device":
    """The torch device of that name; "auto" is a GPU where torch finds one (CUDA's, else Apple's), else the CPU.

    With several processes on a machine, "auto" and "cuda" give each a GPU of its own.

    Raises:
        InputError: torch knows no such device, or this machine has none; NGLDM_THREADS is no number of threads.
    """
    import torch

    fixed_threads()
    if name == "auto":
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((name for name, is_here in found.items() if is_here), "cpu")
    if name == "cuda" and processes.size() > 1:
        name = f"cuda:{processes.local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); choose auto, cpu or a GPU that exists"
        ) from error
    return device


def has_float64(device: "torch.device") -> bool:
    """Whether the device computes in float64. Apple's GPUs do not."""
    return device.type != "mps"


def random_generator(device: "torch.device | str", seed: int) -> "torch.Generator":
    """A generator for draws on the device; on the CPU where the device has no float64, in which noise is drawn.

    Code that draws must draw on the generator's device, and then move the result.
    """
    import torch

    own = torch.device(device)
    return torch.Generator(own if has_float64(own) else "cpu").manual_seed(seed)


def in_float64(x: "torch.Tensor") -> "torch.Tensor":
    """x in float64: on its device, or on the CPU where the device has none."""
    return x.double() if has_float64(x.device) else x.cpu().double()


def copied_once(*tensors: "torch.Tensor") -> "Callable[[torch.device], tuple[torch.Tensor, ...]]":
    """Gives these tensors on a device. They are copied to it once, because a copy makes the CPU wait for a GPU."""
    import torch

    @cache
    def on(device: torch.device) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode(False):  # a copy that was made for sampling must serve a training too
            return tuple(tensor.to(device) for tensor in tensors)

    return on


def pinned(x: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """A copy in memory that a GPU can read by itself; for other devices x."""
    return x.pin_memory() if device.type == "cuda" else x


def sent(x: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """x on the device. The CPU does not wait until a GPU has it, except Apple's, which might read x too late."""
    return pinned(x, device).to(device, non_blocking=device.type != "mps")


def free_memory(device: "torch.device") -> int:
    """Free bytes of a device; of a CPU, what the machine can give without swapping."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def be_deterministic() -> None:
    """From now on, the same inputs give the same bits on one machine."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import the compiler: 4 s
    torch.backends.cudnn.benchmark = False


@contextmanager
def kernels(deterministic: bool, device: "torch.device") -> Iterator[None]:
    """Within the block, torch computes with the kernels that it is set to, or with a GPU's fastest.

    The fastest do not give the same bits each time: cuDNN's convolutions of whichever algorithm is the fastest in a
    trial, and float32 products in TF32 (10 bits of mantissa in the place of 23; convolutions have it anyway).

    Args:
        deterministic: False asks for the fastest ones.
        device: those of other devices than CUDA's GPUs stay as they are.
    """
    import torch

    if deterministic or device.type not in HURRIED:
        yield
        return
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    mode, benchmark = torch.get_deterministic_debug_mode(), cudnn.benchmark
    precision = products.fp32_precision
    slow = precision != "tf32"  # torch refuses `allow_tf32` to who has set this by its newer name
    try:
        torch.set_deterministic_debug_mode("default")
        cudnn.benchmark = True
        if slow:
            products.allow_tf32 = True
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.benchmark = benchmark
        if slow:
            products.allow_tf32 = False
            products.fp32_precision = precision  # "none" follows torch.backends.fp32_precision, which False does not


def check_computation(precision: str, layout: str) -> None:
    """Check in what a network is to compute.

    Raises:
        InputError: there is no such precision or layout, or the layout has no effect, because it is chosen together
            with the precision.
    """
    for key, value, choices in (("precision", precision, PRECISIONS), ("layout", layout, LAYOUTS)):
        if value not in choices:
            raise unknown(key, value, choices)
    if precision == AUTO and layout != CHANNELS_LAST:
        raise InputError(f"layout: {layout!r} has no effect with precision {AUTO!r}, which chooses both")


@dataclass(frozen=True)
class Computation:
    """What a network computes in.

    Attributes:
        precision: of the passes, "fp32" or "bf16". Weights stay float32.
        layout: of weights and images in memory, "channels_last" or "contiguous".
    """

    precision: str
    layout: str

    def place(self, network: "nn.Module", device: "torch.device") -> None:
        """Move a network to the device, in the layout."""
        import torch

        layout = torch.channels_last if self.layout == CHANNELS_LAST else torch.contiguous_format
        network.to(device, memory_format=layout)  # type: ignore[call-overload]

    def autocast(self, device: "torch.device") -> "torch.autocast":
        """The context of a forward pass."""
        import torch

        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == BF16)


CANDIDATES = tuple(
    Computation(precision, layout) for precision in PRECISIONS if precision != AUTO for layout in LAYOUTS
)


@dataclass(frozen=True)
class Choice:
    """A computation, and how it came about.

    Attributes:
        said: a line for the user; None if the settings name the computation.
    """

    computation: Computation
    said: str | None = None


def choose_computation(
    precision: str,
    layout: str,
    device: "torch.device",
    work: Callable[[Computation], Callable[[], object]],
    about: Mapping[str, object],
) -> Choice:
    """The computation of some work. All processes get that of the main one, and all must call this.

    Args:
        precision: with "auto" it is measured.
        work: makes, for a computation, the call that is timed.
        about: what the work is; it and the machine decide whether an earlier measurement serves.

    Raises:
        InputError: as `check_computation`.
    """
    import torch

    check_computation(precision, layout)
    if precision != AUTO:
        return Choice(Computation(precision, layout))
    measured_on: dict[str, object] = {
        "machine": [platform.machine(), _processor(), torch.__version__, torch.get_num_threads(), processes.size()],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **about,
    }
    if device.type in HURRIED:  # with other kernels, another computation may be the fastest
        cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
        measured_on["kernels"] = [torch.get_deterministic_debug_mode(), cudnn.benchmark, products.fp32_precision]
    return processes.from_main(lambda: _kept(measured_on, lambda: measure(work, device)))


def _kept(measured_on: Mapping[str, object], measured: Callable[[], dict[Computation, float]]) -> Choice:
    """The choice of an earlier time; if there is none, that of a measurement, which is then kept."""
    import torch

    path = Path(torch.hub.get_dir()).parent / "ngldm" / f"{fingerprint(measured_on)[:16]}.json"
    with suppress(InputError):
        known = read_json(path)
        found = Computation(entry(known, "precision", str), entry(known, "layout", str))
        if found in CANDIDATES:
            return Choice(found, f"precision auto: {found.precision}, {found.layout}, as measured before ({path})")
    seconds = measured()
    found = fastest(seconds)
    with suppress(OSError, InputError):  # without a place to keep it, it is measured again the next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**asdict(found), "measured_on": measured_on})
    times = ", ".join(f"{one.precision} {one.layout} {1e3 * time:.3g} ms" for one, time in seconds.items())
    return Choice(found, f"precision auto: {found.precision}, {found.layout} ({times})")


def fastest(seconds: Mapping[Computation, float]) -> Computation:
    """The computation with the fewest seconds; float32 in channels_last unless another is 5 % faster."""
    first, best = CANDIDATES[0], min(seconds, key=lambda one: seconds[one])
    return best if seconds[first] > GAIN * seconds[best] else first


def measure(work: Callable[[Computation], Callable[[], object]], device: "torch.device") -> dict[Computation, float]:
    """Seconds of a call with each candidate: the least of some, taken by turns."""
    import torch

    calls = {one: work(one) for one in CANDIDATES}
    seconds = dict.fromkeys(CANDIDATES, float("inf"))
    for turn in range(REPEATS + 1):
        for one, call in calls.items():
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[one] = min(seconds[one], time.perf_counter() - start)
    return seconds


def _processor() -> str:
    """The name of the CPU; Linux has it in a file, and `platform` often has not."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if os.access(file, os.R_OK) else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
