"""Stories: a few sentences in a row, for a BERT that learns language and what belongs together before any image.

Each is about two things of a scene, in short sentences, as for beginners. All are told in the same way: of two ways it
would be learned to tell them apart, and nothing about things. Most narrators stick to their words: where many use
synonyms, or describe more than two things, small models in short runs find nothing to start from.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import repeat

from mmf_muvla.toyworld.captions import PREPOSITIONS
from mmf_muvla.toyworld.scenes import Scene, SceneObject, objects_by_category, relations_between
from mmf_muvla.toyworld.wording import capitalised, choose_noun, coloured, first_distinct, with_article

_SENTENCES = 3
_SYNONYM_SHARE = 0.1
_OPENINGS = ("", "", "there is ", "we see ", "this is ", "a photo of ", "the picture shows ")
_COMPANY = ("and", "with")


def tell_stories(rng: random.Random, scenes: Iterable[Scene]) -> Iterator[list[str]]:
    """A story of each scene, which has two kinds of things at least: different sentences about two, all true."""
    for scene in scenes:
        kinds = objects_by_category(scene)
        seen = [rng.choice(kinds[name]) for name in rng.sample(list(kinds), 2)]
        yield first_distinct((_tell(rng, scene, *rng.sample(seen, 2)) for _ in repeat(None)), _SENTENCES)


def _tell(rng: random.Random, scene: Scene, a: SceneObject, b: SceneObject) -> str:
    relations = relations_between(a, b, scene)
    place = (
        rng.choice(PREPOSITIONS[rng.choice(relations)]) if relations and rng.random() < 0.5 else rng.choice(_COMPANY)
    )
    return capitalised(f"{rng.choice(_OPENINGS)}{_name(rng, a)} {place} {_name(rng, b)}.")


def _name(rng: random.Random, it: SceneObject) -> str:
    noun = choose_noun(rng, it.category, _SYNONYM_SHARE).singular
    return with_article(coloured(it.category, noun, it.colour if rng.random() < 0.6 else ""))
