"""Reads a caption again, and holds it against the scene that it was told of."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from mmf_muvla.toyworld.scenes import Scene, SceneObject
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, SIZE_WORDS
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


def check_mentions(scene: Scene, caption: str) -> None:
    """What is mentioned is there, with its colour, size and number."""
    for mention in read(caption):
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


def check_relations(scene: Scene, caption: str) -> Counter[str]:
    """Relations of things that are mentioned one after the other hold; returned is how many were read, of each kind."""
    checked: Counter[str] = Counter()
    verb = r"(?: (?:is|that (?:is|wears) \w+ is|, which is \w+, can be found))?"
    posture = verb + r"(?: [a-z]+ing| \w+ed| looking \w+(?: \w+)?)*"
    for first, second in pairwise(read(caption)):
        between = caption[first.end : second.start].lower()
        for words, holds in GEOMETRY.items():
            pattern = rf"{posture} (?:{words}) (?:(?:a|an|the) )?(?:(?:{'|'.join([*COLOURS, *SIZE_OF])}) )*"
            if re.fullmatch(pattern, between):
                pairs = [(a, b) for a in scene.objects for b in scene.objects if first.fits(a) and second.fits(b)]
                assert any(holds(a.box, b.box) for a, b in pairs), caption
                checked[words] += 1
    return checked
