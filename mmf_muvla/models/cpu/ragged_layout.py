"""A layout that takes each row as it is, where one kernel for all padded rows is worth nothing: on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.models.cpu.linear import ROWS_TOGETHER
from mmf_muvla.models.cpu.ragged_attention import ragged_attention
from mmf_muvla.models.layout import Layout


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
            return ragged_attention(
                qkv.to(torch.promote_types(qkv.dtype, torch.float32)), self.lengths, num_heads, dropout
            )

    def pack(self, padded: Tensor) -> Tensor:
        return padded.flatten(0, 1).index_select(0, self.packed_index)

    def pad(self, packed: Tensor) -> Tensor:
        return super().pad(packed[: len(self.index)])
