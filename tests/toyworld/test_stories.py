"""Stories: short sentences in a row that go on about the same two things."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from mmf_muvla.toyworld.mentions import kinds_said
from mmf_muvla.toyworld.stories import tell_stories
from tests.toyworld.truth import read

COUNT = 300


@pytest.fixture(scope="module")
def stories() -> list[list[str]]:
    return list(tell_stories(random.Random(0), COUNT))


def test_every_story_has_three_different_sentences(stories):
    assert len(stories) == COUNT
    assert {len(set(story)) for story in stories} == {3} == {len(story) for story in stories}


def test_every_sentence_of_a_story_is_about_the_same_two_things_of_one_colour_each(stories):
    for story in stories:
        mentions = [mention for sentence in story for mention in read(sentence)]
        assert len(mentions) == 6 and len({it.category for it in mentions}) == 2, story
        for kind in {it.category for it in mentions}:
            assert len({it.colour for it in mentions if it.category == kind} - {None}) <= 1, story


def test_stories_differ_in_their_things(stories):
    strangers = [bool(kinds_said(a[0]) & kinds_said(b[1])) for a, b in pairwise(stories)]
    assert sum(strangers) / len(strangers) < 0.1


def test_some_narrators_use_two_words_for_a_thing_and_most_do_not(stories):
    nouns = [
        {sentence.lower()[it.start :].split()[0].strip(".") for sentence in story for it in read(sentence)}
        for story in stories
    ]
    assert COUNT / 10 < sum(len(it) > 2 for it in nouns) < COUNT / 2


def test_fewer_stories_are_the_first_of_more(stories):
    assert list(tell_stories(random.Random(0), 7)) == stories[:7]
