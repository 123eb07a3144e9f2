"""The two-stream transformer: a stream for the text and one for the regions, with co-attention between them (ViLBERT).

The text stream has BERT's layers. The region stream has fewer layers of the same shape; it runs beside the last ones of
the text. Between two layers words attend to regions and regions to words, and what each stream knows of the other comes
by this way alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.errors import InputError
from mmf_muvla.models.layout import Layout, Planner
from mmf_muvla.models.trunk import Attention, Layer, TrunkConfig, layout_for


@dataclass(frozen=True)
class TwoStreamShape:
    """Layers of the region stream, and how many of them, the last ones, are followed by co-attention."""

    region_layers: int
    co_layers: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any], text_layers: int) -> TwoStreamShape | None:
        """Read ``streams``, ``region_layers`` and ``co_layers`` of ``model_config.muvla.trunk``; None for one stream.

        Raises:
            InputError: options do not go together with the number of streams, or there are too many layers.
        """
        asked = {name: options.get(name) for name in ("region_layers", "co_layers")}
        if options.get("streams", 1) == 1:
            for name, value in asked.items():
                if value is not None:
                    where, remedy = f"model_config.muvla.trunk.{name}={value}", "Leave it null, or set trunk.streams=2"
                    raise InputError(where, "a single stream has no such layers", remedy)
            return None
        for name in ("activation_checkpointing", "compile"):
            if options.get(name):
                where = f"model_config.muvla.trunk.{name}=true"
                raise InputError(where, "not available with streams=2", "Set it to false")
        region_layers = asked["region_layers"] or max(1, text_layers // 2)
        co_layers = asked["co_layers"] or region_layers
        most = {"region_layers": (region_layers, text_layers), "co_layers": (co_layers, region_layers)}
        for name, (value, largest) in most.items():
            if value > largest:
                where = f"model_config.muvla.trunk.{name}={value}"
                remedy = f"Give a number from 1 to {largest}, or null"
                raise InputError(where, "not a possible number of layers", remedy)
        return cls(region_layers, co_layers)


class CrossAttention(Attention):
    """Multi-head attention to the other stream."""

    query: nn.Linear
    key_value: nn.Linear

    def __init__(self, config: TrunkConfig):
        super().__init__(config, query=1, key_value=2)

    def forward(
        self, hidden: Tensor, layout: Layout, other: Tensor, other_layout: Layout, chosen: Tensor | None = None
    ) -> Tensor:
        query, key_value = layout.pad(self.query(hidden)), other_layout.pad(self.key_value(other))
        context = layout.pack(self._attend(query, key_value, other_layout.mask))
        return self.add_context(hidden, context, chosen)

    def _attend(self, query: Tensor, key_value: Tensor, key_mask: Tensor) -> Tensor:
        """[rows, length, width], [rows, other length, 2 x width], [rows, other length] -> [rows, length, width]."""
        query = query.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key, value = key_value.unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # A row whose other stream is empty attends to padding, as a softmax over nothing is no number; what it gets
        # from there is thrown away.
        empty = ~key_mask.any(dim=1)[:, None, None, None]
        seen, dropout = key_mask[:, None, None, :] | empty, self.dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropout)
        return context.masked_fill(empty, 0.0).transpose(1, 2).flatten(2)  # from [rows, heads, length, width / heads]


class CoAttention(nn.Module):
    """Words look at regions while regions look at words: both at the states from before."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.text = Layer(config, CrossAttention)
        self.regions = Layer(config, CrossAttention)

    def forward(
        self, text: Tensor, text_layout: Layout, regions: Tensor, region_layout: Layout, last: bool
    ) -> tuple[Tensor, Tensor]:
        """States of both streams -> the same; behind the last attention of all, at the wanted positions alone."""
        text_chosen, regions_chosen = (text_layout.wanted, region_layout.wanted) if last else (None, None)
        return (
            self.text(text, text_layout, regions, region_layout, text_chosen),
            self.regions(regions, region_layout, text, text_layout, regions_chosen),
        )


class TwoStreamTrunk(nn.Module):
    """The two stacks of layers, in the place of :class:`~mmf_muvla.models.trunk.Trunk`."""

    def __init__(self, config: TrunkConfig, shape: TwoStreamShape):
        super().__init__()
        # The text's layers have the names that they have in a single stream: both read the same checkpoints.
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.region_layers = nn.ModuleList(Layer(config) for _ in range(shape.region_layers))
        self.co_layers = nn.ModuleList(CoAttention(config) for _ in range(shape.co_layers))

    @property
    def planner(self) -> Planner:
        """As :meth:`Trunk.planner`."""
        return Planner(layout_for(self.layers), streams=2)

    def forward(self, embedded: Tensor, layouts: tuple[Layout, ...]) -> Tensor:
        """Encode, as :meth:`Trunk.forward`; rows may have no regions at all."""
        text_layout, region_layout = layouts
        parts = embedded.split([it.mask.shape[1] for it in layouts], dim=1)
        text, regions = (it.pack(part) for it, part in zip(layouts, parts, strict=True))
        text_alone = len(self.layers) - len(self.region_layers)
        for layer in self.layers[:text_alone]:
            text = layer(text, text_layout)
        # The last layers are followed by co-attention.
        co_layers = [*[None] * (len(self.region_layers) - len(self.co_layers)), *self.co_layers]
        triples = zip(self.layers[text_alone:], self.region_layers, co_layers, strict=True)
        for text_layer, region_layer, co_layer in triples:
            text, regions = text_layer(text, text_layout), region_layer(regions, region_layout)
            if co_layer is not None:
                text, regions = co_layer(text, text_layout, regions, region_layout, co_layer is co_layers[-1])
        return torch.cat([text_layout.pad_wanted(text), region_layout.pad_wanted(regions)], dim=1)
