"""Hypotheses about pictures, judged by what is in view: entailed, contradicted, or left open.

"The dog is brown" is entailed by a brown dog, contradicted by a dog of another colour, and neutral where there is no
dog. "The dog is brown and the cat is black" is contradicted by a white dog even where there is no cat. Where several
things in view could be meant, a hypothesis is not used. Hypotheses are judged on three pictures of one kind of place,
and used if they have each label once (see :mod:`mmf_muvla.toyworld.balance`).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.balance import Labelled, RoundMaker
from mmf_muvla.toyworld.scenes import Scene, SceneObject, is_left_of, objects_by_category
from mmf_muvla.toyworld.vocabulary import COLOURS
from mmf_muvla.toyworld.wording import choose_noun, has_colour, is_person

KINDS = ("colour", "other colour", "either colour", "two colours", "same colour", "size", "side")

LABELS = ("entailment", "neutral", "contradiction")
_ENTAILED, _OPEN, _CONTRADICTED = range(3)
EXAMPLES_PER_ROUND = len(LABELS) ** 2
_SYNONYM_SHARE = 0.3
_MAX_PASSES = 200  # through the scenes, which are grouped anew in each

_Views = Sequence[dict[str, list[SceneObject]]]  # of some scenes, the objects by category
# Kind and text of a hypothesis, and the numbers of its labels on some scenes; None where it is not to be used.
_Judged = tuple[str, str, "list[int | None]"]


@dataclass(frozen=True)
class Entailment:
    """A hypothesis about one image, with its label, one of :data:`LABELS`."""

    kind: str
    hypothesis: str
    label: str
    image_id: str

    def to_record(self, number: int) -> dict[str, str]:
        """The line of SNLI-VE's files; ``number`` tells the examples of a file apart."""
        image = f"{self.image_id}.jpg"
        names = {"Flikr30kID": image, "pairID": f"{image}#{number}"}
        return {"sentence2": self.hypothesis, "gold_label": self.label, **names}


def hypothesise(rng: random.Random, scenes: Sequence[Scene], count: int) -> list[Entailment]:
    """At most ``count`` balanced hypotheses about scenes, in random order; three on each of three images at a time.

    Raises:
        InputError: the scenes do not offer enough balanced hypotheses.
    """
    wanted = count // EXAMPLES_PER_ROUND * EXAMPLES_PER_ROUND
    rounds = RoundMaker(rng, len(LABELS))
    said: dict[str, set[str]] = defaultdict(set)  # of each image
    examples: list[Entailment] = []
    for _ in range(_MAX_PASSES):
        for trio in _trios(rng, scenes):
            if len(examples) == wanted:
                rng.shuffle(examples)
                return examples
            sentences = rounds.take(judge_all(rng, trio, said), 1) if _is_promising(trio) else []
            for number, scene in enumerate(trio):
                said[scene.image_id].update(it.text for it in sentences)
                examples += [
                    Entailment(it.kind, it.text, LABELS[it.labels[number]], scene.image_id) for it in sentences
                ]
    where, problem = f"{count} hypotheses on {len(scenes)} scenes", f"only {len(examples)} balanced ones can be told"
    raise InputError(where, problem, "Ask for fewer hypotheses or make more scenes")


def _trios(rng: random.Random, scenes: Sequence[Scene]) -> list[tuple[Scene, Scene, Scene]]:
    """Three scenes of one kind of place at a time, at random; up to two of each kind are left over."""
    by_theme: dict[str, list[Scene]] = defaultdict(list)
    for scene in scenes:
        by_theme[scene.theme].append(scene)
    trios = []
    for group in by_theme.values():
        rng.shuffle(group)
        trios += list(zip(group[::3], group[1::3], group[2::3], strict=False))
    return trios


def _is_promising(trio: Sequence[Scene]) -> bool:
    """Whether each of the scenes lacks a category of which the others have one object, as in most rounds."""
    views = [objects_by_category(scene) for scene in trio]
    alone = [{category for category, crowd in view.items() if len(crowd) == 1} for view in views]
    return all((alone[i - 1] & alone[i - 2]) - views[i].keys() for i in range(3))


