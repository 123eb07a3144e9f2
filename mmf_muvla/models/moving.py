"""Objects with tensors that go to a device together, as ``torch.Tensor.to`` and ``pin_memory`` do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

_Moves = TypeVar("_Moves", bound="Moves")


class Moves:
    """An object whose tensors move together, also those of its lists, tuples, dictionaries and objects of this kind.

    They move as one buffer for each type of number, since a copy of a small tensor to a GPU takes the host as long as
    that of a large one; behind it they are views of the buffers.
    """

    _buffers: dict[torch.dtype, Tensor] | None = None

    def to(self: _Moves, device: torch.device, non_blocking: bool = False) -> _Moves:
        if all(tensor.device == device for tensor in (self._buffers or {}).values() or _tensors(self)):
            return self
        return self._with(lambda buffer: buffer.to(device, non_blocking=non_blocking))

    def pin_memory(self: _Moves) -> _Moves:
        return self._with(torch.Tensor.pin_memory)

    def _with(self: _Moves, change: Callable[[Tensor], Tensor]) -> _Moves:
        buffers = self._buffers
        if buffers is None:
            parts: dict[torch.dtype, list[Tensor]] = {}
            for tensor in _tensors(self):
                parts.setdefault(tensor.dtype, []).append(tensor.flatten())
            buffers = {dtype: torch.cat(tensors) for dtype, tensors in parts.items()}
        buffers = {dtype: change(buffer) for dtype, buffer in buffers.items()}
        taken = dict.fromkeys(buffers, 0)

        def view(tensor: Tensor) -> Tensor:
            start = taken[tensor.dtype]
            taken[tensor.dtype] += tensor.numel()
            return buffers[tensor.dtype][start : taken[tensor.dtype]].view(tensor.shape)

        moved: _Moves = _replaced(self, view)
        moved._buffers = buffers
        return moved


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _replaced(value, keep)
    return found


def _replaced(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with other tensors, always in the same order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Moves):
        replaced = copy.copy(value)
        parts = {name: part for name, part in vars(value).items() if name != "_buffers"}
        vars(replaced).update(_replaced(parts, change))
        return replaced
    if isinstance(value, dict):
        return {name: _replaced(part, change) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_replaced(part, change) for part in value)
    return value
