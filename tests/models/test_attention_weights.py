"""The weights that are computed again are those that the kernels have used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmf_muvla.models.attention_weights import region_attention, weights_of
from mmf_muvla.models.cpu import RaggedLayout
from mmf_muvla.models.cpu.ragged import _FEW_SCORES
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.layout import Layout
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.models.two_stream import TwoStreamShape

HEADS, WIDTH, DIM = 4, 24, 5
CONFIG = TrunkConfig(
    vocab_size=50, hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=HEADS, intermediate_size=16,
    max_position_embeddings=40,
)  # fmt: skip


@pytest.mark.parametrize("kind", [Layout, RaggedLayout])
@pytest.mark.parametrize("length", [9, 50])
def test_weights_times_values_are_what_the_kernel_gives(kind: type[Layout], length: int) -> None:
    """On padded rows, and, of the longer ones on CPUs, row by row."""
    assert (HEADS * length**2 > _FEW_SCORES) == (length == 50)
    torch.manual_seed(0)
    mask = torch.arange(length) < torch.tensor([[length], [4], [length - 2]])
    layout = kind(mask, None)
    qkv = layout.pack(torch.randn(3, length, 3 * WIDTH) * 3)
    weights = weights_of(qkv, layout, HEADS)
    value = layout.pad(qkv).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)[2]
    context = (weights @ value).transpose(1, 2).flatten(2)[mask]
    torch.testing.assert_close(context, layout.attend(qkv, HEADS, 0.0)[: len(context)], rtol=0, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=-1), mask[:, None].float().expand(-1, HEADS, -1))


def rows() -> dict[str, Tensor]:
    """Three texts of 6, 4 and 3 tokens, with 2, 5 and 1 regions."""
    torch.manual_seed(1)
    corners = torch.rand(3, 5, 2) * 40
    return {
        "input_ids": torch.randint(1, 50, (3, 6)),
        "attention_mask": torch.arange(6) < torch.tensor([[6], [4], [3]]),
        "image_feature_0": torch.randn(3, 5, DIM),
        "bbox": torch.cat([corners, corners + 10], dim=2),
        "image_size": torch.tensor([[60.0, 60.0]] * 3),
        "region_mask": torch.arange(5) < torch.tensor([[2], [5], [1]]),
    }


def encoder(**options: Any) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(CONFIG, DIM, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return made.eval()


@torch.no_grad()
def test_every_layer_of_a_model_row_by_row() -> None:
    """By NumPy, from the queries, keys and values of the layers; and the contexts are those of the layers, too."""
    model, batch = encoder(), rows()
    made: list[Tensor] = []
    contexts: list[Tensor] = []
    for layer in model.trunk.layers:
        attention: Any = layer.attention  # type: ignore[union-attr]
        attention.qkv.register_forward_hook(lambda _, __, output: made.append(output))
        attention.output.register_forward_pre_hook(lambda _, given: contexts.append(given[0]))
    found = region_attention(model, batch)
    assert found.shape == (3, 3, HEADS, 6, 5) and len(made) == 3
    for layer_number, (qkv, context) in enumerate(zip(made, contexts, strict=True)):
        start = 0
        for row, (tokens, regions) in enumerate([(6, 2), (4, 5), (3, 1)]):
            part = qkv[start : start + tokens + regions].numpy().astype(np.float64)
            query, key, value = part.reshape(-1, 3, HEADS, WIDTH // HEADS).transpose(1, 2, 0, 3)
            scores = np.exp(query @ key.swapaxes(1, 2) / (WIDTH // HEADS) ** 0.5)
            weights = scores / scores.sum(axis=2, keepdims=True)
            expected = np.zeros((HEADS, 6, 5))
            expected[:, :tokens, :regions] = weights[:, :tokens, tokens:]
            np.testing.assert_allclose(found[layer_number, row].numpy(), expected, atol=1e-5)
            of_kernel = context[start : start + tokens + regions].numpy()
            np.testing.assert_allclose((weights @ value).swapaxes(0, 1).reshape(-1, WIDTH), of_kernel, atol=1e-5)
            start += tokens + regions


@torch.no_grad()
def test_with_two_streams_words_look_at_regions_in_co_attention() -> None:
    """By NumPy; and what the layers go on with is the values so weighed, where there are regions."""
    model, batch = encoder(two_streams=TwoStreamShape(region_layers=2, co_layers=2)), rows()
    batch["region_mask"][2] = False  # an image without regions
    made: list[Tensor] = []
    contexts: list[Tensor] = []
    for layer in model.trunk.co_layers:
        attention: Any = layer.text.attention  # type: ignore[union-attr]
        attention.query.register_forward_hook(lambda _, __, output: made.append(output))
        attention.key_value.register_forward_hook(lambda _, __, output: made.append(output))
        attention.output.register_forward_pre_hook(lambda _, given: contexts.append(given[0]))
    found = region_attention(model, batch)
    assert found.shape == (2, 3, HEADS, 6, 5) and len(made) == 4
    size = WIDTH // HEADS
    for number, context in enumerate(contexts):
        queries, key_values = (it.numpy().astype(np.float64) for it in made[2 * number : 2 * number + 2])
        for row, (tokens, regions) in enumerate([(slice(0, 6), slice(0, 2)), (slice(6, 10), slice(2, 7))]):
            query = queries[tokens].reshape(-1, HEADS, size).swapaxes(0, 1)
            key, value = key_values[regions].reshape(-1, 2, HEADS, size).transpose(1, 2, 0, 3)
            scores = np.exp(query @ key.swapaxes(1, 2) / size**0.5)
            weights = scores / scores.sum(axis=2, keepdims=True)
            expected = np.zeros((HEADS, 6, 5))
            expected[:, : weights.shape[1], : weights.shape[2]] = weights
            np.testing.assert_allclose(found[number, row].numpy(), expected, atol=1e-5)
            of_kernel = context[tokens].numpy()
            np.testing.assert_allclose((weights @ value).swapaxes(0, 1).reshape(-1, WIDTH), of_kernel, atol=1e-5)
    assert not found[:, 2].any()


@torch.no_grad()
@pytest.mark.parametrize("streams", [None, TwoStreamShape(region_layers=1, co_layers=1)])
def test_the_model_is_left_as_it_was(streams: TwoStreamShape | None) -> None:
    model = encoder(two_streams=streams)
    region_attention(model, rows())
    assert not any(module._forward_hooks for module in model.modules())
