"""Dropout with cheap random numbers on CPUs, where PyTorch's own takes as long as a LayerNorm, three times over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LOTS = 2**16


def keep_mask(shape: Sequence[int], dropout: float) -> tuple[Tensor, float]:
    """Draw what is kept, by the generator that ``torch.manual_seed`` sets, on the CPU.

    Every number has 16 random bits of its own, four of them from one draw of the generator. So the probability is
    ``dropout`` rounded to a multiple of 2^-16, and the second value makes up for exactly that one.

    Args:
        shape: of the mask.
        dropout: probability of False.

    Returns:
        The mask, bool ``shape``, and the factor for what is kept.
    """
    dropped = round(dropout * _LOTS)
    count = math.prod(shape)
    lots = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    return (lots >= dropped - _LOTS // 2).view(*shape), _LOTS / (_LOTS - dropped)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float) -> Tensor:
        kept, factor = keep_mask(x.shape, dropout)
        ctx.save_for_backward(kept)
        ctx.factor = factor
        return (x * kept).mul_(factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradients[0] * kept).mul_(ctx.factor), None


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``; on CPUs with the random numbers of :func:`keep_mask`."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1:
            return F.dropout(input, self.p, self.training)
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(input, self.p, self.training)
        return _Dropout.apply(input, self.p)
