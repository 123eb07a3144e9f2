"""Runs functions of MMF that call ``.cuda()`` unconditionally on machines without CUDA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def without_cuda(function: Callable[..., Result]) -> Callable[..., Result]:
    """Wrap ``function`` so that ``tensor.cuda()`` inside it returns the tensor itself where there is no CUDA.

    Tensors outside the call are not affected: ``.cuda()`` keeps raising for everybody else.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class StayOnCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0] if func is torch.Tensor.cuda else func(*args, **(kwargs or {}))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Result:
        if torch.cuda.is_available():
            return function(*args, **kwargs)
        with StayOnCpu():
            return function(*args, **kwargs)

    return call
