"""Captions are true, specific and varied: every sentence is read again and held against the scene."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from mmf_muvla.toyworld.captions import caption_corpus, caption_scene, distinct_captions
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.vocabulary import COLOURS, synonym_words
from tests.toyworld.truth import GEOMETRY, Mention, check_mentions, check_relations, read


@pytest.fixture(scope="module")
def told() -> list[tuple[Scene, str, list[Mention]]]:
    rng = random.Random(0)
    scenes = generate_scenes(random.Random(1), 1500, 1, colour_habit=0.5, crowd_probability=0.5)
    captions = [(scene, caption_scene(rng, scene)) for scene in scenes]
    return [(scene, caption, read(caption)) for scene, caption in captions]


def test_two_to_four_things_are_mentioned(told):
    for _, caption, mentions in told:
        assert 2 <= len({mention.category for mention in mentions}) <= 4, caption


def test_what_is_mentioned_is_there_with_its_colour_size_and_number(told):
    for scene, caption, _ in told:
        check_mentions(scene, caption)


def test_relations_hold_in_the_picture(told):
    checked = Counter()
    for scene, caption, _ in told:
        checked.update(check_relations(scene, caption))
    assert min(checked[words] for words in GEOMETRY) >= 15, checked


def test_predicates_are_true(told):
    """ "the mug on the brown table is white", "one of the cars is blue" """
    checked = 0
    for scene, caption, mentions in told:
        match = re.search(rf"^(the|one of the) .* (?:is|wears) ({'|'.join(COLOURS)})\.?$", caption.lower())
        if match and match.group(1) == "the":
            subject, colour = mentions[0].category, match.group(2)
            assert {it.colour for it in scene.objects if it.category == subject} == {colour}, caption
            checked += 1
    assert checked > 20


def test_captions_use_synonyms_and_varied_forms(told):
    words = [set(re.findall(r"[a-z]+", caption.lower())) for _, caption, _ in told]
    assert 0.4 < sum(bool(found & synonym_words()) for found in words) / len(words) < 0.95
    openings = {" ".join(caption.lower().split()[:2]) for _, caption, _ in told}
    assert len(openings) > 100
    plain = sum(not caption.endswith(".") for _, caption, _ in told) / len(told)
    assert 0.2 < plain < 0.4
    for _, caption, _ in told:
        assert "  " not in caption and " ," not in caption and not re.search(r"\ba [aeiou]", caption), caption
        assert caption == caption.strip()


def test_two_captions_of_a_scene_differ(told):
    for scene, _, _ in told[:50]:
        assert len(set(distinct_captions(random.Random(0), scene, 2))) == 2


def test_the_corpus_has_as_many_different_captions_as_asked():
    def supply():
        rng = random.Random(2)
        while True:
            yield from generate_scenes(rng, 10, 1, colour_habit=0.5, crowd_probability=0.4)

    corpus = caption_corpus(random.Random(3), supply(), 400)
    assert len(corpus) == len(set(corpus)) == 400
    assert corpus == caption_corpus(random.Random(3), supply(), 400)
