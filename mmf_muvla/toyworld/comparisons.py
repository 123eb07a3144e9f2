"""Sentences about two pictures, true or false, in the way of NLVR2.

A *set* is four pairs of pictures of one kind of place, with some sentences, each of which is told of all four pairs.
Every sentence is true of two pairs, and every pair makes half of the sentences true (see
:mod:`mmf_muvla.toyworld.balance`): neither the sentence alone nor the pictures alone decide.

What the sentences mean: "a dog" is one dog or more; "something red" may be clothes; "the dog in the left picture is
brown" is true where the only dog there is brown, false where it is not or where no dog is there, and not told where
there are several.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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

_Truth = Callable[["_Seen", "_Seen"], "bool | None"]


@dataclass(frozen=True)
class Comparison:
    """A sentence about a pair of pictures.

    ``identifier`` is ``<split>-<set>-<pair>-<sentence>``; the images' ids are the same without the last part, followed
    by ``-img0`` (left) and ``-img1`` (right).
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


def swap_sides(sentence: str) -> str:
    """The sentence with "left" and "right" exchanged: it says of swapped pictures what the sentence said before."""
    return re.sub(r"\b(left|right)\b", lambda found: _OTHER_SIDE[found.group()], sentence)


def compare(
    rng: random.Random, split: str, count: int, sentences_per_set: int, crowd_probability: float
) -> tuple[list[Scene], list[Comparison]]:
    """Make pairs of pictures and balanced sentences about them.

    Args:
        rng: every choice comes from here.
        split: the first part of the identifiers.
        count: how many examples at most; as many whole sets as fit are made.
        sentences_per_set: sentences told of each four pairs, an even number.
        crowd_probability: probability that a scene holds a group of one category. All colours are equally likely.

    Returns:
        The scenes, a pair's left one before its right one, and the examples in random order.
    """
    rounds = RoundMaker(rng, KINDS, len(_LABELS))
    scenes: list[Scene] = []
    examples: list[Comparison] = []
    for number in range(count // (PAIRS_PER_SET * sentences_per_set)):
        pairs, sentences = _make_set(rng, rounds, sentences_per_set, crowd_probability)
        for pair, pictures in enumerate(pairs):
            name = f"{split}-{number}-{pair}"
            scenes += [dataclasses.replace(it, image_id=f"{name}-img{side}") for side, it in enumerate(pictures)]
            examples += [
                Comparison(it.kind, it.text, _LABELS[it.labels[pair]], f"{name}-{position}")
                for position, it in enumerate(sentences)
            ]
    rng.shuffle(examples)
    return scenes, examples


def _make_set(
    rng: random.Random, rounds: RoundMaker, sentences_per_set: int, crowd_probability: float
) -> tuple[list[tuple[Scene, Scene]], list[Labelled]]:
    """Pairs of scenes until there are some about which enough balanced sentences can be told."""
    themes = tuple(THEMES.values())
    while True:
        theme = rng.choice(themes)
        scenes = list(generate_scenes(rng, 2 * PAIRS_PER_SET, 0, 0.0, crowd_probability, themes=[theme]))
        pairs = list(zip(scenes[::2], scenes[1::2], strict=True))
        sentences = rounds.take(tell(rng, theme, pairs), sentences_per_set // len(_LABELS))
        if len(sentences) == sentences_per_set:
            return pairs, sentences


def tell(rng: random.Random, theme: Theme, pairs: Sequence[tuple[Scene, Scene]]) -> list[Labelled]:
    """Everything that can be said of all the pairs, which are of one theme, with its truth (0 or 1) for each."""
    seen = [(_Seen(left), _Seen(right)) for left, right in pairs]
    told = []
    for kind, text, holds in _statements(rng, theme.categories):
        truths = [holds(left, right) for left, right in seen]
        if None not in truths:
            told.append(Labelled(kind, text, tuple(int(bool(truth)) for truth in truths)))
    return told


class _Seen:
    """How many objects a scene has of each category, of each colour, and of each category in a colour."""

    def __init__(self, scene: Scene):
        self.of_category = Counter(it.category for it in scene.objects)
        self.of_colour = Counter(it.colour for it in scene.objects)
        self.of_both = Counter((it.category, it.colour) for it in scene.objects)

    def count(self, category: str, colour: str = "") -> int:
        return self.of_both[category, colour] if colour else self.of_category[category]


def _statements(rng: random.Random, categories: Sequence[str]) -> Iterator[tuple[str, str, _Truth]]:
    """Kind, sentence, and what makes it true, for everything that may be said of a kind of place."""
    for colour in COLOURS:
        yield "something", f"there is something {colour} in both pictures", _both_have_colour(colour)
    for category in categories:
        yield from _about(rng, category)
        for side in _OTHER_SIDE:
            other = rng.choice([name for name in categories if name != category])
            first, second = _a(rng, category), _a(rng, other)
            text = f"the {side} picture shows {first} and the {_OTHER_SIDE[side]} one shows {second}"
            yield "each side", text, _on_each_side(side, category, other)


def _about(rng: random.Random, category: str) -> Iterator[tuple[str, str, _Truth]]:
    """Sentences that are about one category."""
    # Most sentences are about things, whatever their colour.
    for colour in ("", rng.choice(COLOURS)):
        yield "both", f"there is {_a(rng, category, colour)} in both pictures", _shown_by(2, category, colour)
        yield "one", f"only one of the pictures shows {_a(rng, category, colour)}", _shown_by(1, category, colour)
        yield "neither", f"neither picture shows {_a(rng, category, colour)}", _shown_by(0, category, colour)
    for total in range(2, _MAX_TOTAL + 1):
        text = f"there are {NUMBER_WORDS[total]} {_noun(rng, category).plural} in the two pictures together"
        yield "total", text, _in_total(category, total)
    for side, other_side in _OTHER_SIDE.items():
        plural = _noun(rng, category).plural
        text = f"the {side} picture shows more {plural} than the {other_side} one"
        yield "more", text, _more_on(side, category)
        for colour in ("", rng.choice(COLOURS)):
            yield "side", f"the {side} picture shows {_a(rng, category, colour)}", _on_side(side, category, colour)
        for colour in COLOURS:
            verb = has_colour(category, colour)
            text = f"the {_noun(rng, category).singular} in the {side} picture {verb}"
            yield "colour", text, _has_colour_on(side, category, colour)


def _noun(rng: random.Random, category: str) -> Noun:
    return choose_noun(rng, category, _SYNONYM_SHARE)


def _a(rng: random.Random, category: str, colour: str = "") -> str:
    return with_article(coloured(category, _noun(rng, category).singular, colour))


# ---- what makes a sentence true -------------------------------------------------------------------------


def _shown_by(pictures: int, category: str, colour: str) -> _Truth:
    return lambda left, right: sum(seen.count(category, colour) > 0 for seen in (left, right)) == pictures


def _both_have_colour(colour: str) -> _Truth:
    return lambda left, right: left.of_colour[colour] > 0 and right.of_colour[colour] > 0


def _in_total(category: str, total: int) -> _Truth:
    return lambda left, right: left.count(category) + right.count(category) == total


def _on_side(side: str, category: str, colour: str) -> _Truth:
    return lambda left, right: (left if side == "left" else right).count(category, colour) > 0


def _more_on(side: str, category: str) -> _Truth:
    sign = 1 if side == "left" else -1
    return lambda left, right: sign * (left.count(category) - right.count(category)) > 0


def _on_each_side(side: str, category: str, other: str) -> _Truth:
    on_left, on_right = (category, other) if side == "left" else (other, category)
    return lambda left, right: left.count(on_left) > 0 and right.count(on_right) > 0


def _has_colour_on(side: str, category: str, colour: str) -> _Truth:
    def holds(left: _Seen, right: _Seen) -> bool | None:
        seen = left if side == "left" else right
        return None if seen.count(category) > 1 else seen.count(category, colour) == 1

    return holds
