"""Where the real positions of a padded batch are, and attention among them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


class Layout:
    """Which positions of a padded batch are real, and the way between padded and packed tensors.

    A third or more of a batch is padding. So between two attentions, hidden states travel packed, real positions only,
    row after row. ``mask`` is bool [rows, length], True at real positions, and so is ``wanted``, at those whose final
    states somebody asks for; None: all of them.
    """

    def __init__(self, mask: Tensor, wanted: Tensor | None):
        self.mask = mask
        self.index = mask.flatten().nonzero().squeeze(1)
        self.wanted = None if wanted is None else wanted.flatten()[self.index].nonzero().squeeze(1)

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
        return self.pad(states) if self.wanted is None else self._spread(states, self.index[self.wanted])

    def _spread(self, states: Tensor, index: Tensor) -> Tensor:
        padded = states.new_zeros(self.mask.numel(), states.shape[1])
        return padded.index_copy(0, index, states).view(*self.mask.shape, states.shape[1])
