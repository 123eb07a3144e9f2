"""Stories: true sentences in a row that go on about the same things."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from mmf_muvla.toyworld.mentions import kinds_said
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.stories import tell_stories
from tests.toyworld.truth import check_mentions, check_relations

COUNT = 300


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(generate_scenes(random.Random(1), COUNT, 1, colour_habit=0.5, crowd_probability=0.4))


@pytest.fixture(scope="module")
def stories(scenes: list[Scene]) -> list[list[str]]:
    return list(tell_stories(random.Random(0), scenes))


def test_every_story_has_three_different_sentences(stories):
    assert len(stories) == COUNT
    assert {len(set(story)) for story in stories} == {3} == {len(story) for story in stories}


def test_stories_are_true(scenes, stories):
    relations = 0
    for scene, story in zip(scenes, stories, strict=True):
        for sentence in story:
            check_mentions(scene, sentence)
            relations += check_relations(scene, sentence).total()
    assert relations > COUNT / 2


def test_sentences_that_follow_each_other_speak_of_the_same_things(stories):
    follow = [bool(kinds_said(a) & kinds_said(b)) for story in stories for a, b in pairwise(story)]
    strangers = [bool(kinds_said(a[0]) & kinds_said(b[1])) for a, b in pairwise(stories)]
    assert all(follow)
    assert sum(strangers) / len(strangers) < 0.3


def test_some_narrators_use_two_words_for_a_thing_and_most_do_not(stories):
    words = [set(re.findall(r"\w+", " ".join(story).lower())) for story in stories]
    both = sum({"car", "automobile"} <= it or {"man", "guy"} <= it or {"cup", "mug"} <= it for it in words)
    assert 0 < both < COUNT / 8


def test_fewer_stories_are_the_first_of_more(scenes, stories):
    assert list(tell_stories(random.Random(0), scenes[:7])) == stories[:7]
