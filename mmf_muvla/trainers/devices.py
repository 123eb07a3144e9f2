"""What a device is good at."""

from __future__ import annotations

import torch


def multiplies_faster_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 matrices: GPUs since Ampere, CPUs with AVX512-BF16 or AMX.

    Elsewhere bf16 is emulated, and slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch has no public name for these; where they are missing, float32 is right too.
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test is not None and test() for test in tests)
