"""Patches of MMF's distributed helpers, so that gloo on CPUs is known as distributed."""

from __future__ import annotations

import atexit
import builtins
import sys
from types import ModuleType
from typing import Any

import torch
from torch import distributed

from mmf_muvla.compat.registration import Function, around, patches
from mmf_muvla.compat.substitutes import MMF_BUILTINS, Overlay, cpu_for_cuda
from mmf_muvla.errors import InputError

_DISTRIBUTED = "mmf.utils.distributed"


@patches(_DISTRIBUTED)
def distributed_without_nccl(module: ModuleType) -> None:
    """utils/distributed.py:17, 31, 43 (main 72, 95, 119) take "no NCCL" for "not distributed".

    Symptom: with gloo every rank believes that it is rank 0 of 1: all of them write logs and checkpoints, nothing is
    reduced, no barrier holds. Can go when MMF asks ``is_available``.
    """
    module.dist = Overlay(distributed, is_nccl_available=distributed.is_available)  # type: ignore[attr-defined]


@around(_DISTRIBUTED, "distributed_init")
def distributed_init_on_cpu(distributed_init: Function, config: Any) -> Any:
    """utils/distributed.py:220-237 (main 386).

    Symptoms: "Distributed package doesn't have NCCL built in", or "ProcessGroupNCCL is only supported with GPUs" where
    torch was built for CUDA; then "Torch not compiled with CUDA enabled", and a process group that is never left, so
    that a failing rank leaves the others waiting. Without a GPU or without NCCL the backend is gloo, and the group is
    left at exit. Can go when MMF does both.
    """
    has_nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    if config.distributed.backend == "nccl" and not has_nccl:
        config.distributed.backend = "gloo"
    if not distributed.is_initialized():
        atexit.register(lambda: distributed.is_initialized() and distributed.destroy_process_group())
    with cpu_for_cuda():
        rank = distributed_init(config)
    # MMF has replaced the builtin print on all ranks but the first; its modules hold their own builtins.
    MMF_BUILTINS["print"] = builtins.print
    return rank


@around(_DISTRIBUTED, "infer_init_method")
def world_size_without_address(infer_init_method: Function, config: Any) -> None:
    """mmf_cli/run.py:99 asserts ``world_size <= device_count`` without a word, main too.

    Symptom: a bare AssertionError for ``distributed.world_size=2`` on a machine with fewer GPUs. This names the ways
    to start such a run. Can go when MMF starts CPU processes itself.
    """
    infer_init_method(config)
    wanted, present = config.distributed.world_size, torch.cuda.device_count()
    if config.distributed.init_method is None and wanted > max(1, present):
        raise InputError(
            f"distributed.world_size={wanted}",
            f"this machine has {present} CUDA device(s), and processes on CPUs are not started from here",
            f"Start them with torchrun --nproc-per-node={wanted} {sys.argv[0]} ..., or start each by hand with "
            "distributed.init_method=tcp://HOST:PORT distributed.rank=0, 1, ...",
        )
