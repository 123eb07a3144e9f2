"""How fast a training step is on a GPU, what it is made of, and what its options cost.

All at BERT-base's size, with 36 regions and 12 words on average, in eight batches of different lengths in rotation, as
they come in training: kernels that are made or chosen anew for every shape show. Batches are in the host's memory,
pinned, and go to the GPU within the step. Times are medians of several rotations, between events of the device, after a
warm-up of two rotations.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpu_profile import busy_share, kernel_table, read_trace
from machine import describe_machine
from omegaconf import OmegaConf
from training_steps import BERT_BASE, Learner, flops_in_use, peer_steps, sample_batches

from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.trainers.devices import take_device

WORDS = 12
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    batch: int = 120
    batches: int = 8
    rotations: int = 5
    product: int = 8192
    config: TrunkConfig = BERT_BASE


TINY = Scale(
    4, 2, 2, 128, TrunkConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=1, intermediate_size=96)
)


@dataclass(frozen=True)
class Variant:
    """A way to train."""

    batch: int
    precision: str = "bf16"
    compiled: bool = False
    checkpointing: bool = False
    deterministic: bool = False


def variants(scale: Scale) -> dict[str, Variant]:
    """What is compared with what the project does by itself, ``ours``; slow ones last."""
    ours = Variant(scale.batch)
    return {
        "ours": ours,
        **{f"batch_{size}": replace(ours, batch=size) for size in (2 * scale.batch, 4 * scale.batch)},
        "checkpointing": replace(ours, checkpointing=True),
        "fp16": replace(ours, precision="fp16"),
        "ours_again": ours,
        "fp32": replace(ours, precision="fp32"),
    }


def speed(device: torch.device, scale: Scale) -> Iterator[dict[str, Any]]:
    """Ours beside the authors' formulation, and beside the rate of a matrix product on the same card."""
    rate = product_rate(device, scale)
    yield {"step": "speed.product", "size": scale.product, "tflops": rate / 1e12}
    ours = measure_variant(Variant(scale.batch), device, scale)
    yield {"step": "speed.ours", **ours, "share_of_product_rate": ours["tflops"] * 1e12 / rate}
    samples = list(sample_batches(2, scale.batch, WORDS))  # padded to the same lengths, whatever the samples
    step = peer_steps(samples, device, precision_on(device, "bf16"), scale.config)
    peer: dict[str, Any] = {**measure(step, len(samples), scale.rotations, device)}
    peer["samples_per_s"] = scale.batch / peer["ms"] * 1e3
    peer["synchronisations"] = synchronisations(step, device)
    yield {"step": "speed.peer", "batch": scale.batch, **peer}
    yield {
        "step": "speed",
        "card": describe_machine()["gpu"],
        "batch": scale.batch,
        "samples_per_s": ours["samples_per_s"],
        "ms": ours["ms"],
        "peak_gb": ours["peak_gb"],
        "times_the_peer": peer["ms"] / ours["ms"],
        "product_tflops": rate / 1e12,
        "product_tflops_after": product_rate(device, scale) / 1e12,
        "share_of_product_rate": ours["tflops"] * 1e12 / rate,
    }


def compare_variants(device: torch.device, scale: Scale) -> Iterator[dict[str, Any]]:
    """A line for each variant; one that cannot be run says why, and the next is measured."""
    for name, variant in variants(scale).items():
        result: dict[str, Any]
        try:
            result = measure_variant(variant, device, scale)
        except RuntimeError as error:  # out of memory, too
            result = {"ok": False, "error": f"{type(error).__name__}: {error}"[:1000]}
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        yield {"step": f"variants.{name}", **asdict(variant), **result}


def one_variant(name: str, device: torch.device, scale: Scale) -> Iterator[dict[str, Any]]:
    """Variants that leave their traces in a process."""
    variant = Variant(scale.batch, compiled=name == "compiled", deterministic=name == "deterministic")
    yield {"step": name, **asdict(variant), **measure_variant(variant, device, scale)}


