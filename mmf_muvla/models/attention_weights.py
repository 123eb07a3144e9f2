"""How much each position looks at each other one, by layer and head.

The kernels that the trunk attends with keep no weights, so they are computed again, from the queries and keys that the
layers themselves have made on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.errors import InputError
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
    query, key, _ = layout.pad(qkv).float().unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(~layout.mask[:, None, None, :], -torch.inf).softmax(dim=-1)
    return weights.masked_fill(~layout.mask[:, None, :, None], 0.0)


def region_attention(encoder: Encoder, batch: Mapping[str, Any], name: str) -> Tensor:
    """How much the tokens of each text look at each region of its image: float32 [layers, N, heads, T, R].

    What is missing to 1 goes to the text, [CLS] and [SEP].

    Args:
        encoder: in evaluation mode.
        batch: rows of a task, see :func:`~mmf_muvla.datasets.collate.collate_texts`.
        name: what errors call the model.

    Raises:
        InputError: the encoder has two streams.
    """
    trunk = encoder.trunk
    if not isinstance(trunk, Trunk):
        problem = "has two streams: words look at regions in co-attention alone, whose weights are not given"
        raise InputError(name, problem, "Load a model with trunk.streams=1")
    inputs = TaskHeads.inputs(batch)
    layouts = trunk.planner.lay_out_rows(inputs["attention_mask"], inputs["region_mask"], None)
    length = batch["input_ids"].shape[1]
    found: list[Tensor] = []

    def keep(num_heads: int) -> Any:
        def hook(module: nn.Module, inputs: Any, qkv: Tensor) -> None:
            found.append(weights_of(qkv, layouts[0], num_heads)[:, :, :length, length:])

        return hook

    attentions: list[Any] = [layer.attention for layer in trunk.layers]
    handles = [it.qkv.register_forward_hook(keep(it.num_heads)) for it in attentions]
    try:
        encoder(**inputs, layouts=layouts)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)
