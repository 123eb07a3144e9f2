"""Attention over rows of different lengths that lie one after the other, for float32 on CPUs.

PyTorch's attention wants rows of one length; with dropout on a CPU it also keeps several copies of queries, keys and
probabilities for the gradients. This one takes each row as it lies in the packed tensor, copies nothing, and computes
the probabilities again for the gradients: on short rows (words and regions, not documents) that costs next to nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.models.cpu.dropout import keep_mask
from mmf_muvla.models.cpu.linear import ROWS_TOGETHER
from mmf_muvla.models.layout import Layout

# Rows whose attention has no more scores than these are computed together, padded: a row alone takes 0.3 ms of calls,
# two to three times as long as 4 heads over 25 positions. At 12 heads over 60 positions padding takes twice as long.
_FEW_SCORES = 8192


class RaggedLayout(Layout):
    """Nothing is padded but the end of the batch, to a multiple of ROWS_TOGETHER positions.

    The filling is a last row of copies, which nobody looks at and so no gradient comes from.
    """

    def __init__(self, mask: Tensor, wanted: Tensor | None):
        super().__init__(mask, wanted)
        filling = -len(self.index) % ROWS_TOGETHER
        self.lengths: list[int] = [*mask.sum(dim=1).tolist(), filling]
        self.packed_index = F.pad(self.index, (0, filling))

    def attend(self, qkv: Tensor, num_heads: int, dropout: float) -> Tensor:
        # Under autocast, too, it works in float32: PyTorch's own attention in bf16 takes a third of a step on CPUs.
        with torch.autocast("cpu", enabled=False):
            qkv = qkv.to(torch.promote_types(qkv.dtype, torch.float32))
            if num_heads * self.mask.shape[1] ** 2 <= _FEW_SCORES:
                return super().attend(qkv, num_heads, dropout)
            return ragged_attention(qkv, self.lengths, num_heads, dropout)

    def pack(self, padded: Tensor) -> Tensor:
        return padded.flatten(0, 1).index_select(0, self.packed_index)

    def pad(self, packed: Tensor) -> Tensor:
        return super().pad(packed[: len(self.index)])


def ragged_attention(qkv: Tensor, lengths: list[int], num_heads: int, dropout: float) -> Tensor:
    """Attention of each row within itself, float32 [sum of lengths, 3 x width] -> [sum of lengths, width].

    ``qkv`` has queries, keys and values of all positions, rows one after the other; rows may be empty.
    """
    return _RaggedAttention.apply(qkv, [length for length in lengths if length], num_heads, dropout)


class _RaggedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, lengths: list[int], num_heads: int, dropout: float) -> Tensor:
        context = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        kept_of_row: list[Tensor] = []
        factor = 1.0
        for part, result in zip(qkv.split(lengths), context.split(lengths), strict=True):
            query, key, value = _heads(part, 3, num_heads)
            weights = _probabilities(query, key)
            if dropout:
                kept, factor = keep_mask(weights.shape, dropout)
                kept_of_row.append(kept)
                weights = weights.mul_(kept).mul_(factor)
            torch.bmm(weights, value, out=_heads(result, 1, num_heads)[0])
        ctx.save_for_backward(qkv, *kept_of_row)
        ctx.lengths, ctx.num_heads, ctx.factor = lengths, num_heads, factor
        return context

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        qkv, *kept_of_row = ctx.saved_tensors
        result = torch.empty_like(qkv)
        rows = zip(*(tensor.split(ctx.lengths) for tensor in (qkv, gradients[0], result)), strict=True)
        for number, (part, gradient, part_result) in enumerate(rows):
            query, key, value = _heads(part, 3, ctx.num_heads)
            of_query, of_key, of_value = _heads(part_result, 3, ctx.num_heads)
            (of_context,) = _heads(gradient, 1, ctx.num_heads)
            weights = _probabilities(query, key)
            of_weights = torch.bmm(of_context, value.transpose(1, 2))
            if kept_of_row:
                scaled = kept_of_row[number] * ctx.factor
                torch.bmm((weights * scaled).transpose(1, 2), of_context, out=of_value)
                of_weights.mul_(scaled)
            else:
                torch.bmm(weights.transpose(1, 2), of_context, out=of_value)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_scores.mul_(query.shape[-1] ** -0.5)
            torch.bmm(of_scores, key, out=of_query)
            torch.bmm(of_scores.transpose(1, 2), query, out=of_key)
        return result, None, None, None


def _heads(packed: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """[length, parts x width] -> for each part a view [heads, length, width / heads]."""
    return packed.view(len(packed), parts, num_heads, -1).permute(1, 2, 0, 3).unbind(0)


def _probabilities(query: Tensor, key: Tensor) -> Tensor:
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(query.shape[-1] ** -0.5)
    return torch.softmax(scores, dim=-1, out=scores)