def measure_variant(variant: Variant, device: torch.device, scale: Scale) -> dict[str, Any]:
    """Speed, share of the product's work, memory, and synchronisations of a step."""
    step, flops = steps_of(variant, device, scale)
    result = measure(step, scale.batches, scale.rotations, device)
    seconds = result["ms"] / 1e3
    result |= {"samples_per_s": variant.batch / seconds, "tflops": flops / seconds / 1e12}
    return {**result, "synchronisations": synchronisations(step, device)}


def steps_of(variant: Variant, device: torch.device, scale: Scale) -> tuple[Callable[[], None], float]:
    """A function that takes a step with the next batch, and the operations of a step, on average."""
    if variant.deterministic:
        training = {"device": device.type, "deterministic": True}
        take_device(OmegaConf.create({"training": training, "distributed": {"backend": "nccl"}}))
    learner = Learner(
        device, precision_on(device, variant.precision), scale.config, variant.checkpointing, variant.compiled
    )
    batches, flops = [], []
    for samples in sample_batches(scale.batches, variant.batch, WORDS):
        flops.append(flops_in_use(samples, scale.config))
        batches.append(learner.batch_of(samples))
    return learner.steps(batches), statistics.mean(flops)


def precision_on(device: torch.device, name: str) -> torch.dtype | None:
    """What products are in; a CPU, on which this script is only tried, may emulate 16 bits, a hundred times as slow."""
    return PRECISIONS[name] if device.type == "cuda" else None


# ------------------------------------------------------------------------------------------------------ measuring


def measure(step: Callable[[], Any], batches: int, rotations: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of a step (median, lowest and highest of the rotations) and the peak of memory, after a warm-up."""
    started = time.perf_counter()
    for _ in range(2 * batches):
        step()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    warm_up = time.perf_counter() - started
    marks = [mark(device)]
    for _ in range(rotations):
        for _ in range(batches):
            step()
        marks.append(mark(device))
    if on_gpu:
        torch.cuda.synchronize(device)
    times = [milliseconds(*pair) / batches for pair in itertools.pairwise(marks)]
    return {
        "ms": statistics.median(times),
        "lowest_ms": min(times),
        "highest_ms": max(times),
        "warm_up_s": warm_up,
        "peak_gb": torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else 0.0,
    }


def mark(device: torch.device) -> Any:
    """A point in the time of the device."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds(first: Any, second: Any) -> float:
    return (second - first) * 1e3 if isinstance(first, float) else first.elapsed_time(second)


def product_rate(device: torch.device, scale: Scale) -> float:
    """Floating-point operations a second of a product of square bf16 matrices of random numbers."""
    shape = (scale.product, scale.product)
    left, right = (torch.randn(shape, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    times = measure(lambda: torch.mm(left, right, out=out), 4, 2 * scale.rotations, device)
    return 2 * scale.product**3 / (times["ms"] / 1e3)


def synchronisations(step: Callable[[], None], device: torch.device) -> dict[str, Any]:
    """How often a step makes the host wait for the GPU, and from which lines; on a CPU never."""
    if device.type != "cuda":
        return {"count": 0, "places": {}}
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        step()
        torch.cuda.set_sync_debug_mode("default")
    waits = [it for it in caught if "called a synchronizing" in str(it.message)]
    places = Counter(f"{Path(it.filename).name}:{it.lineno}" for it in waits)
    return {"count": len(waits), "places": dict(places.most_common(10))}


# ------------------------------------------------------------------------------------------------------ profiling


def profile(device: torch.device, scale: Scale, out: Path, compiled: bool = False) -> Iterator[dict[str, Any]]:
    """What the GPU does in a step, and when it does nothing; the table of kernels goes to ``NAME.txt``."""
    name = "profile_compiled" if compiled else "profile"
    step, _ = steps_of(Variant(scale.batch, compiled=compiled), device, scale)
    for _ in range(2 * scale.batches):
        step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.synchronize(device)
    count = min(4, scale.batches)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(count):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = read_trace(trace, on_gpu=device.type == "cuda")
    table = kernel_table(events, count)
    (out / f"{name}.txt").write_text(f"{count} steps of batch {scale.batch}\n\n{table.text}\n", encoding="utf-8")
    yield {
        "step": name,
        "steps": count,
        "kernels_per_step": len(events) / count,
        **busy_share(events, count),
        "top": table.rows[:25],
    }
