"""Timing by interleaved repeats, a description of the machine, tables and JSON."""

import ctypes
import gc
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ngldm.io.files import write_json

Row = dict[str, Any]
SIZES = ("smallest", "small", "full")


def pick(size: str, smallest: Any, small: Any, full: Any) -> Any:
    """The value for a size of benchmark."""
    return dict(zip(SIZES, (smallest, small, full), strict=True))[size]


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], repeats: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each contender in each repeat. Before the repeats there is one round that is not timed.

    In each repeat all contenders run, one after the other. So other work of the machine slows all of them down alike. A
    single repeat only shows that they run, so it has no round before it.

    Args:
        contenders: name to what is timed.
        repeats: number of timed rounds.
        warm_up: whether to have the round that is not timed. Calls of many seconds do not need it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    rounds = range(0 if warm_up and repeats > 1 else 1, repeats + 1)
    for repeat in rounds:
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def bf16_is_fast() -> bool:
    """Whether the hardware computes bfloat16. Elsewhere it is emulated and too slow to train with."""
    return torch.cuda.is_available() or bool(torch.cpu._is_avx512_bf16_supported())


def peak_mib(run: Callable[[], Any]) -> float:
    """Memory in MiB that a call needs in addition: of the GPU if there is one, else resident memory (Linux)."""
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the call would use memory that was freed before (glibc)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory in use now
    before = _status_mib("VmRSS")
    run()
    return _status_mib("VmHWM") - before


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def summary(seconds: Mapping[str, list[float]], work: float, ours: str, unit: str = "images") -> list[Row]:
    """A row per contender: work per second (median), the spread, and how many times slower than `ours` it is.

    Args:
        seconds: name of a contender to its times.
        work: number of units that one timed run does.
        ours: name of the contender to compare with.
        unit: name of the unit.
    """
    rows = []
    for name, values in seconds.items():
        median = statistics.median(values)
        ratios = [value / own for value, own in zip(values, seconds[ours], strict=True)]
        rows.append(
            {
                "contender": name,
                f"{unit}/s": work / median,
                "seconds": median,
                "min": min(values),
                "max": max(values),
                f"times slower than {ours}": statistics.median(ratios),
            }
        )
    return rows


def machine() -> Row:
    names = ("torch", "diffusers", "denoising-diffusion-pytorch", "pytorch-fid", "torch-fidelity", "numpy", "scipy")
    versions = {name: version(name) for name in names}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "device": device,
        "python": platform.python_version(),
        **versions,
    }


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in file.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_memory_mib() -> float:
    """Peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: list[Row]) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(show(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def publish(name: str, results: Mapping[str, list[Row]], out: Path | None) -> None:
    """Print every table. If a folder is given, write them there as JSON, with the description of the machine."""
    show_tables(name, results)
    if out:
        write_json(out / f"{name}.json", {**about(), "results": results})


def show_tables(name: str, results: Mapping[str, list[Row]]) -> None:
    for title, rows in results.items():
        print(f"\n### {name}: {title}\n\n{table(rows)}", flush=True)


def about() -> dict[str, Any]:
    """The machine, and the memory that was needed so far, for a file of results."""
    return {"machine": machine(), "peak_memory_mib": peak_memory_mib()}


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def timed(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
