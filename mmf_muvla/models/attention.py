"""Attention on GPUs over rows of different lengths that lie one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_HEAD_MULTIPLE = 8  # the kernels' heads are of a multiple of so many numbers


def varlen_attention(qkv: Tensor, offsets: Tensor, longest: int, num_heads: int, dropout: float) -> Tensor:
    """Attention of each row within itself, [sum of lengths, 3 x width] -> [sum of lengths, width].

    Args:
        qkv: queries, keys and values of all positions, rows one after the other.
        offsets: int32 [rows + 1], where each row begins, and the end of the last one.
        longest: the length of the longest row.
    """
    return KERNELS[CHOSEN](qkv, offsets, longest, num_heads, dropout)


def _direct(qkv: Tensor, offsets: Tensor, longest: int, num_heads: int, dropout: float) -> Tensor:
    """The kernels by themselves: PyTorch's public ``varlen_attn`` has no dropout."""
    query, key, value = qkv.unflatten(1, (3, num_heads, -1)).unbind(1)
    size = query.shape[-1]
    if missing := -size % _HEAD_MULTIPLE:
        query, key, value = (F.pad(it, (0, missing)) for it in (query, key, value))
    if qkv.dtype in (torch.bfloat16, torch.float16):
        context = torch.ops.aten._flash_attention_forward(
            query, key, value, offsets, offsets, longest, longest, dropout, False, False, scale=size**-0.5
        )[0]
    else:
        context = _efficient_kernel((query, key, value), offsets, longest, dropout, size**-0.5)
    return context[..., :size].flatten(1)


@torch.compiler.disable  # PyTorch 2.11 cannot trace its backward pass: its description has too few parameters
def _efficient_kernel(
    parts: tuple[Tensor, Tensor, Tensor], offsets: Tensor, longest: int, dropout: float, scale: float
) -> Tensor:
    one = (it.unsqueeze(0) for it in parts)
    return torch.ops.aten._efficient_attention_forward(
        *one, None, offsets, offsets, longest, longest, dropout, 0, True, scale=scale
    )[0].squeeze(0)


def _efficient(qkv: Tensor, offsets: Tensor, longest: int, num_heads: int, dropout: float) -> Tensor:
    query, key, value = qkv.unflatten(1, (3, num_heads, -1)).unbind(1)
    return _efficient_kernel((query, key, value), offsets, longest, dropout, query.shape[-1] ** -0.5).flatten(1)


def _padded(qkv: Tensor, offsets: Tensor, longest: int, num_heads: int, dropout: float) -> Tensor:
    """With a mask, in a padded tensor."""
    lengths = offsets.diff()
    mask = torch.arange(longest, device=qkv.device) < lengths.unsqueeze(1)
    position = torch.arange(len(qkv), device=qkv.device)
    row = torch.searchsorted(offsets, position, right=True) - 1
    place = row * longest + position - offsets[row]
    padded = qkv.new_zeros(mask.numel(), qkv.shape[1]).index_copy(0, place, qkv).view(*mask.shape, -1)
    query, key, value = padded.unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :], dropout_p=dropout)
    return context.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, place)


KERNELS: dict[str, Callable[..., Tensor]] = {"direct": _direct, "efficient": _efficient, "padded": _padded}
CHOSEN = "direct"
