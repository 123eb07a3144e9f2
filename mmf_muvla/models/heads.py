"""What stands on top of the trunk: one small head per objective."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.models.cpu import Linear, linear
from mmf_muvla.models.trunk import TrunkConfig, initialize_weights


class VocabularyHead(nn.Module):
    """BERT's masked-token head: dense, GELU, LayerNorm, then the word embeddings as the output matrix.

    For MLM on text positions and for p-MRTC on region positions.
    """

    def __init__(self, config: TrunkConfig, word_embedding: nn.Embedding):
        super().__init__()
        self.dense = linear_head(config, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = Linear(config.hidden_size, config.vocab_size)
        self.decoder.weight = word_embedding.weight
        nn.init.zeros_(self.decoder.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """float [M, hidden] -> float [M, vocabulary]."""
        return vocabulary_logits([self], [hidden])[0]


def vocabulary_logits(heads: Sequence[VocabularyHead], hidden: Sequence[Tensor]) -> list[Tensor]:
    """Logits of heads on the same word embedding, float [M_i, hidden] -> [M_i, vocabulary] for each, at once.

    So the largest matrix of the model is read once, and its gradient is made once.
    """
    transformed = [head.norm(F.gelu(head.dense(states))) for head, states in zip(heads, hidden, strict=True)]
    logits = linear(torch.cat(transformed), heads[0].decoder.weight)
    parts = logits.split([len(states) for states in hidden])
    return [part + head.decoder.bias for part, head in zip(parts, heads, strict=True)]


def linear_head(config: TrunkConfig, outputs: int) -> nn.Linear:
    """A fully connected layer, [M, hidden] -> [M, outputs], initialised as BERT's are."""
    head = Linear(config.hidden_size, outputs)
    initialize_weights(head)
    return head


class NextSentenceHead(nn.Module):
    """BERT's head that tells whether two texts belong together; here, a text and an image.

    Of its two logits the difference is returned: its sigmoid is the probability, and binary cross-entropy of it is the
    cross-entropy of both.
    """

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.seq_relationship = linear_head(config, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """float [..., hidden] -> float [..., 1]."""
        together, apart = self.seq_relationship(pooled).split(1, dim=-1)
        return together - apart


class Pooler(nn.Module):
    """One vector for a text with an image: what the matching head trains, and a task's classifier goes on with.

    ``pooling`` is ``cls``, the state of [CLS]; ``bert``, BERT's own pooler (dense, tanh) on it; or ``mean``: a layer
    (dense, GELU, LayerNorm) on the mean state of the text and that of the regions, which learns from far fewer samples.
    """

    def __init__(self, config: TrunkConfig, pooling: str):
        super().__init__()
        self.pooling = pooling
        if pooling == "bert":
            self.cls_dense = nn.Linear(config.hidden_size, config.hidden_size)
            initialize_weights(self.cls_dense)
        if pooling == "mean":
            self.dense = nn.Linear(2 * config.hidden_size, config.hidden_size)
            self.norm = nn.LayerNorm(config.hidden_size)
            initialize_weights(self.dense)

    def forward(self, text: Tensor, text_mask: Tensor, regions: Tensor, region_mask: Tensor) -> Tensor:
        """States of text, float [..., T, hidden], and regions, [..., R, hidden], with masks -> float [..., hidden]."""
        if self.pooling == "cls":
            return text[..., 0, :]
        if self.pooling == "bert":
            return torch.tanh(self.cls_dense(text[..., 0, :]))
        means = torch.cat([_masked_mean(text, text_mask), _masked_mean(regions, region_mask)], dim=-1)
        return self.norm(F.gelu(self.dense(means)))


def positions_pooled(pooling: str, text_mask: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the real positions a :class:`Pooler` looks at: bool [..., T] and [..., R], and the same back."""
    if pooling == "mean":
        return text_mask, region_mask
    first = torch.zeros_like(text_mask)
    first[..., 0] = True
    return first, torch.zeros_like(region_mask)


def _masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """[..., L, hidden], bool [..., L] -> [..., hidden]."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=-2) / weights.sum(dim=-2).clamp(min=1)


def variants_of(tensors: Collection[str]) -> dict[str, Any]:
    """The options of the heads by which a checkpoint of ``muvla`` was made, from the names of its tensors."""
    layers = {"bert": "heads.pooler.cls_dense.weight", "mean": "heads.pooler.dense.weight"}
    pooling = next((pooling for pooling, layer in layers.items() if layer in tensors), "cls")
    if any(name.startswith("heads.classifier.") for name in tensors):
        return {"classifier_pooling": pooling}
    if any(name.startswith("heads.itm.") for name in tensors):
        has_own = any(name.startswith("heads.p_mrtc.") for name in tensors)
        return {"itm_pooling": pooling, "share_vocabulary_head": not has_own}
    return {}


class ClassifierHead(nn.Module):
    """Dense, GELU, LayerNorm, dropout, linear: float [..., input_size] -> float [..., num_labels]."""

    def __init__(self, input_size: int, hidden_size: int, num_labels: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.GELU(),
            nn.LayerNorm(hidden_size),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_labels),
        )
        self.apply(initialize_weights)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.layers(pooled)
