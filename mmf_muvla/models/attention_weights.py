"""How much each position looks at each other one, by layer and head.

The kernels that the trunk attends with keep no weights, so they are computed again, from the queries and keys that the
layers themselves have made on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.layout import Layout
from mmf_muvla.models.tasks import TaskHeads
from mmf_muvla.models.trunk import Trunk


def weights_of(qkv: Tensor, layout: Layout, num_heads: int) -> Tensor:
    """What :meth:`Layout.attend` weighs values with, without dropout: float32 [rows, heads, length, length], from each
    query to all keys. Zero from and to padding.

    Args:
        qkv: queries, keys and values of the packed positions, [positions, 3 x width].
        layout: where they are; with a mask.
    """
    query, key, _ = layout.pad(qkv).chunk(3, dim=2)
    return _weights(query, key, layout, layout, num_heads)


def region_attention(encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
    """How much the tokens of each text look at each region of its image: float32 [layers, N, heads, T, R].

    With one stream, what is missing to 1 goes to the text, [CLS] and [SEP]. With two, the layers are those of
    co-attention, by which alone words look at regions, and at nothing else.

    Args:
        encoder: in evaluation mode.
        batch: rows of a task, see :func:`~mmf_muvla.datasets.collate.collate_texts`.
    """
    inputs = TaskHeads.inputs(batch)
    layouts = encoder.trunk.planner.lay_out_rows(inputs["attention_mask"], inputs["region_mask"], None)
    watch = _watch_single_stream if isinstance(encoder.trunk, Trunk) else _watch_two_streams
    found: list[Tensor] = []
    handles = watch(encoder.trunk, layouts, batch["input_ids"].shape[1], found)
    try:
        encoder(**inputs, layouts=layouts)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)


def _watch_single_stream(trunk: Any, layouts: tuple[Layout, ...], length: int, found: list[Tensor]) -> list[Any]:
    """Let each layer add its weights to ``found`` when the encoder runs."""

    def keep(num_heads: int) -> Any:
        def hook(module: nn.Module, inputs: Any, qkv: Tensor) -> None:
            found.append(weights_of(qkv, layouts[0], num_heads)[:, :, :length, length:])

        return hook

    attentions = [layer.attention for layer in trunk.layers]
    return [it.qkv.register_forward_hook(keep(it.num_heads)) for it in attentions]


def _watch_two_streams(trunk: Any, layouts: tuple[Layout, ...], length: int, found: list[Tensor]) -> list[Any]:
    """As :func:`_watch_single_stream`, of the co-attention from words to regions."""
    text, regions = layouts

    def keep(num_heads: int) -> tuple[Any, Any]:
        made: list[Tensor] = []

        def of_query(module: nn.Module, inputs: Any, query: Tensor) -> None:
            made.append(query)

        def of_key_value(module: nn.Module, inputs: Any, key_value: Tensor) -> None:
            key, _ = regions.pad(key_value).chunk(2, dim=2)
            found.append(_weights(text.pad(made.pop()), key, text, regions, num_heads))

        return of_query, of_key_value

    handles = []
    for attention in (layer.text.attention for layer in trunk.co_layers):
        of_query, of_key_value = keep(attention.num_heads)
        handles.append(attention.query.register_forward_hook(of_query))
        handles.append(attention.key_value.register_forward_hook(of_key_value))
    return handles


def _weights(query: Tensor, key: Tensor, queries: Layout, keys: Layout, num_heads: int) -> Tensor:
    """[rows, length, width], [rows, other length, width] -> float32 [rows, heads, length, other length]."""
    query, key = (it.float().unflatten(2, (num_heads, -1)).transpose(1, 2) for it in (query, key))
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(~keys.mask[:, None, None, :], -torch.inf).softmax(dim=-1)
    # a row without any key has no softmax
    absent = ~queries.mask[:, None, :, None] | ~keys.mask.any(dim=1)[:, None, None, None]
    return weights.masked_fill(absent, 0.0)
