"""The two-stream transformer: a stream for the text and one for the regions, with co-attention between them (ViLBERT).

The text stream has BERT's layers and reads any BERT checkpoint, as the single stream does. The region stream has fewer
layers of the same shape; it runs beside the last ones of the text. Between two layers the streams look at each other:
words attend to regions and regions to words. What each of them knows of the other comes by this way alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.errors import InputError
from mmf_muvla.models.cpu import Dropout, Linear
from mmf_muvla.models.layout import Layout
from mmf_muvla.models.trunk import AttentionParts, Layer, TrunkConfig, lay_out


@dataclass(frozen=True)
class TwoStreamShape:
    """What a two-stream trunk has beside the text's layers.

    Attributes:
        region_layers: layers of the region stream.
        co_layers: how many of them, the last ones, are followed by co-attention.
    """

    region_layers: int
    co_layers: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any], text_layers: int) -> TwoStreamShape | None:
        """Read ``streams``, ``region_layers`` and ``co_layers`` of ``model_config.muvla.trunk``.

        Args:
            options: all of them, or some: those that do not go together with two streams are looked at, too.
            text_layers: layers of the text stream.

        Returns:
            The shape; None for one stream.

        Raises:
            InputError: a value is out of range, or options do not go together.
        """
        streams = options.get("streams", 1)
        if streams not in (1, 2):
            raise InputError("model_config.muvla.trunk.streams", f"unknown value {streams!r}", "Choose 1 or 2")
        asked = {name: options.get(name) for name in ("region_layers", "co_layers")}
        if streams == 1:
            for name, value in asked.items():
                if value is not None:
                    raise InputError(
                        f"model_config.muvla.trunk.{name}={value}",
                        "a single stream has no such layers",
                        "Leave it null, or set trunk.streams=2",
                    )
            return None
        for name in ("activation_checkpointing", "compile"):
            if options.get(name):
                raise InputError(
                    f"model_config.muvla.trunk.{name}=true", "not available with streams=2", "Set it to false"
                )
        region_layers = _count("region_layers", asked["region_layers"], max(1, text_layers // 2), text_layers)
        return cls(region_layers, _count("co_layers", asked["co_layers"], region_layers, region_layers))


def _count(option: str, value: Any, default: int, largest: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int) or not 1 <= value <= largest:
        raise InputError(
            f"model_config.muvla.trunk.{option}={value}",
            "not a possible number of layers",
            f"Give a number from 1 to {largest}, or null for {default}",
        )
    return value


class CrossAttention(nn.Module):
    """Multi-head attention to the other stream, with BERT's residual connection and post-LayerNorm."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = Linear(config.hidden_size, config.hidden_size)
        self.key_value = Linear(config.hidden_size, 2 * config.hidden_size)
        self.output = Linear(config.hidden_size, config.hidden_size)
        self.output_dropout = Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, hidden: Tensor, layout: Layout, other: Tensor, other_layout: Layout, chosen: Tensor | None = None
    ) -> Tensor:
        """[real positions, width] -> the same; or, with ``chosen``, the states at these positions alone."""
        query, key_value = layout.pad(self.query(hidden)), other_layout.pad(self.key_value(other))
        context = layout.pack(self._attend(query, key_value, other_layout.mask))
        if chosen is not None:
            context, hidden = context.index_select(0, chosen), hidden.index_select(0, chosen)
        return self.norm(hidden + self.output_dropout(self.output(context)))

    def _attend(self, query: Tensor, key_value: Tensor, key_mask: Tensor) -> Tensor:
        """[rows, length, width], [rows, other length, 2 x width], [rows, other length] -> [rows, length, width]."""
        query = query.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key, value = key_value.unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # A row whose other stream is empty attends to padding, as a softmax over nothing is no number; what it gets
        # from there is thrown away.
        empty = ~key_mask.any(dim=1)[:, None, None, None]
        dropout = self.dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=key_mask[:, None, None, :] | empty, dropout_p=dropout
        )
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
    """The two stacks of layers, in the place of :class:`~mmf_muvla.models.trunk.Trunk`.

    Args:
        config: the shape of the text stream, and of every layer.
        shape: the rest.
    """

    def __init__(self, config: TrunkConfig, shape: TwoStreamShape):
        super().__init__()
        # The text's layers have the names that they have in a single stream: both read the same checkpoints.
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.region_layers = nn.ModuleList(Layer(config) for _ in range(shape.region_layers))
        self.co_layers = nn.ModuleList(CoAttention(config) for _ in range(shape.co_layers))

    def first_attentions(self) -> list[AttentionParts]:
        """As :meth:`Trunk.first_attentions`: the first co-attention, both ways."""
        found = []
        first: Any = self.co_layers[0]
        for way in (first.text.attention, first.regions.attention):
            key, value = zip(way.key_value.weight.chunk(2), way.key_value.bias.chunk(2), strict=True)
            query = (way.query.weight, way.query.bias)
            found.append(AttentionParts(query, key, value, way.output.weight))
        return found

    def forward(
        self, embedded: Tensor, attention_mask: Tensor, wanted: Tensor | None = None, *, text_length: int
    ) -> Tensor:
        """Encode.

        Args:
            embedded: float [rows, length, hidden], text and behind it regions.
            attention_mask: bool [rows, length], True at real positions; rows may have no regions at all.
            wanted: bool [rows, length], real positions whose states are needed; None: all.
            text_length: how many of the positions are the text's.

        Returns:
            float [rows, length, hidden], zero at padding and where not wanted.
        """
        sizes = [text_length, embedded.shape[1] - text_length]
        masks = attention_mask.split(sizes, dim=1)
        wanted_parts = (None, None) if wanted is None else wanted.split(sizes, dim=1)
        on_cpu = embedded.device.type == "cpu"
        text_layout, region_layout = (lay_out(m, w, on_cpu) for m, w in zip(masks, wanted_parts, strict=True))
        text, regions = (
            layout.pack(part)
            for layout, part in zip((text_layout, region_layout), embedded.split(sizes, dim=1), strict=True)
        )
        text_alone = len(self.layers) - len(self.region_layers)
        without_co = len(self.region_layers) - len(self.co_layers)
        for layer in self.layers[:text_alone]:
            text = layer(text, text_layout)
        for number, (text_layer, region_layer) in enumerate(
            zip(self.layers[text_alone:], self.region_layers, strict=True)
        ):
            text, regions = text_layer(text, text_layout), region_layer(regions, region_layout)
            if number >= without_co:
                last = number == len(self.region_layers) - 1
                co_layer = self.co_layers[number - without_co]
                text, regions = co_layer(text, text_layout, regions, region_layout, last)
        return torch.cat([text_layout.pad_wanted(text), region_layout.pad_wanted(regions)], dim=1)
