"""Patches of MMF's distributed helpers, so that gloo on CPUs is known as distributed."""

from __future__ import annotations

import atexit
import builtins
import sys
from types import ModuleType
from typing import Any

from torch import distributed

from mmf_muvla.compat.registration import Function, around, patches
from mmf_muvla.compat.substitutes import MMF_BUILTINS, Overlay, cpu_for_cuda
from mmf_muvla.errors import InputError
from mmf_muvla.trainers.devices import choose_device, count_gpus

_DISTRIBUTED = "mmf.utils.distributed"


@patches(_DISTRIBUTED)
def distributed_without_nccl(module: ModuleType) -> None:
    """utils/distributed.py:17, 31, 43 (main 72, 95, 119) take "no NCCL" for "not distributed".

    Symptom: with gloo every rank believes that it is rank 0 of 1: all of them write logs and checkpoints, nothing is
    reduced, no barrier holds. Can go when MMF asks ``is_available``.
    """
    module.dist = Overlay(distributed, is_nccl_available=distributed.is_available)  # type: ignore[attr-defined]


@around("mmf.utils.configuration", "Configuration.get_config")
def device_of_this_process(get_config: Function, self: Any) -> Any:
    """mmf_cli/run.py:88 and 91 say ``device_id = 0`` in every process that MMF has not started itself, main too.

    Symptoms: under torchrun and SLURM all processes of a machine set its first GPU, and occupy memory of it, where NCCL
    refuses their first collective ("Duplicate GPU detected"); ``training.device`` counts for nothing before there is a
    trainer. Here each has its own from the start; -1, for which ``torch.cuda.set_device`` does nothing, is the CPU.
    Can go when MMF reads LOCAL_RANK and ``training.device``.
    """
    config = get_config(self)
    if config.training.device != "cuda":  # MMF would start a process for each GPU
        config.distributed.no_spawn = True
    if config.get("device_id") is not None:  # MMF has just said it, and will set it next
        index = choose_device(config).index
        config.device_id = -1 if index is None else index
    return config


@around(_DISTRIBUTED, "distributed_init")
def distributed_init_on_cpu(distributed_init: Function, config: Any) -> Any:
    """utils/distributed.py:212-237 (main 371-440).

    Symptoms: "Distributed package doesn't have NCCL built in", or "ProcessGroupNCCL is only supported with GPUs" where
    torch was built for CUDA; then "Torch not compiled with CUDA enabled", and a process group that is never left, so
    that a failing rank leaves the others waiting; ``torchrun --nproc-per-node=1`` is a ValueError. On the CPU, or
    without NCCL, the backend is gloo; one process is a group; it is left at exit. Can go when MMF does all this.
    """
    device, group = choose_device(config), config.distributed
    if group.backend == "nccl" and (device.type == "cpu" or not distributed.is_nccl_available()):
        group.backend = "gloo"
    if not distributed.is_initialized():
        atexit.register(lambda: distributed.is_initialized() and distributed.destroy_process_group())
        if group.world_size == 1:
            distributed.init_process_group(group.backend, group.init_method, world_size=1, rank=0)
            group.rank = 0
            return 0
    with cpu_for_cuda(device):
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
    wanted, present = config.distributed.world_size, count_gpus(str(config.training.device))
    if config.distributed.init_method is None and wanted > max(1, present):
        raise InputError(
            f"distributed.world_size={wanted}",
            f"this run has {present} CUDA device(s), and processes on CPUs are not started from here",
            f"Start them with torchrun --nproc-per-node={wanted} {sys.argv[0]} ..., or start each by hand with "
            "distributed.init_method=tcp://HOST:PORT distributed.rank=0, 1, ...",
        )
