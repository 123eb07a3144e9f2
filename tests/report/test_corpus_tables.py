from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report import corpus_tables
from mmf_muvla.report.corpus_tables import Distribution, measure_tables
from tests.small_corpus import K


class TestDistribution:
    def test_whole_numbers(self) -> None:
        distribution = Distribution()
        distribution.add(np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]))
        summary = distribution.summary()
        assert summary["count"] == 10 and summary["mean"] == 5.5
        assert summary["deciles"] == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert summary["histogram"] == {"start": 1, "width": 1, "counts": [1] * 10}

    def test_parts_add_up_to_the_whole(self) -> None:
        values = np.random.default_rng(0).normal(size=1000)
        whole, parts = Distribution(0.001), Distribution(0.001)
        whole.add(values)
        for part in np.array_split(values, 7):
            parts.add(part)
        assert parts.summary() == whole.summary()

    def test_deciles_are_right_to_within_a_step(self) -> None:
        values = np.random.default_rng(0).uniform(-1, 1, size=5000)
        distribution = Distribution(0.001)
        distribution.add(values)
        expected = np.quantile(values, np.arange(11) / 10, method="inverted_cdf")
        assert np.abs(np.array(distribution.summary()["deciles"]) - expected).max() <= 0.0005 + 1e-9

    def test_bins_are_few_and_hold_everything(self) -> None:
        distribution = Distribution(0.001)
        distribution.add(np.array([-0.25, 0.0, 0.1, 1.0]))
        histogram = distribution.summary(max_bins=20)["histogram"]
        assert histogram["width"] == 0.1 and histogram["start"] == -0.3
        assert histogram["counts"] == [1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]

    def test_nothing(self) -> None:
        distribution = Distribution()
        distribution.add(np.zeros(0))
        assert distribution.summary() == {"count": 0, "mean": None, "deciles": None, "histogram": None}


class TestTables:
    def test_links_counted_by_hand(self) -> None:
        # Image 0: two regions, sentence 0 links both to phrase 1, sentence 1 none. Image 1: one region, linked in both.
        phrases = np.array([1, 1, -1, -1, 0, 2], np.int16)
        assert corpus_tables._count_links(phrases, np.array([2, 1]), 2) == {
            "pairs": 6,
            "linked_pairs": 4,
            "regions": 3,
            "linked_regions": 3,
            "linked_phrases": 3,
        }
        # Image 0: three regions, sentences link only the middle one. Image 1 has no regions.
        phrases = np.array([-1, 0, -1, -1, 5, -1], np.int16)
        counts = corpus_tables._count_links(phrases, np.array([3, 0]), 2)
        assert (counts["linked_pairs"], counts["linked_regions"], counts["linked_phrases"]) == (2, 1, 2)

    def test_same_as_image_by_image(self, corpus: Corpus) -> None:
        measured = measure_tables(corpus)
        pairs = linked = regions = linked_regions = phrases = linked_phrases = 0
        similarities: list[float] = []
        uses: Counter[int] = Counter()
        for number in range(len(corpus)):
            item = corpus[number]
            is_linked = item.link_phrase >= 0
            pairs, linked = pairs + is_linked.size, linked + is_linked.sum()
            regions, linked_regions = regions + len(item.regions), linked_regions + is_linked.any(axis=0).sum()
            similarities += item.link_similarity[is_linked].tolist()
            uses.update(item.sentence_ids.tolist())
            for rank, sentence_id in enumerate(item.sentence_ids):
                phrases += len(corpus.sentence(sentence_id).phrases)
                linked_phrases += len(set(item.link_phrase[rank].tolist()) - {-1})
        links = measured["links"]
        assert links["of_pairs"] == pytest.approx(linked / pairs, abs=1e-6)
        assert links["of_regions"] == pytest.approx(linked_regions / regions, abs=1e-6)
        assert links["of_phrases"] == pytest.approx(linked_phrases / phrases, abs=1e-6)
        assert links["similarity"]["count"] == linked
        assert links["similarity"]["mean"] == pytest.approx(np.mean(similarities), abs=1e-4)
        assert measured["regions_per_image"]["mean"] == pytest.approx(regions / len(corpus), abs=1e-4)
        used = measured["sentences"]
        assert used["used"] == len(uses) and used["retrievals"] == len(corpus) * K
        assert used["used_once"] == sum(count == 1 for count in uses.values())
        assert [row["uses"] for row in used["most_used"]] == sorted(uses.values(), reverse=True)[:20]
        for row in used["most_used"]:
            assert uses[int(row["sentence"].rsplit(" ", 1)[1])] == row["uses"]
        shares = np.array(list(uses.values())) / uses.total()
        assert used["as_many_as"] == round(math.exp(-(shares * np.log(shares)).sum()))
        top = sum(sorted(uses.values(), reverse=True)[: math.ceil(len(uses) / 10)])
        assert used["max_uses"] == max(uses.values()) and used["share_of_top_100"] == 1
        many = np.array([*uses.values(), *[0] * (corpus.num_sentences - len(uses))])
        assert used["skewness"] == pytest.approx(((many - many.mean()) ** 3).mean() / many.std() ** 3, abs=0.01)
        assert used["share_of_top_10_percent"] == pytest.approx(top / uses.total(), abs=1e-6)

    def test_scores_by_rank(self, corpus: Corpus) -> None:
        scores = np.array([corpus[number].scores for number in range(len(corpus))])
        measured = measure_tables(corpus)["scores"]
        assert [rank["mean"] for rank in measured] == pytest.approx(scores.mean(axis=0).tolist(), abs=1e-4)
        assert [rank["count"] for rank in measured] == [len(corpus)] * K

    def test_words_and_phrases_of_sentences(self, corpus: Corpus) -> None:
        sentences = measure_tables(corpus)["sentences"]
        assert sentences["words"]["deciles"] == [7] * 11  # Somebody saw a … on day …
        assert sentences["phrases"]["histogram"] == {"start": 1, "width": 1, "counts": [corpus.num_sentences]}
        assert sentences["pool"] is None and sentences["of_pool"] is None  # the corpus does not say
