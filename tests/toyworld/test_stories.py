"""Stories: sentences in a row that go on about the same things, each of them true, or about the same people."""

from __future__ import annotations

import random
import re
from itertools import islice, pairwise

import pytest

from mmf_muvla.toyworld.mentions import kinds_said
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.stories import tell_stories
from tests.toyworld.truth import check_mentions, check_relations

COUNT = 400


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(generate_scenes(random.Random(1), COUNT // 2, 1, colour_habit=0.5, crowd_probability=0.4))


@pytest.fixture(scope="module")
def stories(scenes: list[Scene]) -> list[list[str]]:
    return list(tell_stories(random.Random(0), iter(scenes), COUNT))


def test_every_story_has_three_different_sentences(stories):
    assert len(stories) == COUNT
    assert {len(set(story)) for story in stories} == {3}


def test_stories_of_scenes_are_true(scenes, stories):
    relations = 0
    for scene, story in zip(scenes, stories[::2], strict=True):
        for sentence in story:
            check_mentions(scene, sentence)
            relations += check_relations(scene, sentence).total()
    assert relations > COUNT / 2


def test_sentences_that_follow_each_other_speak_of_the_same_things(stories):
    follow = [bool(kinds_said(a) & kinds_said(b)) for story in stories[::2] for a, b in pairwise(story)]
    strangers = [bool(kinds_said(a[0]) & kinds_said(b[1])) for a, b in pairwise(stories[::2])]
    assert all(follow)
    assert sum(strangers) / len(strangers) < 0.3


def test_some_narrators_stick_to_their_words_and_others_do_not(stories):
    words = [set(re.findall(r"\w+", " ".join(story).lower())) for story in stories[::2]]
    both = sum({"car", "automobile"} <= it or {"man", "guy"} <= it or {"cup", "mug"} <= it for it in words)
    assert 0 < both < COUNT / 8


def test_a_passage_of_a_book_is_about_the_same_people(stories):
    names = ("Martha", "Eleanor", "Agnes", "Clara", "Thomas", "Jonas", "Mr. Hale", "Edgar", "Uncle Silas", "Miss Pym")
    passages = [" ".join(story) for story in stories[1::2]]
    assert all(sum(name in passage for name in names) <= 2 for passage in passages)
    again = [sum(sum(name in sentence for sentence in story) > 1 for name in names) for story in stories[1::2]]
    assert sum(map(bool, again)) > COUNT / 5


def test_fewer_stories_are_the_first_of_more(scenes, stories):
    assert list(tell_stories(random.Random(0), iter(scenes), 7)) == list(islice(stories, 7))
