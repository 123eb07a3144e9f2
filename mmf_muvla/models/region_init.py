"""An optional start for small corpora: regions begin where the words of their tags are, and are looked at from there.

The paper projects region features with a random matrix and leaves it to hundreds of thousands of updates to bring
regions and words together; only then does matching begin to be learned. A short run takes a ridge regression instead,
from the features of a corpus's regions to the word embeddings of their detected tags.

Nothing in a BERT's lowest layer makes words and regions that lie at the same place look at each other. So one head can
start as one in which like attends to like on the other side, and which passes on what it found there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmf_muvla.models.embeddings import REGION_SEGMENT, TEXT_SEGMENT, MultimodalEmbeddings, check_feature_dim
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.trunk import AttentionParts
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus

_SEGMENT_LENGTH = 1.6  # of what sets regions apart from words, relative to a word embedding
_OTHER_SIDE_SCORE = 4.0  # added to the attention score of a word and a region, taken from that of two of a kind
_CONTENT_GAIN, _FOUND_GAIN = 0.5, 1.0  # of what the head passes on, relative to the states that it is added to


def start_regions(encoder: Encoder, options: Mapping[str, Any], pretrained: str) -> float:
    """Start regions, and with a ``sharpness`` the attention to them, in place; the result is the regression's R².

    ``options`` are ``model_config.muvla.region_init``; the vocabulary is that of the BERT checkpoint ``pretrained``.
    """
    embeddings, corpus, words = encoder.embeddings, Corpus(options["corpus"]), WordPieces(pretrained)
    check_feature_dim(options["corpus"], corpus.feature_dim, embeddings.feature.in_features)
    explained = start_regions_at_their_words(embeddings, corpus, words, options["max_regions"], options["ridge"])
    if options.get("sharpness"):
        class_words = class_word_embeddings(embeddings, corpus, words)
        set_regions_apart(embeddings, class_words)
        attentions, head_size = encoder.trunk.first_attentions(), encoder.config.head_size
        start_a_head_at_likeness(attentions, head_size, embeddings, class_words, float(options["sharpness"]))
    return explained


@torch.no_grad()
def start_regions_at_their_words(
    embeddings: MultimodalEmbeddings, corpus: Corpus, words: WordPieces, max_regions: int, ridge: float
) -> float:
    """Fit the feature projection, in place, to the word embeddings of the regions' classes.

    What a regression explains of its targets comes out too small by the share that it does not explain. That is
    undone: on average a region lies as far out in the direction of its word as the word does. The penalty ``ridge`` is
    relative to the variance of the (normalised) features. The result is R², the share of variance explained.
    """
    class_words = class_word_embeddings(embeddings, corpus, words).double()
    features, classes = _some_regions(corpus, max_regions)
    inputs = embeddings.feature_norm(features).double()
    targets = class_words[classes]
    input_mean, target_mean = inputs.mean(dim=0), targets.mean(dim=0)
    inputs, targets = inputs - input_mean, targets - target_mean
    penalty = ridge * inputs.var() * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)  # [feature_dim, hidden]
    fitted = inputs @ weight
    shrinkage = (fitted * targets).sum() / targets.square().sum()
    weight = weight / shrinkage
    embeddings.feature.weight.copy_(weight.T)
    embeddings.feature.bias.copy_(target_mean - input_mean @ weight)
    return 1 - float((targets - fitted).square().sum() / targets.square().sum())


@torch.no_grad()
def set_regions_apart(embeddings: MultimodalEmbeddings, class_words: Tensor) -> None:
    """Give regions a segment embedding that tells them from words, in the direction in which class words differ least.

    BERT's second segment means a second sentence, and small checkpoints hardly know it from the first.
    """
    direction = torch.linalg.svd(class_words, full_matrices=True).Vh[-1]
    length = _SEGMENT_LENGTH * class_words.norm(dim=1).mean()
    embeddings.segment.weight[REGION_SEGMENT] = embeddings.segment.weight[TEXT_SEGMENT] + length * direction


@torch.no_grad()
def start_a_head_at_likeness(
    attentions: Sequence[AttentionParts],
    head_size: int,
    embeddings: MultimodalEmbeddings,
    class_words: Tensor,
    sharpness: float,
) -> None:
    """Let the first head look for like on the other side, words among regions and regions among words.

    Its queries and keys are one projection onto the directions in which class words differ; one more number says
    whether something is a word or a region, and brings unlike sides together. Where there is no like, a word rather
    looks at itself. The head passes on what it looks at, and on which side that is.

    Args:
        attentions: of heads of ``head_size``; changed in place.
        embeddings: gives words and regions their place at the layer's input.
        class_words: see :func:`class_word_embeddings`.
        sharpness: mean attention score (before softmax) of a class word to itself; to another one it is about 0.
    """
    size = min(head_size - 1, len(class_words) - 1)  # n words differ in n - 1 directions
    directions = torch.linalg.svd(class_words - class_words.mean(dim=0), full_matrices=False).Vh[:size]
    # Positions of words differ from text to text; their mean stands for them.
    position, segment = embeddings.position.weight.mean(dim=0), embeddings.segment.weight
    texts = embeddings.norm(class_words + position + segment[TEXT_SEGMENT])
    regions = embeddings.norm(class_words + embeddings.location.bias + segment[REGION_SEGMENT])
    mean = texts.mean(dim=0)
    length = ((texts - mean) @ directions.T).square().sum(dim=1).mean()
    projection = directions * (sharpness * head_size**0.5 / length).sqrt()  # [size, hidden]

    to_regions = regions.mean(dim=0) - mean
    # -1 at words, +1 at regions
    side = 2 * to_regions / to_regions.square().sum()
    side_bias = -(side @ (mean + to_regions / 2))
    side_score = (_OTHER_SIDE_SCORE * head_size**0.5) ** 0.5
    state_length = texts.norm(dim=1).mean()

    for attention in attentions:
        for (weight, bias), sign in ((attention.query, 1.0), (attention.key, -1.0)):
            weight[:head_size], bias[:head_size] = 0.0, 0.0
            weight[:size], bias[:size] = projection, -projection @ mean
            weight[size], bias[size] = sign * side_score * side, sign * side_score * side_bias
        weight, bias = attention.value
        weight[:size], bias[:size] = directions, -directions @ mean
        weight[size], bias[size] = side, side_bias
        attention.output[:, :size] = _CONTENT_GAIN * directions.T
        attention.output[:, size] = _FOUND_GAIN * state_length * to_regions / to_regions.norm()


def class_word_embeddings(embeddings: MultimodalEmbeddings, corpus: Corpus, words: WordPieces) -> Tensor:
    """The mean word embedding of every detector class's name, float [classes, hidden]."""
    return torch.stack(
        [embeddings.word.weight[torch.from_numpy(words.tag(name))].mean(dim=0) for name in corpus.object_names]
    )


def _some_regions(corpus: Corpus, max_regions: int) -> tuple[Tensor, Tensor]:
    """Features [m, d] and classes [m] of at most so many regions."""
    average = max(1, corpus.regions.num_regions // max(1, len(corpus)))
    step = max(1, len(corpus) * average // max_regions)
    some = [corpus[image].regions for image in range(0, len(corpus), step)]
    features = np.concatenate([it.image_feature_0 for it in some])[:max_regions]
    classes = np.concatenate([it.class_id for it in some])[:max_regions]
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(classes.astype(np.int64))
