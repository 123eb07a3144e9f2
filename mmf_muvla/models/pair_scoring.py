"""Scores of many pairs out of few images and few texts, as retrieval asks for them.

What does not depend on the pair is done once for every image and text: they are embedded, and in one stream queries,
keys and values of the lowest layer are made. Pairs of one length pass the trunk together, so that nothing is padded.
Where [CLS] alone is looked at, the highest layer attends from there alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mmf_muvla.models.embeddings import region_location
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.heads import Pooler
from mmf_muvla.models.layout import DenseLayout
from mmf_muvla.models.trunk import SelfAttention, Trunk
from mmf_muvla.regions.regions import Regions

Numbers = NDArray[np.int64]
_EMBEDDED_TOGETHER = 64  # texts or images
_ROWS_MULTIPLE = 32  # matrices of a multiple of so many rows are multiplied faster on CPUs


@dataclass(frozen=True)
class Embedded:
    """Embedded texts or images. ``states``, float [sum of lengths, hidden], are those of all positions, one text or
    image after the other; number i has ``lengths[i]`` of them, from ``starts[i]`` on."""

    states: Tensor
    starts: Numbers
    lengths: Numbers

    def __len__(self) -> int:
        return len(self.lengths)


class PairScorer:
    """The logits of a matching head for pairs of images and texts.

    Args:
        encoder: in evaluation mode, on any device.
        pooler, itm: what a pre-training calls ``heads.pooler`` and ``heads.itm``; retrieval's heads have both, too.
    """

    def __init__(self, encoder: Encoder, pooler: Pooler, itm: nn.Module):
        self.encoder, self.pooler, self.itm = encoder, pooler, itm
        self.device = next(encoder.parameters()).device

    @torch.no_grad()
    def embed_texts(self, texts: Iterable[Numbers]) -> Embedded:
        """Embed texts, each int [T], with [CLS] first and [SEP] last."""

        def embed(part: Sequence[Numbers]) -> Tensor:
            ids = pad_sequence([torch.from_numpy(text) for text in part], batch_first=True)
            return self.encoder.embeddings.embed_text(ids.to(self.device))

        return _embedded(texts, embed)

    @torch.no_grad()
    def embed_images(self, images: Iterable[Regions]) -> Embedded:
        """Embed the regions of images, of which only some are in memory at a time."""
        embeddings = self.encoder.embeddings

        def embed(part: Sequence[Regions]) -> Tensor:
            features, boxes = (
                pad_sequence([torch.from_numpy(getattr(image, name)) for image in part], batch_first=True)
                for name in ("image_feature_0", "bbox")
            )
            sizes = torch.tensor([(image.width, image.height) for image in part], dtype=torch.float32)
            location = region_location(boxes.to(self.device), sizes.to(self.device))
            features = features.to(self.device, embeddings.feature.weight.dtype)
            return embeddings.embed_regions(embeddings.project_features(features), location)

        return _embedded(images, embed)

    @torch.no_grad()
    def score(self, images: Embedded, texts: Embedded, pairs: Numbers, rows: int = 64) -> NDArray[np.float32]:
        """The logits of pairs, numbers of an image and of a text each, int [n, 2] -> float32 [n].

        A pass takes about as many positions as ``rows`` pairs of the longest image and text have.
        """
        found = np.empty(len(pairs), np.float32)
        if not len(pairs):
            return found
        trunk = self.encoder.trunk
        lengths = np.stack([texts.lengths[pairs[:, 1]], images.lengths[pairs[:, 0]]])
        positions = rows * int(lengths.max(axis=1).sum())
        through: Callable[[Numbers], tuple[Tensor, ...]]
        if isinstance(trunk, Trunk):
            through = _OneStream(trunk, self.pooler, texts, images)
            lengths = lengths.sum(axis=0, keepdims=True)
        else:
            through = _TwoStreams(trunk, texts, images)
        for part in _of_one_length(lengths, positions):
            pooled = self.pooler(*through(pairs[part]))
            found[part] = self.itm(pooled).squeeze(-1).float().cpu().numpy()
        return found


class _Places:
    """Where the positions of pairs are among the states of all texts and, behind them, of all images."""

    def __init__(self, texts: Embedded, images: Embedded):
        self.texts, self.images = texts, images
        self.states = torch.cat([texts.states, images.states])

    def index(self, pairs: Numbers) -> tuple[Tensor, Tensor, Tensor]:
        """For pairs of one length, int [n, 2]: int [n, L], on the states' device; and what is text and what is region,
        bool [n, L] each."""
        images, texts = pairs.T
        of_text = self.texts.lengths[texts, None]
        places = np.arange(of_text[0, 0] + self.images.lengths[images[0]])
        is_text = places < of_text
        of_image = self.images.starts[images, None] + len(self.texts.states) - of_text
        index = np.where(is_text, self.texts.starts[texts, None], of_image) + places
        found = (torch.from_numpy(it).to(self.states.device) for it in (index, is_text, ~is_text))
        return tuple(found)  # type: ignore[return-value]


class _OneStream(_Places):
    """Pairs -> what a :class:`Pooler` looks at: states and masks of text and regions, [n, L, hidden] and [n, L]."""

    def __init__(self, trunk: Trunk, pooler: Pooler, texts: Embedded, images: Embedded):
        super().__init__(texts, images)
        layers = cast(Any, trunk.layers)
        # Where [CLS] alone is looked at, the last layer attends from there alone.
        self.layers = layers if pooler.pooling == "mean" else layers[:-1]
        self.last: Any = None if pooler.pooling == "mean" else layers[-1]
        self.qkv = [layer.attention.qkv(self.states) for layer in self.layers[:1]]  # [positions, 3 x width]

    def __call__(self, pairs: Numbers) -> tuple[Tensor, ...]:
        index, is_text, is_region = self.index(pairs)
        layout = DenseLayout(len(index), index.shape[1])
        hidden = self.states.index_select(0, index.flatten())
        for layer, qkv in zip(self.layers, self.qkv, strict=False):  # the first, if there is one
            context = layout.attend(qkv.index_select(0, index.flatten()), layer.attention.num_heads, 0.0)
            hidden = layer.transform(layer.attention.add_context(hidden, context, None))
        for layer in self.layers[1:]:
            hidden = layer(hidden, layout)
        hidden = hidden.view(*index.shape, -1)
        if self.last is None:
            return hidden, is_text, hidden, is_region
        of_cls = self.last.transform(attend_from_first(self.last.attention, hidden)).unsqueeze(1)
        return of_cls, is_text[:, :1], of_cls, is_region[:, :1]


class _TwoStreams(_Places):
    def __init__(self, trunk: nn.Module, texts: Embedded, images: Embedded):
        super().__init__(texts, images)
        self.trunk: Any = trunk

    def __call__(self, pairs: Numbers) -> tuple[Tensor, ...]:
        index, is_text, _ = self.index(pairs)
        rows, length = len(index), int(self.texts.lengths[pairs[0, 1]])
        mask = torch.ones(index.shape, dtype=torch.bool)
        layouts = self.trunk.planner.lay_out(mask, None, length)
        embedded = self.states.index_select(0, index.flatten()).view(rows, -1, self.states.shape[1])
        hidden = self.trunk(embedded, tuple(layout.to(index.device) for layout in layouts))
        return hidden[:, :length], is_text[:, :length], hidden[:, length:], ~is_text[:, length:]


def attend_from_first(attention: SelfAttention, hidden: Tensor) -> Tensor:
    """An attention's output at the first position of each row, float [n, L, hidden] -> [n, hidden].

    Keys and values of the other positions are not made: ``q · (W_k x + b_k)`` is ``(W_k^T q) · x``, and a number that
    is the same for all positions; and the weights of ``W_v x + b_v`` sum to 1.
    """
    heads, first = attention.num_heads, hidden[:, 0]
    query_weight, key_weight, value_weight = attention.qkv.weight.chunk(3)
    query_bias, _, value_bias = attention.qkv.bias.chunk(3)
    query = F.linear(first, query_weight, query_bias).unflatten(1, (heads, -1))  # [n, heads, head size]
    asked = torch.einsum("nhd,hdw->nhw", query, key_weight.unflatten(0, (heads, -1)))
    weights = torch.softmax(asked @ hidden.transpose(1, 2) * query.shape[-1] ** -0.5, dim=-1)  # [n, heads, L]
    seen = weights @ hidden  # [n, heads, hidden]
    context = torch.einsum("nhw,hdw->nhd", seen, value_weight.unflatten(0, (heads, -1))).flatten(1) + value_bias
    return attention.add_context(first, context, None)


def _embedded(items: Iterable[Any], embed: Callable[[Any], Tensor]) -> Embedded:
    states, lengths = [], []
    remaining = iter(items)
    while part := list(islice(remaining, _EMBEDDED_TOGETHER)):
        counts = [len(it) for it in part]
        embedded = embed(part)
        states += [row[:count] for row, count in zip(embedded, counts, strict=True)]
        lengths += counts
    return Embedded(torch.cat(states), np.cumsum([0, *lengths[:-1]]), np.array(lengths))


def _of_one_length(lengths: Numbers, positions: int) -> Iterator[Numbers]:
    """Numbers of pairs of the same lengths, int [m] at a time with about so many positions; the longest first.

    ``lengths``, int [kinds, n], are what has to be the same.
    """
    order = np.lexsort(-lengths[::-1])
    ordered = lengths[:, order]
    ends = np.flatnonzero((ordered[:, 1:] != ordered[:, :-1]).any(axis=0)) + 1
    for same in np.split(order, ends):
        size = max(1, positions // int(lengths[:, same[0]].sum()))
        size = max(size // _ROWS_MULTIPLE * _ROWS_MULTIPLE, min(size, _ROWS_MULTIPLE))
        yield from (same[start : start + size] for start in range(0, len(same), size))
