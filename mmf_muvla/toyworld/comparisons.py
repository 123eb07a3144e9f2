"""Sentences about two pictures, true or false, in the way of NLVR2.

A *set* is four pairs of pictures of one kind of place, and sentences that are told of all four (see
:mod:`mmf_muvla.toyworld.balance`). "A dog" is one dog or more; "something red" may be clothes; "the dog in the left
picture is brown" is false where no dog is there, and not told where there are several.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmf_muvla.toyworld.balance import Labelled, RoundMaker
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.vocabulary import COLOURS, THEMES, Noun, Theme
from mmf_muvla.toyworld.wording import NUMBER_WORDS, choose_noun, coloured, has_colour, with_article

KINDS = ("both", "one", "neither", "total", "something", "side", "each side", "more", "colour")
"""Kinds of sentence. The order of the pictures matters to the last four only."""

PAIRS_PER_SET = 4

_SYNONYM_SHARE = 0.3
_MAX_TOTAL = 5
_OTHER_SIDE = {"left": "right", "right": "left"}
_LABELS = (False, True)


@dataclass(frozen=True)
class Comparison:
    """A sentence about a pair of pictures.

    ``identifier`` is ``<split>-<set>-<pair>-<sentence>``. The images' ids are :attr:`pair`, then ``-img0`` (left) or
    ``-img1`` (right).
    """

    kind: str
    sentence: str
    label: bool
    identifier: str

    @property
    def pair(self) -> str:
        return self.identifier.rpartition("-")[0]

    def to_record(self) -> dict[str, str]:
        """The line of NLVR2's files."""
        return {"sentence": self.sentence, "label": str(self.label), "identifier": self.identifier}


def compare(
    rng: random.Random, split: str, count: int, sentences_per_set: int, crowd_probability: float
) -> tuple[list[Scene], list[Comparison]]:
    """Make pairs of pictures, in which all colours are equally likely, and balanced sentences about them.

    As many whole sets are made as have at most ``count`` examples; ``sentences_per_set`` is even, ``split`` the first
    part of the identifiers. The scenes come with a pair's left one before its right one, the examples in random order.
    """
    rounds = RoundMaker(rng, len(_LABELS))
    scenes: list[Scene] = []
    examples: list[Comparison] = []
    for number in range(count // (PAIRS_PER_SET * sentences_per_set)):
        sentences: list[Labelled] = []
        while len(sentences) < sentences_per_set:  # until the pairs are such that enough can be told of them
            theme = rng.choice(tuple(THEMES.values()))
            made = list(generate_scenes(rng, 2 * PAIRS_PER_SET, 0, 0.0, crowd_probability, themes=[theme]))
            pairs = list(zip(made[::2], made[1::2], strict=True))
            sentences = rounds.take(tell(rng, theme, pairs), sentences_per_set // len(_LABELS))
        for pair, pictures in enumerate(pairs):
            name = f"{split}-{number}-{pair}"
            scenes += [replace(it, image_id=f"{name}-img{side}") for side, it in enumerate(pictures)]
            examples += [
                Comparison(it.kind, it.text, _LABELS[it.labels[pair]], f"{name}-{position}")
                for position, it in enumerate(sentences)
            ]
    rng.shuffle(examples)
    return scenes, examples


def tell(rng: random.Random, theme: Theme, pairs: Sequence[tuple[Scene, Scene]]) -> list[Labelled]:
    """Everything that can be said of all the pairs, which are of one theme, with its truth (0 or 1) for each."""
    seen = [{"left": _count(left), "right": _count(right)} for left, right in pairs]
    return [
        Labelled(kind, text, tuple(int(truth) for truth in truths if truth is not None))
        for kind, text, truths in _statements(rng, theme.categories, seen)
        if None not in truths
    ]


# Kind, sentence, and for every pair of pictures whether it is true; None where it is not told.
_Statement = tuple[str, str, "list[bool | None]"]
_Pair = dict[str, Counter[str]]  # by side


def _count(scene: Scene) -> Counter[str]:
    """How many objects there are of each category, of each colour, and of each category in a colour."""
    return Counter(fact for it in scene.objects for fact in (it.category, it.colour, _fact(it.category, it.colour)))


def _fact(category: str, colour: str) -> str:
    """What is counted: a category in a colour, or in any if that is empty."""
    return f"{colour} {category}".strip()


def _statements(rng: random.Random, categories: Sequence[str], pairs: Sequence[_Pair]) -> Iterator[_Statement]:
    """Everything that may be said of a kind of place."""
    for colour in COLOURS:
        yield "something", f"there is something {colour} in both pictures", [_showing(it, colour) == 2 for it in pairs]
    for category in categories:
        yield from _about(rng, category, pairs)
        for side, other_side in _OTHER_SIDE.items():
            other = rng.choice([name for name in categories if name != category])
            text = f"the {side} picture shows {_a(rng, category)} and the {other_side} one shows {_a(rng, other)}"
            yield "each side", text, [it[side][category] > 0 and it[other_side][other] > 0 for it in pairs]


def _about(rng: random.Random, category: str, pairs: Sequence[_Pair]) -> Iterator[_Statement]:
    """Sentences that are about one category."""
    # Most sentences are about things, whatever their colour.
    for colour in ("", rng.choice(COLOURS)):
        shown_by = [_showing(it, _fact(category, colour)) for it in pairs]
        for kind, text, count in (
            ("both", "there is {a} in both pictures", 2),
            ("one", "only one of the pictures shows {a}", 1),
            ("neither", "neither picture shows {a}", 0),
        ):
            yield kind, text.format(a=_a(rng, category, colour)), [it == count for it in shown_by]
    for total in range(2, _MAX_TOTAL + 1):
        text = f"there are {NUMBER_WORDS[total]} {_noun(rng, category).plural} in the two pictures together"
        yield "total", text, [it["left"][category] + it["right"][category] == total for it in pairs]
    for side, other_side in _OTHER_SIDE.items():
        text = f"the {side} picture shows more {_noun(rng, category).plural} than the {other_side} one"
        yield "more", text, [it[side][category] > it[other_side][category] for it in pairs]
        for colour in ("", rng.choice(COLOURS)):
            text = f"the {side} picture shows {_a(rng, category, colour)}"
            yield "side", text, [it[side][_fact(category, colour)] > 0 for it in pairs]
        for colour in COLOURS:
            text = f"the {_noun(rng, category).singular} in the {side} picture {has_colour(category, colour)}"
            counts = [(it[side][category], it[side][_fact(category, colour)]) for it in pairs]
            yield "colour", text, [None if of_category > 1 else in_colour == 1 for of_category, in_colour in counts]


def _showing(pair: _Pair, fact: str) -> int:
    """How many of two pictures show something."""
    return sum(counts[fact] > 0 for counts in pair.values())


def _noun(rng: random.Random, category: str) -> Noun:
    return choose_noun(rng, category, _SYNONYM_SHARE)


def _a(rng: random.Random, category: str, colour: str = "") -> str:
    return with_article(coloured(category, _noun(rng, category).singular, colour))
