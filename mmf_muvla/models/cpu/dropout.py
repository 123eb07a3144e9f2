"""Dropout with cheap random numbers on CPUs, where PyTorch's own takes three times as long as a LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_LOTS = 2**16


def keep_mask(shape: Sequence[int], dropout: float) -> tuple[Tensor, float]:
    """Draw what is kept, by the generator that ``torch.manual_seed`` sets, on the CPU.

    Every number has 16 random bits of its own, four of them from one draw of the generator. So the probability of
    False is ``dropout`` rounded to a multiple of 2^-16, and the second value, the factor for what is kept, makes up for
    exactly that one.
    """
    dropped = round(dropout * _LOTS)
    count = math.prod(shape)
    lots = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    return (lots >= dropped - _LOTS // 2).view(*shape), _LOTS / (_LOTS - dropped)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float) -> Tensor:
        kept, ctx.factor = keep_mask(x.shape, dropout)
        ctx.save_for_backward(kept)
        return (x * kept).mul_(ctx.factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradients[0] * kept).mul_(ctx.factor), None


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``; on CPUs with the random numbers of :func:`keep_mask`."""

    def forward(self, input: Tensor) -> Tensor:
        on_cpu = input.device.type == "cpu" and not torch.compiler.is_compiling()
        if on_cpu and self.training and 0 < self.p < 1:
            return _Dropout.apply(input, self.p)
        return super().forward(input)
