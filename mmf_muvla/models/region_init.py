"""An optional start for small corpora: regions begin where the words of their tags are.

The paper projects region features with a random matrix and leaves it to hundreds of thousands of updates to bring
regions and words together; only then does matching begin to be learned. A short run has not so much time. This
solves a ridge regression instead, from the features of a corpus's regions to the word embeddings of their detected
tags, and takes it as the projection's first value. It uses what the pre-training uses anyway, tags and nothing else.
"""

from __future__ import annotations

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
    class_words = torch.stack(
        [embeddings.word.weight[torch.from_numpy(words.tag(name))].mean(dim=0) for name in corpus.object_names]
    ).double()
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
