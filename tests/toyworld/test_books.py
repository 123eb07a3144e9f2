"""Book-like sentences: different, whole, and in company."""

from __future__ import annotations

import random
import re

import pytest

from mmf_muvla.toyworld.books import book_corpus
from mmf_muvla.toyworld.vocabulary import CATEGORIES, THEMES
from tests.toyworld.baselines import CATEGORY_OF


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return book_corpus(random.Random(0), 2000)


def categories(sentence: str) -> set[str]:
    return {CATEGORY_OF[word] for word in re.findall(r"[a-z]+", sentence.lower()) if word in CATEGORY_OF}


def test_sentences_are_different_and_whole(sentences):
    assert len(sentences) == len(set(sentences)) == 2000
    for sentence in sentences:
        assert sentence.endswith(".") and sentence.lstrip('"')[0].isupper(), sentence
        assert "  " not in sentence and "\n" not in sentence
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", sentence), sentence
        assert 4 <= len(sentence.split()) <= 40, sentence


def test_some_sentences_have_no_object_and_most_have(sentences):
    without = sum(not categories(sentence) for sentence in sentences) / len(sentences)
    assert 0.08 < without < 0.2


def test_objects_of_a_sentence_belong_to_one_place(sentences):
    for sentence in sentences:
        assert any(categories(sentence) <= set(theme.categories) for theme in THEMES.values()), sentence


def test_every_thing_that_is_no_person_occurs(sentences):
    found = set().union(*(categories(sentence) for sentence in sentences))
    assert found >= {name for name, c in CATEGORIES.items() if c.family != "person"}


def test_books_do_not_sound_like_captions(sentences):
    past = re.compile(r"\b(was|were|had|stood|said|saw|asked|felt|\w+ed|found|came|kept|drew|sold|told|spoke|laid)\b")
    assert sum(bool(past.search(sentence)) for sentence in sentences) / len(sentences) > 0.9
    assert not any(re.search(r"\b(photo|picture|image)\b", sentence) for sentence in sentences)


def test_equal_seeds_give_equal_sentences():
    assert book_corpus(random.Random(5), 50) == book_corpus(random.Random(5), 50)
