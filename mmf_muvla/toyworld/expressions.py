"""Referring expressions: words that single out one object of a scene, in the way of RefCOCO+.

Only scenes with several objects of one category are used, and in such a scene *every* object is referred to equally
often, so that the picture alone does not tell which one is meant. An object that is the only one of its category shares
what else the words say with another object: "red dog" is used where something else is red, too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.scenes import Box, Scene, SceneObject, gap, is_left_of, is_near, is_on, objects_by_category
from mmf_muvla.toyworld.vocabulary import Noun
from mmf_muvla.toyworld.wording import choose_noun, coloured

KINDS = ("colour", "size", "leftmost", "rightmost", "on", "near", "left of", "right of")

_SYNONYM_SHARE = 0.3
_CLEAR_MARGIN = 0.05  # of the picture's width: the outermost object is so much farther out than the next
_CLEAR_GAP = 0.16  # of the picture's width: what is not "next to" a thing is so far away from it; near is up to 0.08
_CLEAR_RATIO = 1.15  # a small thing is so much lower than the others of its category in view

_Fits = Callable[[SceneObject], bool]
_Phrase = tuple[str, str, _Fits, _Fits]
"""Kind, words, what is said beside the category, and what makes that clearly false."""


@dataclass(frozen=True)
class Expression:
    """Words for one object of one image. ``box`` is the object's true one, in pixels."""

    kind: str
    text: str
    image_id: str
    box: Box

    def to_record(self, number: int, object_number: int, split: str) -> dict[str, object]:
        """The line of RefCOCO+'s files; the numbers count expressions, and objects that are referred to."""
        return {
            "sent_id": number,
            "ref_id": object_number,
            "image_id": self.image_id,
            "file_name": f"{self.image_id}.jpg",
            "sentence": self.text,
            "split": split,
            "bbox": list(self.box),
        }


def refer(rng: random.Random, scenes: Sequence[Scene], count: int) -> list[Expression]:
    """Expressions for all objects of some of the scenes, as many as fit into ``count``, in random order.

    Raises:
        InputError: the scenes do not offer enough objects that words single out.
    """
    used: Counter[str] = Counter()
    waiting = [describe(rng, scene) for scene in scenes if len(objects_by_category(scene)) < len(scene.objects)]
    chosen: list[Expression] = []
    while waiting:
        rng.shuffle(waiting)
        waiting = [described for described in waiting if all(described)]  # every object has words (left)
        for described in waiting:
            if len(chosen) + len(described) > count:
                rng.shuffle(chosen)
                return chosen
            for expressions in described:
                expression = min(expressions, key=lambda it: used[it.kind])
                expressions.remove(expression)
                used[expression.kind] += 1
                chosen.append(expression)
    problem, remedy = f"words single out only {len(chosen)} objects", "Ask for fewer expressions or make more scenes"
    raise InputError(f"{count} referring expressions on {len(scenes)} scenes", problem, remedy)


def describe(rng: random.Random, scene: Scene) -> list[list[Expression]]:
    """For every object of the scene the expressions that single it out, in random order."""
    described = []
    for it in scene.objects:
        found = [
            Expression(kind, text, scene.image_id, it.box)
            for kind, text, fits, fails in _phrases(rng, scene, it)
            if _singles_out(scene, it, fits, fails)
        ]
        rng.shuffle(found)
        described.append(found)
    return described


def _singles_out(scene: Scene, it: SceneObject, fits: _Fits, fails: _Fits) -> bool:
    """Whether what is said is true of the object, clearly false of its like, or true of something unlike it."""
    others = [other for other in scene.objects if other is not it]
    like = [other for other in others if other.category == it.category]
    return fits(it) and (all(map(fails, like)) if like else any(map(fits, others)))


def _phrases(rng: random.Random, scene: Scene, it: SceneObject) -> Iterator[_Phrase]:
    """Everything that could be said of an object, whether it is true or not."""
    noun = choose_noun(rng, it.category, _SYNONYM_SHARE).singular
    crowds = objects_by_category(scene)

    def same_colour(other: SceneObject) -> bool:
        return other.colour == it.colour

    yield "colour", coloured(it.category, noun, it.colour), same_colour, _no(same_colour)
    if it.size:
        yield "size", f"{it.size} {noun}", lambda other: other.size == it.size, partial(_differs_in_size, it)
    crowd = crowds.pop(it.category)
    if len(crowd) > 1:
        yield from _outermost(scene, it, noun, lambda other: True)
        if 1 < sum(map(same_colour, crowd)) < len(crowd):
            yield from _outermost(scene, it, coloured(it.category, noun, it.colour), same_colour)
    for category, landmarks in crowds.items():
        yield from _around(scene, noun, landmarks, choose_noun(rng, category, _SYNONYM_SHARE))


def _outermost(scene: Scene, it: SceneObject, words: str, among: _Fits) -> Iterator[_Phrase]:
    """The object farthest to the left or right among some of its category."""
    margin = _CLEAR_MARGIN * scene.width
    left_edge, right_edge = it.centre_x + margin, it.centre_x - margin

    def fits(other: SceneObject) -> bool:
        return other is it

    yield "leftmost", f"leftmost {words}", fits, lambda other: not among(other) or other.centre_x > left_edge
    yield "rightmost", f"rightmost {words}", fits, lambda other: not among(other) or other.centre_x < right_edge


def _around(scene: Scene, noun: str, landmarks: Sequence[SceneObject], name: Noun) -> Iterator[_Phrase]:
    """What is on one side of all objects of another category, or on or next to the only one."""
    first, *more = landmarks
    the = f"the {name.plural if more else name.singular}"
    # A landmark itself never fits: nothing is on, next to, or on one side of itself.
    on, near = partial(is_on, b=first), partial(is_near, b=first, scene=scene)

    def left(it: SceneObject) -> bool:
        return all(is_left_of(it, landmark) for landmark in landmarks)

    def right(it: SceneObject) -> bool:
        return all(is_left_of(landmark, it) for landmark in landmarks)

    if not more:
        yield "on", f"{noun} on {the}", on, _no(on)
        yield "near", f"{noun} next to {the}", near, lambda it: gap(it, first) > _CLEAR_GAP * scene.width
    leftmost, rightmost = min(it.centre_x for it in landmarks), max(it.centre_x for it in landmarks)
    yield "left of", f"{noun} to the left of {the}", left, lambda it: it.centre_x > leftmost
    yield "right of", f"{noun} to the right of {the}", right, lambda it: it.centre_x < rightmost


def _no(fits: _Fits) -> _Fits:
    return lambda it: not fits(it)


def _differs_in_size(it: SceneObject, other: SceneObject) -> bool:
    """Whether the size tells two things of one category apart in the picture, too."""
    lower, higher = (it.height, other.height) if it.size == "small" else (other.height, it.height)
    return other.size != it.size and higher > _CLEAR_RATIO * lower
