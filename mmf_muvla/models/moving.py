"""Objects with tensors that go to a device together, as ``torch.Tensor.to`` and ``pin_memory`` do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

_Moves = TypeVar("_Moves", bound="Moves")


class Moves:
    """An object whose tensors move together, those of its lists, tuples and dictionaries too."""

    def to(self: _Moves, device: torch.device, non_blocking: bool = False) -> _Moves:
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: _Moves) -> _Moves:
        return self._with(torch.Tensor.pin_memory)

    def _with(self: _Moves, change: Callable[[Tensor], Tensor]) -> _Moves:
        changed = copy.copy(self)
        for name, value in vars(self).items():
            setattr(changed, name, _changed(value, change))
        return changed


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Moves):
        return value._with(change)
    if isinstance(value, dict):
        return {name: _changed(part, change) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_changed(part, change) for part in value)
    return value
