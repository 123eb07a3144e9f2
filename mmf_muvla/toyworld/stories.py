"""Stories: a few sentences in a row, for a BERT that learns language and what belongs together before any image.

Half of them look at two or three things of a scene, and go on about them; the others are passages of a book, about two
characters. Half of the narrators of the first kind stick to their words, the others use synonyms.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

from mmf_muvla.toyworld.books import book_passage
from mmf_muvla.toyworld.captions import caption_scene
from mmf_muvla.toyworld.scenes import Scene, objects_by_category
from mmf_muvla.toyworld.vocabulary import CATEGORIES
from mmf_muvla.toyworld.wording import choose_noun, first_distinct

_SENTENCES = 3


def tell_stories(rng: random.Random, scenes: Iterator[Scene], count: int) -> Iterator[list[str]]:
    """``count`` stories: by turns one of each scene, and one of a book."""
    for number in range(count):
        yield book_passage(rng, _SENTENCES) if number % 2 else _scene_story(rng, next(scenes))


def _scene_story(rng: random.Random, scene: Scene) -> list[str]:
    """Captions of a part of the scene, all true of it and different."""
    kinds = list(objects_by_category(scene))
    seen = rng.sample(kinds, min(len(kinds), rng.choice((2, 3))))
    part = replace(scene, objects=tuple(it for it in scene.objects if it.category in seen))
    nouns = {name: choose_noun(rng, name) for name in CATEGORIES} if rng.random() < 0.5 else None
    return first_distinct((caption_scene(rng, part, nouns) for _ in repeat(None)), _SENTENCES)
