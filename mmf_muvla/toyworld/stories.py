"""Stories: a few sentences in a row, for a BERT that learns language and what belongs together before any image.

Each looks at two or three things of a scene, and goes on about them. Half of the narrators stick to their words, the
others use synonyms. All stories are told in the same way: of two ways it would be learned to tell them apart, and
nothing about things.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import repeat

from mmf_muvla.toyworld.captions import caption_scene
from mmf_muvla.toyworld.scenes import Scene, objects_by_category
from mmf_muvla.toyworld.vocabulary import CATEGORIES
from mmf_muvla.toyworld.wording import choose_noun, first_distinct

_SENTENCES = 3


def tell_stories(rng: random.Random, scenes: Iterable[Scene]) -> Iterator[list[str]]:
    """A story of each scene: captions of a part of it, all true and different."""
    for scene in scenes:
        kinds = list(objects_by_category(scene))
        seen = rng.sample(kinds, min(len(kinds), rng.choice((2, 3))))
        part = replace(scene, objects=tuple(it for it in scene.objects if it.category in seen))
        nouns = {name: choose_noun(rng, name) for name in CATEGORIES} if rng.random() < 0.5 else None
        # short ones, as for beginners
        captions = (min((caption_scene(rng, part, nouns) for _ in range(2)), key=len) for _ in repeat(None))
        yield first_distinct(captions, _SENTENCES)