def judge_all(rng: random.Random, trio: Sequence[Scene], said: Mapping[str, Collection[str]]) -> list[Labelled]:
    """Everything that one of the scenes entails, with the numbers of its labels on all of them, but for what was said.

    Args:
        rng: chooses between synonyms and orders.
        trio: scenes of one theme.
        said: hypotheses to pass over, by image id.
    """
    told = {text for scene in trio for text in said.get(scene.image_id, ())}
    views = [objects_by_category(scene) for scene in trio]
    return [
        Labelled(kind, text, tuple(label for label in labels if label is not None))
        for view in views
        for kind, text, labels in _entailed_by(rng, view, views)
        if None not in labels and text not in told
    ]


def _entailed_by(rng: random.Random, view: dict[str, list[SceneObject]], views: _Views) -> Iterator[_Judged]:
    """What can be said of the only objects of their categories in one of the scenes, judged on all of them."""
    alone = [crowd[0] for crowd in view.values() if len(crowd) == 1]
    for it in alone:
        yield from _about_one(rng, it, views)
    for pair in combinations(alone, 2):
        one, other = rng.sample(pair, 2)
        text = " and ".join([f"{_the(rng, it)} {has_colour(it.category, it.colour)}" for it in (one, other)])
        both = zip(*(_coloured(views, it.category, {it.colour}) for it in (one, other)), strict=True)
        # False if one part is false; else open if one part is open.
        yield "two colours", text, [None if None in labels else max(labels) for labels in both]
        if one.colour == other.colour and not is_person(one.category) and not is_person(other.category):
            text = f"{_the(rng, one)} and {_the(rng, other)} have the same color"
            labels = _judge(views, lambda a, b: _truth(a.colour == b.colour), one.category, other.category)
            yield "same colour", text, labels
        for side, left, right in (("left", one, other), ("right", other, one)):
            if is_left_of(left, right):
                text = f"{_the(rng, one)} is to the {side} of {_the(rng, other)}"
                yield "side", text, _judge(views, _left_of, left.category, right.category)


def _about_one(rng: random.Random, it: SceneObject, views: _Views) -> Iterator[_Judged]:
    text = f"{_the(rng, it)} {has_colour(it.category, it.colour)}"
    yield "colour", text, _coloured(views, it.category, {it.colour})
    for colour in COLOURS:
        if colour == it.colour:
            continue
        verb = f"does not wear {colour}" if is_person(it.category) else f"is not {colour}"
        yield "other colour", f"{_the(rng, it)} {verb}", _coloured(views, it.category, {*COLOURS} - {colour})
        first, second = rng.sample((colour, it.colour), 2)
        text = f"{_the(rng, it)} {has_colour(it.category, first)} or {second}"
        yield "either colour", text, _coloured(views, it.category, {first, second})
    if it.size:
        # Things that are neither small nor large are not judged: nobody could say where small begins.
        labels = _judge(views, lambda other: _truth(other.size == it.size) if other.size else None, it.category)
        yield "size", f"{_the(rng, it)} is {it.size}", labels


def _the(rng: random.Random, it: SceneObject) -> str:
    return f"the {choose_noun(rng, it.category, _SYNONYM_SHARE).singular}"


def _judge(views: _Views, judge: Callable[..., int | None], *categories: str) -> list[int | None]:
    """The judgement of the only things of some categories; open if one of them is not there, None if there are more."""

    def judged(crowds: Sequence[list[SceneObject]]) -> int | None:
        if any(len(crowd) > 1 for crowd in crowds):
            return None
        return judge(*(crowd[0] for crowd in crowds)) if all(crowds) else _OPEN

    return [judged([view.get(category, []) for category in categories]) for view in views]


def _truth(holds: bool) -> int:
    return _ENTAILED if holds else _CONTRADICTED


def _coloured(views: _Views, category: str, colours: Collection[str]) -> list[int | None]:
    return _judge(views, lambda it: _truth(it.colour in colours), category)


def _left_of(a: SceneObject, b: SceneObject) -> int | None:
    """Things that are neither clearly left nor clearly right of each other are not judged."""
    return _ENTAILED if is_left_of(a, b) else _CONTRADICTED if is_left_of(b, a) else None
