"""Rounds of sentences balance labels over sentences and over images."""

from __future__ import annotations

import random
from collections import Counter

from mmf_muvla.toyworld.balance import Labelled, RoundMaker


def sentences(kind: str, *labels: str) -> list[Labelled]:
    return [Labelled(kind, f"{kind} {numbers}", tuple(map(int, numbers))) for numbers in labels]


def test_a_sentence_is_taken_with_its_opposite():
    candidates = sentences("a", "0011", "0101", "1100", "0110", "1111", "0001")
    taken = RoundMaker(random.Random(0), 2).take(candidates, 5)
    # Of the even ones only 0011 and 1100 are opposites.
    assert {it.labels for it in taken} == {(0, 0, 1, 1), (1, 1, 0, 0)}


def test_three_labels_go_round():
    candidates = sentences("a", "012", "120", "021", "102", "201", "000")
    taken = RoundMaker(random.Random(0), 3).take(candidates, 5)
    assert Counter(it.labels for it in taken) == {(0, 1, 2): 1, (1, 2, 0): 1, (2, 0, 1): 1}


def test_nothing_is_taken_where_a_label_has_no_sentence():
    candidates = sentences("a", "012", "120", "021")
    assert RoundMaker(random.Random(0), 3).take(candidates, 1) == []


def test_equal_texts_are_one_sentence():
    candidates = [Labelled("a", "same", (0, 1)), Labelled("a", "same", (1, 0)), Labelled("a", "other", (0, 1))]
    assert RoundMaker(random.Random(0), 2).take(candidates, 1) == []


def test_the_rarest_kind_goes_first():
    maker = RoundMaker(random.Random(0), 2)
    many = [Labelled("a", f"a{i}{labels}", labels) for i in range(20) for labels in ((0, 1), (1, 0))]
    few = [Labelled("b", f"b{labels}", labels) for labels in ((0, 1), (1, 0))]
    kinds = Counter(it.kind for _ in range(4) for it in maker.take(many + few, 1))
    assert kinds == {"a": 4, "b": 4}
