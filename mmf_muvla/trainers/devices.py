"""Which device a run uses, what it is good at, and how its memory is kept small."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any

import torch

from mmf_muvla.errors import InputError
from mmf_muvla.terminal import log_message

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_CUBLAS, _CUBLAS_CONFIGS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


def choose_device(config: Any) -> torch.device:
    """What ``training.device`` names, and of several GPUs that of this process; the CPU where there is no GPU.

    Raises:
        InputError: there is no such GPU, or several processes would have one, which NCCL does not do.
    """
    name = str(config.training.device)
    if not name.startswith("cuda") or not torch.cuda.is_available():
        return torch.device("cpu")
    present, (_, _, named) = torch.cuda.device_count(), name.partition(":")
    if named:
        if int(named) >= present:
            raise InputError(f"training.device={name}", f"this process sees {present} GPU(s)", "Give a smaller number")
        return torch.device(name)
    number = _number_on_this_machine(config)
    if number >= present and config.distributed.backend == "nccl":
        raise InputError(
            f"process {number} of this machine",
            f"has no GPU of its own, of {present}, and NCCL gives none to two processes",
            f"Start {present}, or share by distributed.backend=gloo",
        )
    return torch.device("cuda", number % present)


def take_device(config: Any) -> torch.device:
    """The device of this process, ready for it, with ``training.deterministic`` for sums of GPUs in a fixed order.

    Raises:
        InputError: there is none to take, or the environment has cuBLAS work in a way that PyTorch refuses to then.
    """
    device = choose_device(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if config.training.get("deterministic"):
            _fix_order_of_sums()
    return device


def _fix_order_of_sums() -> None:
    chosen = os.environ.setdefault(_CUBLAS, _CUBLAS_CONFIGS[0])  # read at the first product of matrices, still to come
    if chosen not in _CUBLAS_CONFIGS:
        problem = f"with the environment variable {_CUBLAS}={chosen}, products of matrices are not"
        raise InputError("training.deterministic=true", problem, f"Unset it, or set it to {_CUBLAS_CONFIGS[0]}")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # Otherwise every new tensor would be filled first, in case that somebody reads it before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def count_gpus(device: str) -> int:
    """How many GPUs of this machine a run has by its ``training.device``: ``cuda`` means all, ``cuda:1`` that one."""
    present = torch.cuda.device_count() if device.startswith("cuda") else 0
    return min(present, 1) if ":" in device else present


def _number_on_this_machine(config: Any) -> int:
    """The number of this process, by whoever has started it: MMF itself, torchrun or SLURM, for which MMF says 0."""
    started_by_others = config.distributed.get("no_spawn")
    for variable in ("LOCAL_RANK", "SLURM_LOCALID") if started_by_others else ():
        if variable in os.environ:
            return int(os.environ[variable])
    return int(config.get("device_id") or 0)


def choose_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """What ``training.precision`` has matrices multiplied in on a device; ``None`` for float32.

    Raises:
        InputError: the device has none of it.
    """
    if precision == "auto":
        precision = "bf16" if multiplies_faster_in_bf16(device) else "fp32"
        log_message(f"training.precision=auto: {precision}")
    if precision == "fp16" and device.type != "cuda":
        raise InputError("training.precision=fp16", f"not available on {device.type}", "Choose bf16 or fp32")
    if precision == "bf16" and not multiplies_faster_in_bf16(device):
        kind = "GPU" if device.type == "cuda" else "processor"
        log_message(
            f"training.precision=bf16: this {kind} has no instructions for it and emulates it, which can take "
            "a hundred times as long as fp32. training.precision=auto takes bf16 only where it is faster",
            "warning",
        )
    return PRECISIONS[precision]


def multiplies_faster_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 matrices: GPUs since Ampere, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch has no public name for these; if they are missing, float32 is right too.
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test is not None and test() for test in tests)


def give_free_memory_back() -> None:
    """Make glibc return what is free on its heap to the system; with another C library, nothing happens.

    Tensors whose sizes differ from batch to batch leave holes that the next ones do not fit into. Now and then is
    enough; returning every block at once costs a third of a small model's speed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
