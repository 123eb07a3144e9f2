from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.corpus_sample import measure_mentions, measure_tags, mentions, sample_images
from tests.small_corpus import K


class TestTags:
    def test_same_as_image_by_image(self, corpus: Corpus) -> None:
        images = [3, 5, 8, 13]
        measured = measure_tags(corpus, images)
        regions: Counter[str] = Counter()
        pairs: Counter[str] = Counter()
        in_any: Counter[str] = Counter()
        for number in images:
            item = corpus[number]
            for region, class_id in enumerate(item.regions.class_id):
                name = corpus.object_names[class_id]
                links = item.link_phrase[:, region] >= 0
                regions[name] += 1
                pairs[name] += int(links.sum())
                in_any[name] += bool(links.any())
        assert {row["tag"]: row["regions"] for row in measured["most_frequent"]} == regions
        for row in measured["most_frequent"]:
            assert row["of_pairs"] == pytest.approx(pairs[row["tag"]] / regions[row["tag"]] / K, abs=1e-6)
            assert row["of_regions"] == pytest.approx(in_any[row["tag"]] / regions[row["tag"]], abs=1e-6)
        never = {name for name in regions if not in_any[name]}
        assert {row["tag"] for row in measured["never_linked"]} == never
        assert measured["never_linked_classes"] == len(never)
        share = sum(regions[name] for name in never) / regions.total()
        assert measured["never_linked_regions"] == pytest.approx(share, abs=1e-6)


class TestMentions:
    @pytest.mark.parametrize(
        ("tag", "text", "expected"),
        [
            ("car", "A red car.", True),
            ("car", "Two Cars, parked", True),
            ("car", "A careful cartoon", False),
            ("cars", "one car", True),
            ("bus", "three buses", True),
            ("bus", "buss", False),
            ("horse", "horses run", True),
            ("glass", "two glasses", True),
            ("glasses", "his glasses", True),
            ("cherry", "ripe cherries", True),
            ("potato", "potatoes", True),
            ("bench", "benches", True),
            ("person", "many people", True),
            ("man", "men", True),
            ("man", "a woman", False),
            ("traffic light", "the traffic lights are red", True),
            ("traffic light", "light traffic", False),
            ("traffic light", "traffic", False),
            ("t-shirt", "a t-shirt", True),
            ("café", "some cafés", True),
            ("!", "!", False),
        ],
    )
    def test_whole_words(self, tag: str, text: str, expected: bool) -> None:
        assert mentions([tag], [text]).tolist() == [[expected]]

    def test_by_hand(self, corpus: Corpus) -> None:
        # The sentences that are retrieved all speak of the class of the first region, and of no other.
        tags = {corpus.object_names[number] for number in corpus[4].regions.class_id}
        captions = {4: [f"a {' and a '.join(tags)}", "nothing"]}
        measured = measure_mentions(corpus, [4], captions, seed=0)
        share = round(1 / len(tags), 6)
        assert measured["images"] == 1
        assert measured["retrieved"] == {"any": share, "single": share, "sentences": K}
        assert measured["true"] == {"any": 1.0, "single": 0.5, "sentences": 2.0}

    def test_random_sentences_mention_what_chance_lets_them(self, corpus: Corpus) -> None:
        measured = measure_mentions(corpus, range(len(corpus)), None, seed=0)
        assert measured["true"] is None
        assert measured["random"]["single"] == pytest.approx(1 / 6, abs=0.05)  # six classes, each as often
        assert measured == measure_mentions(corpus, range(len(corpus)), None, seed=0)
        assert measured["random"] != measure_mentions(corpus, range(len(corpus)), None, seed=1)["random"]


def test_sample_of_images() -> None:
    assert sample_images(3, 5, seed=0).tolist() == [0, 1, 2]
    chosen = sample_images(1000, 100, seed=0)
    assert len(set(chosen.tolist())) == 100 and (np.diff(chosen) > 0).all() and chosen.max() < 1000
    assert chosen.tolist() == sample_images(1000, 100, seed=0).tolist() != sample_images(1000, 100, seed=1).tolist()
