"""Captions are true, specific and varied: every sentence is read again and held against the scene."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import pairwise

import pytest

from mmf_muvla.toyworld.captions import caption_corpus, caption_scene, distinct_captions
from mmf_muvla.toyworld.scenes import Scene, SceneObject, generate_scenes
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, SIZE_WORDS, synonym_words
from mmf_muvla.toyworld.wording import NUMBER_WORDS

CATEGORY_OF = {n.singular: name for name, c in CATEGORIES.items() for n in c.nouns}
CATEGORY_OF_PLURAL = {n.plural: name for name, c in CATEGORIES.items() for n in c.nouns}
SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}


@dataclass
class Mention:
    """What a caption says of one thing or group."""

    category: str
    count: int | None  # None: at least one
    colour: str | None
    size: str | None
    start: int
    end: int

    def fits(self, it: SceneObject) -> bool:
        return it.category == self.category and self.colour in (None, it.colour) and self.size in (None, it.size)


def read(caption: str) -> list[Mention]:
    """Find every noun with the adjectives right before it, or "in <colour>" right after it."""
    found = []
    for match in re.finditer(r"[a-z]+", caption.lower()):
        word = match.group()
        before = re.findall(r"[a-z]+", caption[: match.start()].lower())[-3:]
        group = word in CATEGORY_OF_PLURAL and bool(before) and any(w in NUMBER_WORDS[2:] for w in before[-2:])
        if word not in CATEGORY_OF and not group:
            continue
        category = (CATEGORY_OF_PLURAL if group else CATEGORY_OF)[word]
        mention = Mention(category, None, None, None, match.start(), match.end())
        while before and (before[-1] in COLOURS or before[-1] in SIZE_OF):
            adjective = before.pop()
            if adjective in COLOURS:
                mention.colour = adjective
            else:
                mention.size = SIZE_OF[adjective]
        if group:
            mention.count = NUMBER_WORDS.index(before[-1])
        clothes = re.match(rf" in ({'|'.join(COLOURS)})\b", caption[match.end() :].lower())
        if clothes:
            mention.colour = clothes.group(1)
            mention.end += clothes.end()
        found.append(mention)
    return found


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
    for scene, caption, mentions in told:
        for mention in mentions:
            fitting = [it for it in scene.objects if mention.fits(it)]
            if mention.count is None:
                assert fitting, (caption, mention)
            else:
                assert len(fitting) == mention.count, (caption, mention)
                assert sum(it.category == mention.category for it in scene.objects) == mention.count, caption


GEOMETRY = {
    r"to the left of|on the left side of": lambda a, b: centre(a) < centre(b),
    r"to the right of|on the right side of": lambda a, b: centre(a) > centre(b),
    r"above|over": lambda a, b: a[3] <= b[1] + 1,
    r"under|underneath|beneath": lambda a, b: a[1] > b[1] and b[0] - 1 <= centre(a) <= b[2] + 1,
    r"on|on top of": lambda a, b: b[1] - 1 <= a[3] <= (b[1] + b[3]) / 2 and b[0] - 1 <= centre(a) <= b[2] + 1,
    r"next to|beside|near|close to": lambda a, b: max(a[0] - b[2], b[0] - a[2]) < 60,
}


def centre(box) -> float:
    return (box[0] + box[2]) / 2


def test_relations_hold_in_the_picture(told):
    checked = dict.fromkeys(GEOMETRY, 0)
    verb = r"(?: (?:is|that (?:is|wears) \w+ is|, which is \w+, can be found))?"
    posture = verb + r"(?: [a-z]+ing| \w+ed| looking \w+(?: \w+)?)*"
    for scene, caption, mentions in told:
        for first, second in pairwise(mentions):
            between = caption[first.end : second.start].lower()
            for words, holds in GEOMETRY.items():
                pattern = rf"{posture} (?:{words}) (?:(?:a|an|the) )?(?:(?:{'|'.join([*COLOURS, *SIZE_OF])}) )*"
                if re.fullmatch(pattern, between):
                    pairs = [(a, b) for a in scene.objects for b in scene.objects if first.fits(a) and second.fits(b)]
                    assert any(holds(a.box, b.box) for a, b in pairs), caption
                    checked[words] += 1
    assert min(checked.values()) >= 15, checked


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
