"""An optional start for small corpora: regions begin where the words of their tags are.

The paper projects region features with a random matrix and leaves it to hundreds of thousands of updates to bring
regions and words together; only then does matching begin to be learned. A short run has not so much time. This
solves a ridge regression instead, from the features of a corpus's regions to the word embeddings of their detected
tags, and takes it as the projection's first value. It uses what the pre-training uses anyway, tags and nothing else.

Words and regions that mean the same then lie at the same place, but nothing in a BERT's lowest layer makes them look at
each other. So one head of it can be started as one in which like attends to like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmf_muvla.corpus.store import Corpus
from mmf_muvla.datasets.tokens import WordPieces
from mmf_muvla.models.embeddings import MultimodalEmbeddings


@torch.no_grad()
def start_regions_at_their_words(
    embeddings: MultimodalEmbeddings, corpus: Corpus, words: WordPieces, max_regions: int, ridge: float
) -> float:
    """Fit the feature projection to the word embeddings of the regions' classes.

    Args:
        embeddings: changed in place: weight and bias of its feature projection.
        corpus: where regions and tags are taken from.
        words: BERT's tokenizer.
        max_regions: regions to fit on, from images spread evenly over the corpus.
        ridge: strength of the penalty, relative to the variance of the (normalised) features.

    Returns:
        The share of the word embeddings' variance that the fitted projection explains (R²).
    """
    class_words = class_word_embeddings(embeddings, corpus, words).double()
    features, classes = _some_regions(corpus, max_regions)
    inputs = embeddings.feature_norm(features).double()
    targets = class_words[classes]
    input_mean, target_mean = inputs.mean(dim=0), targets.mean(dim=0)
    inputs, targets = inputs - input_mean, targets - target_mean
    penalty = ridge * inputs.var() * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)  # [feature_dim, hidden]
    embeddings.feature.weight.copy_(weight.T)
    embeddings.feature.bias.copy_(target_mean - input_mean @ weight)
    return 1 - float((targets - inputs @ weight).square().sum() / targets.square().sum())


@torch.no_grad()
def start_a_head_at_likeness(
    projections: Sequence[tuple[Tensor, Tensor]],
    head_size: int,
    embeddings: MultimodalEmbeddings,
    class_words: Tensor,
    sharpness: float,
) -> None:
    """Make queries and keys of the first head the same projection, onto the directions in which class words differ.

    Args:
        projections: weight [hidden, hidden] and bias [hidden] of queries and of keys; changed in place.
        head_size: numbers of a head.
        embeddings: gives the words their place at the layer's input.
        class_words: mean word embedding of each class, [classes, hidden].
        sharpness: mean attention score (before softmax) of a class word to itself; to another one it is about 0.
    """
    size = min(head_size, len(class_words) - 1)  # n words differ in n - 1 directions
    directions = torch.linalg.svd(class_words - class_words.mean(dim=0), full_matrices=False).Vh[:size]
    # Positions of words differ from text to text; their mean stands for them.
    inputs = embeddings.norm(class_words + embeddings.position.weight.mean(dim=0) + embeddings.segment.weight[0])
    mean = inputs.mean(dim=0)
    length = ((inputs - mean) @ directions.T).square().sum(dim=1).mean()
    projection = directions * (sharpness * head_size**0.5 / length).sqrt()  # [size, hidden]
    for weight, bias in projections:
        weight[:head_size], bias[:head_size] = 0.0, 0.0
        weight[:size], bias[:size] = projection, -projection @ mean


def class_word_embeddings(embeddings: MultimodalEmbeddings, corpus: Corpus, words: WordPieces) -> Tensor:
    """The mean word embedding of every detector class's name, float [classes, hidden]."""
    return torch.stack(
        [embeddings.word.weight[torch.from_numpy(words.tag(name))].mean(dim=0) for name in corpus.object_names]
    )


def _some_regions(corpus: Corpus, max_regions: int) -> tuple[Tensor, Tensor]:
    """Features [m, d] and classes [m] of at most so many regions."""
    features: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    count = 0
    average = max(1, corpus.regions.num_regions // max(1, len(corpus)))
    step = max(1, len(corpus) * average // max_regions)
    for image in range(0, len(corpus), step):
        regions = corpus[image].regions
        features.append(regions.image_feature_0)
        classes.append(regions.class_id)
        count += len(regions)
        if count >= max_regions:
            break
    return (
        torch.from_numpy(np.concatenate(features)[:max_regions].astype(np.float32)),
        torch.from_numpy(np.concatenate(classes)[:max_regions].astype(np.int64)),
    )
