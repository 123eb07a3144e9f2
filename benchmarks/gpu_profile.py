"""What a trace of PyTorch's profiler says: which kernels take how long, and how long the device does nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# What runs on the device, by the categories of the trace.
_ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
LONG_GAP_US = 10.0


class Event(NamedTuple):
    """Something that the device did: from when on, and how long, in microseconds."""

    name: str
    start: float
    duration: float


class KernelTable(NamedTuple):
    rows: list[dict[str, Any]]
    text: str


def read_trace(path: Path, on_gpu: bool = True) -> list[Event]:
    """The events of a Chrome trace that ran on the GPU; or, to try this without one, the operators of the CPU."""
    wanted = _ON_GPU if on_gpu else ("cpu_op",)
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [
        Event(it["name"], float(it["ts"]), float(it["dur"]))
        for it in content["traceEvents"]
        if it.get("cat") in wanted and "dur" in it
    ]
    return sorted(found, key=lambda event: event.start)


def busy_share(events: Sequence[Event], steps: int) -> dict[str, float]:
    """Which share of the time from the first event to the end of the last one something ran, and the gaps."""
    if not events:
        return {"busy_share": 0.0, "ms_per_step": 0.0, "gap_ms_per_step": 0.0, "long_gaps_per_step": 0.0}
    end, idle, long_gaps = events[0].start, 0.0, 0
    for event in events:
        gap = event.start - end
        if gap > 0:
            idle += gap
            long_gaps += gap > LONG_GAP_US
        end = max(end, event.start + event.duration)
    whole = end - events[0].start
    return {
        "busy_share": 1 - idle / whole,
        "ms_per_step": whole / steps / 1e3,
        "gap_ms_per_step": idle / steps / 1e3,
        "long_gaps_per_step": long_gaps / steps,
    }


def kernel_table(events: Sequence[Event], steps: int) -> KernelTable:
    """Kernels by the time that they take together, the longest first."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        times[event.name].append(event.duration)
    whole = sum(map(sum, times.values())) or 1.0
    rows = [
        {
            "kernel": name[:120],
            "ms_per_step": round(sum(durations) / steps / 1e3, 4),
            "share": round(sum(durations) / whole, 4),
            "calls_per_step": round(len(durations) / steps, 2),
            "mean_us": round(sum(durations) / len(durations), 2),
        }
        for name, durations in sorted(times.items(), key=lambda it: -sum(it[1]))
    ]
    lines = [f"{'ms/step':>9} {'share':>6} {'calls':>7} {'mean us':>8}  kernel"]
    for row in rows:
        numbers = f"{row['ms_per_step']:9.3f} {row['share']:6.1%} {row['calls_per_step']:7.1f} {row['mean_us']:8.1f}"
        lines.append(f"{numbers}  {row['kernel']}")
    return KernelTable(rows, "\n".join(lines))
