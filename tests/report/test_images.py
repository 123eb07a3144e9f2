from __future__ import annotations

import numpy as np
import pytest

from mmf_muvla.pairing.store import Corpus, Sentence
from mmf_muvla.report.images import page_image, sentence_parts
from tests.small_corpus import K, sentence


def test_what_is_shown_of_an_image(corpus: Corpus) -> None:
    item = corpus[5]
    number = int(item.sentence_ids[1])
    shown = page_image(corpus, 5, captions=[f"  {sentence(number)[0]} ", "another"])
    assert shown["id"] == "1005" and shown["tags"] == item.tags and shown["picture"] is None
    assert np.allclose(shown["boxes"], item.regions.bbox, atol=0.05)
    assert [s["own"] for s in shown["sentences"]] == [False, True, False]
    assert len(shown["sentences"]) == K
    linked = np.flatnonzero(item.link_phrase[1] == 0)
    assert shown["sentences"][1]["links"] == [[(region, 0.9) for region in linked.tolist()]]
    assert shown["strength"] == pytest.approx(0.9 * len(linked) / len(item.tags), abs=1e-4)
    assert shown["linked"] == pytest.approx(len(linked) / len(item.tags), abs=1e-4)
    assert page_image(corpus, 5)["captions"] is None


def test_parts_of_a_sentence() -> None:
    text = "😀 A red car, dogs"
    parts = sentence_parts(Sentence(text, np.array([[4, 11], [13, 17]])))
    assert parts == [("😀 A ", -1), ("red car", 0), (", ", -1), ("dogs", 1)]
    assert sentence_parts(Sentence("cat", np.array([[0, 3]]))) == [("cat", 0)]
    assert sentence_parts(Sentence("cat", np.zeros((0, 2), int))) == [("cat", -1)]
    overlapping = sentence_parts(Sentence("big red car", np.array([[4, 11], [0, 7]])))
    assert overlapping == [("big red", 1), (" car", -1)]
