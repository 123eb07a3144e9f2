"""Where the real positions of a padded batch are, and attention among them.

Layouts are a part of plans, which are made where batches are, by the loader's processes on the CPU, and then move to
the device. A GPU could be asked how many positions there are, too, but the host would have to wait for each answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.models.attention import varlen_attention
from mmf_muvla.models.moving import Moves


class Layout(Moves):
    """Which positions of a padded batch are real, and the way between padded and packed tensors.

    A third or more of a batch is padding. So between two attentions, hidden states travel packed, real positions only,
    row after row. ``mask`` is bool [rows, length], True at real positions, and so is ``wanted``, at those whose final
    states somebody asks for; None: all of them.
    """

    def __init__(self, mask: Tensor, wanted: Tensor | None):
        self.mask = mask
        self.index = mask.flatten().nonzero().squeeze(1)
        self.wanted = None if wanted is None else wanted.flatten()[self.index].nonzero().squeeze(1)
        self.wanted_index = self.index if self.wanted is None else self.index[self.wanted]

    def attend(self, qkv: Tensor, num_heads: int, dropout: float) -> Tensor:
        """Attention of each row within itself, [real positions, 3 x width] -> [real positions, width]."""
        query, key, value = self.pad(qkv).unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)
        key_mask = self.mask[:, None, None, :]  # broadcast over heads and queries
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)
        return self.pack(context.transpose(1, 2).flatten(2))  # from [rows, heads, length, width / heads]

    def pack(self, padded: Tensor) -> Tensor:
        """[rows, length, width] -> [real positions, width]."""
        return padded.flatten(0, 1).index_select(0, self.index)

    def pad(self, packed: Tensor) -> Tensor:
        """[real positions, width] -> [rows, length, width], zero at padding."""
        return self._spread(packed, self.index)

    def pad_wanted(self, states: Tensor) -> Tensor:
        """[wanted positions, width] -> [rows, length, width], zero elsewhere."""
        return self.pad(states) if self.wanted is None else self._spread(states, self.wanted_index)

    def _spread(self, states: Tensor, index: Tensor) -> Tensor:
        padded = states.new_zeros(self.mask.numel(), states.shape[1])
        return padded.index_copy(0, index, states).view(*self.mask.shape, states.shape[1])


class VarlenLayout(Layout):
    """For GPUs: attention among rows of different lengths as they lie in the packed tensor."""

    def __init__(self, mask: Tensor, wanted: Tensor | None):
        super().__init__(mask, wanted)
        lengths = mask.sum(dim=1)
        self.offsets = F.pad(lengths.cumsum(0), (1, 0)).int()  # int32 [rows + 1]
        self.longest = int(lengths.max())

    def attend(self, qkv: Tensor, num_heads: int, dropout: float) -> Tensor:
        return varlen_attention(qkv, self.offsets, self.longest, num_heads, dropout)


class DenseLayout(Layout):
    """Rows of one length, without padding."""

    def __init__(self, rows: int, length: int):
        self.rows, self.length = rows, length

    def attend(self, qkv: Tensor, num_heads: int, dropout: float) -> Tensor:
        query, key, value = qkv.view(self.rows, self.length, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return context.transpose(1, 2).reshape(len(qkv), -1)

    def pack(self, padded: Tensor) -> Tensor:
        return padded.flatten(0, 1)

    def pad(self, packed: Tensor) -> Tensor:
        return packed.view(self.rows, self.length, -1)


@dataclass
class Plan(Moves):
    """What a step has to know of a batch that depends on its content."""

    layouts: tuple[Layout, ...]  # one for each stream


@dataclass(frozen=True)
class Planner:
    """Makes the plans of batches. It knows of a model what that takes, and can be sent to other processes."""

    layout: type[Layout]
    streams: int

    def __call__(self, batch: Mapping[str, Any]) -> Plan:
        """The plan of a batch, whose device it is on."""
        raise NotImplementedError

    def lay_out(self, attention_mask: Tensor, wanted: Tensor | None, text_length: int) -> tuple[Layout, ...]:
        """The layouts of text and regions behind it, bool [rows, length] each; two streams have one each."""
        if self.streams == 1:
            return (self.layout(attention_mask, wanted),)
        sizes = [text_length, attention_mask.shape[1] - text_length]
        wanted_parts = (None, None) if wanted is None else wanted.split(sizes, dim=1)
        masks = attention_mask.split(sizes, dim=1)
        return tuple(self.layout(*parts) for parts in zip(masks, wanted_parts, strict=True))

    def lay_out_rows(
        self,
        attention_mask: Tensor,
        region_mask: Tensor,
        wanted: tuple[Tensor, Tensor] | None,
        sees_regions: Tensor | None = None,
    ) -> tuple[Layout, ...]:
        """The layouts of V rows of text with each of B images, see :meth:`Encoder.forward` for the masks."""
        visible = region_mask.unsqueeze(1).expand(-1, attention_mask.shape[1], -1)
        if sees_regions is not None:
            visible = visible & sees_regions.unsqueeze(2)
        mask = torch.cat([attention_mask, visible], dim=2).flatten(0, 1)
        wanted_rows = None if wanted is None else torch.cat(wanted, dim=2).flatten(0, 1) & mask
        return self.lay_out(mask, wanted_rows, attention_mask.shape[2])
