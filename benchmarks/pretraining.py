"""One training step of the pre-training at BERT-base size, beside the authors' formulation of it, in one run.

    python benchmarks/pretraining.py [--repetitions N] [--micro-batch N] [--json] [--keep]

A step is forward, backward, clipping and AdamW for 16 samples with 36 regions and 10 words on average. Ours makes
all three views of each sample in one step: R-T with as many tags as the sentence has words, R-P, and I-S with a
matched **and** a mismatched sentence, so four rows a sample. A few samples at a time go through the model, and their
gradients are added up (``training.update_frequency`` of the trainer). A second figure, ``ours_tag_per_region``, is with
a tag for each of the 36 regions; to the peer, which pads, that makes no difference. The peer is the authors'
formulation, written plainly in ``training_steps.py``: one view a step, every sample padded to 60 tokens and 100
regions, vocabulary logits at all positions, attention spelled out.

Both are measured on one thread, in CPU seconds **per sample and view**, in units of a product of two 1024 x 1024
float32 matrices measured in the same process just before and after each step; medians of several steps taken in turn.
Each has a process of its own, so that the peak memory is its own. ``--json``
prints one object and nothing else; ``--keep`` writes ``benchmarks/results/pretraining.json``. On GPUs,
``benchmarks/gpu.py`` measures both.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from machine import describe_machine, flat, keep_results
from rich.console import Console
from rich.table import Table
from torch import Tensor
from training_steps import BATCH, VIEWS, build_ours, build_peer, flops_in_use, make_samples, positions_in_use

UNIT_SIZE = 1024

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="steps of each that are measured")
    parser.add_argument("--micro-batch", type=int, default=2, help="samples in one forward pass of ours")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = measure_cpu(arguments.repetitions, arguments.micro_batch)
    print_results(results)
    if arguments.keep:
        path = keep_results("pretraining", {"machine": describe_machine(), **results})
        console.print(f"kept in {path}")
    if arguments.json:
        print(json.dumps(flat(results)))


def measure_cpu(repetitions: int, micro_batch: int) -> dict[str, Any]:
    """CPU seconds and peak memory of both, each in a process of its own; steps are taken in turn."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    builds: tuple[tuple[str, Callable[..., Any], int], ...] = (
        ("ours", build_ours, micro_batch),
        ("ours_tag_per_region", partial(build_ours, tag_per_region=True), micro_batch),
        ("peer", build_peer, BATCH),
    )
    for name, build, size in builds:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, build, size), daemon=True)
        process.start()
        workers[name] = (process, ours)
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for repetition in range(repetitions + 1):  # the first one warms up
        for name, (_, pipe) in workers.items():
            pipe.send("step")
            step = pipe.recv()
            console.print(f"{name}: {step['seconds']:.2f} s, {step['units_per_view']:.2f} units a view")
            if repetition:
                steps[name].append(step)
    results: dict[str, Any] = {}
    for name, (process, pipe) in workers.items():
        pipe.send("stop")
        results[name] = {
            "units_per_view": statistics.median(step["units_per_view"] for step in steps[name]),
            "lowest": min(step["units_per_view"] for step in steps[name]),
            "highest": max(step["units_per_view"] for step in steps[name]),
            "seconds_per_view": statistics.median(step["seconds"] for step in steps[name]),
            "unit_ms": statistics.median(step["unit"] for step in steps[name]) * 1e3,
            "peak_gb": pipe.recv(),
        }
        process.join()
    for name in ("ours", "ours_tag_per_region"):
        samples = make_samples(tag_per_region=name != "ours")
        limit = flops_in_use(samples) / (len(samples) * len(VIEWS)) / (2 * UNIT_SIZE**3)
        results[name] |= {
            "limit_units_per_view": limit,
            "over_limit": results[name]["units_per_view"] / limit,
            "positions_per_view": positions_in_use(samples) / (len(samples) * len(VIEWS)),
        }
    return {
        **results,
        "ratio": results["peer"]["units_per_view"] / results["ours"]["units_per_view"],
        "batch": BATCH,
        "micro_batch": micro_batch,
    }


def serve(pipe: Any, build: Callable[[int, torch.device], Callable[[], None]], size: int) -> None:
    """In a process of its own: take a step whenever asked; at the end, tell the peak memory."""
    torch.set_num_threads(1)
    step = build(size, torch.device("cpu"))
    left, right = torch.randn(UNIT_SIZE, UNIT_SIZE), torch.randn(UNIT_SIZE, UNIT_SIZE)
    while pipe.recv() == "step":
        before = unit_seconds(left, right)
        started = time.process_time()
        step()
        seconds = (time.process_time() - started) / (BATCH * len(VIEWS))
        unit = (before + unit_seconds(left, right)) / 2
        pipe.send({"seconds": seconds, "unit": unit, "units_per_view": seconds / unit})
    # In kB on Linux, in bytes on macOS.
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6))


def unit_seconds(left: Tensor, right: Tensor) -> float:
    """CPU seconds of one matrix product, the median of several."""
    times = []
    for _ in range(15):
        started = time.process_time()
        left @ right
        times.append(time.process_time() - started)
    return statistics.median(times)


# -------------------------------------------------------------------------------------------------------- output


def print_results(results: dict[str, Any]) -> None:
    table = Table("", "units a view", "lowest to highest", "ms a view", "peak GB")
    for name in ("ours", "ours_tag_per_region", "peer"):
        row = results[name]
        spread = f"{row['lowest']:.1f} to {row['highest']:.1f}"
        milliseconds = f"{row['seconds_per_view'] * 1e3:.0f}"
        table.add_row(name, f"{row['units_per_view']:.1f}", spread, milliseconds, f"{row['peak_gb']:.2f}")
    console.print(table)
    console.print(f"ratio {results['ratio']:.2f}")
    for name in ("ours", "ours_tag_per_region"):
        row = results[name]
        console.print(
            f"{name}: the matrix products of the {row['positions_per_view']:.0f} positions in use are "
            f"{row['limit_units_per_view']:.1f} units a view; it takes {row['over_limit']:.2f} times that"
        )


if __name__ == "__main__":
    main()
