"""Which devices an option names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmf_muvla.errors import InputError

if TYPE_CHECKING:
    import torch


def devices_of(name: str, option: str) -> list[torch.device]:
    """The devices that an option names, an ``InputError`` where there is none; ``auto`` is all GPUs, or the CPU."""
    import torch

    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if name == "auto" else name.split(",")
    devices = []
    try:
        for single in names or ["cpu"]:
            devices.append(torch.empty(1, device=single).device)
    except (RuntimeError, AssertionError) as error:
        problem = f"this device cannot be used ({str(error).splitlines()[0]})"
        raise InputError(f"{option}={name}", problem, "Use auto or cpu") from error
    return devices
