"""Stories: a few sentences in a row, for a BERT that learns language and what belongs together before any image.

Each goes on about two things, in short sentences, as for beginners. All are told in the same way: of two ways it would
be learned to tell them apart, and nothing about things. Narrators mostly stick to their words: where many use synonyms,
or speak of more things, small models in short runs find nothing to start from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import repeat

from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS
from mmf_muvla.toyworld.wording import capitalised, choose_noun, coloured, first_distinct, with_article

_SENTENCES = 3
_SYNONYM_SHARE = 0.1
_COLOUR_SHARE = 0.6
_TEMPLATES = (
    "{} and {}", "{} next to {}", "{} is beside {}", "there is {} near {}", "we see {} close to {}",
    "not far from {} is {}", "this is {} with {}", "a photo of {} and {}", "the picture shows {} beside {}",
)  # fmt: skip


def tell_stories(rng: random.Random, count: int) -> Iterator[list[str]]:
    """``count`` stories, of three different sentences each."""
    for _ in range(count):
        things = [(category, rng.choice(COLOURS)) for category in rng.sample(list(CATEGORIES), 2)]
        yield first_distinct((_tell(rng, things) for _ in repeat(None)), _SENTENCES)


def _tell(rng: random.Random, things: list[tuple[str, str]]) -> str:
    named = [_name(rng, *thing) for thing in rng.sample(things, 2)]
    return capitalised(rng.choice(_TEMPLATES).format(*named)) + "."


def _name(rng: random.Random, category: str, colour: str) -> str:
    noun = choose_noun(rng, category, _SYNONYM_SHARE).singular
    return with_article(coloured(category, noun, colour if rng.random() < _COLOUR_SHARE else ""))
