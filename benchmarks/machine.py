"""What a benchmark ran on, how fast matrices are multiplied there, and where its results are kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def describe_machine(*libraries: str) -> dict[str, Any]:
    """Processor, cores, memory, GPU, and the versions of libraries."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in ("torch", "numpy", *libraries)},
    }


def matmul_rate(dtype: torch.dtype = torch.float32, size: int = 1024, repetitions: int = 10) -> float:
    """Floating-point operations a second of a product of square matrices: the best of some."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: left @ right) for _ in range(repetitions))


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def median_seconds(functions: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """The median time of several functions, called in turn, so that whatever slows the machine slows them alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def keep_results(name: str, results: dict[str, Any]) -> Path:
    """Write results, each under its key, into the file of a benchmark; keys that it has already and that are not among
    these stay."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**before, **results}, indent=2) + "\n", encoding="utf-8")
    return path


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested results under dotted names: ``{"images2000.own_memory_mb": …}``."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return result


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def mapped_and_own_gb() -> tuple[float, float, float]:
    """Memory of this process: what it has of mapped files, what is its own, and the peak of both together, GiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("Rss", "VmHWM"))}
    mapped, own, peak = (kilobytes[name] / 2**20 for name in ("RssFile", "RssAnon", "VmHWM"))
    return mapped, own, peak
