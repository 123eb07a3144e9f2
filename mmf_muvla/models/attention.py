"""Attention on GPUs over rows of different lengths that lie one after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_HEAD_MULTIPLE = 8  # the kernels' heads are of a multiple of so many numbers


def varlen_attention(qkv: Tensor, offsets: Tensor, longest: int, num_heads: int, dropout: float) -> Tensor:
    """Attention of each row within itself, [sum of lengths, 3 x width] -> [sum of lengths, width].

    These are the kernels of ``scaled_dot_product_attention``, called by themselves: they need no padding and no mask.
    PyTorch's public ``varlen_attn`` is one of them without dropout; with nested tensors a step takes five times as
    long.

    Args:
        qkv: queries, keys and values of all positions, rows one after the other.
        offsets: int32 [rows + 1], where each row begins, and the end of the last one.
        longest: the length of the longest row.
    """
    query, key, value = qkv.unflatten(1, (3, num_heads, -1)).unbind(1)
    size = query.shape[-1]
    if missing := -size % _HEAD_MULTIPLE:
        query, key, value = (F.pad(it, (0, missing)) for it in (query, key, value))
    if qkv.dtype in (torch.bfloat16, torch.float16):
        context = torch.ops.aten._flash_attention_forward(
            query, key, value, offsets, offsets, longest, longest, dropout, False, False, scale=size**-0.5
        )[0]
    else:
        context = _efficient_attention((query, key, value), offsets, longest, dropout, size**-0.5)
    return context[..., :size].flatten(1)


@torch.compiler.disable  # PyTorch 2.11 cannot trace its backward pass: its description has too few parameters
def _efficient_attention(
    parts: tuple[Tensor, Tensor, Tensor], offsets: Tensor, longest: int, dropout: float, scale: float
) -> Tensor:
    """For float32, which flash attention does not have."""
    one = (it.unsqueeze(0) for it in parts)
    return torch.ops.aten._efficient_attention_forward(
        *one, None, offsets, offsets, longest, longest, dropout, 0, True, scale=scale
    )[0].squeeze(0)
