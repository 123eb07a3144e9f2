"""Captions: sentences that are true of a scene.

A caption mentions two to four objects, says where they are when it can, and uses the words that people use, synonyms
included. Each template takes what it needs from the scene, or gives up where the scene has no such thing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations, repeat

from mmf_muvla.toyworld.scenes import Scene, SceneObject, objects_by_category, relations_between
from mmf_muvla.toyworld.vocabulary import SIZE_WORDS, THEMES
from mmf_muvla.toyworld.wording import (
    NUMBER_WORDS,
    capitalised,
    choose_noun,
    coloured,
    first_distinct,
    has_colour,
    is_person,
    listing,
    posture,
    with_article,
)

_PREPOSITIONS = {
    "on": ("on", "on top of"),
    "under": ("under", "underneath", "beneath"),
    "above": ("above", "over"),
    "near": ("next to", "beside", "near", "close to"),
    "left": ("to the left of", "on the left side of"),
    "right": ("to the right of", "on the right side of"),
}
_PLACE_SHARE = 0.25  # of the captions that need not say where they are: mostly, things are what must be looked at
_PLAIN_STYLE_SHARE = 0.3  # lower case without a full stop, as captions from the web are


@dataclass(frozen=True)
class _Relation:
    """``a`` is <kind> ``b``."""

    kind: str
    a: SceneObject
    b: SceneObject


class _Absent(Exception):
    """A scene does not have what a template speaks of."""


def caption_scene(rng: random.Random, scene: Scene) -> str:
    """One caption that is true of the scene, which has at least two objects; every choice comes from ``rng``."""
    narrator = _Narrator(rng, scene)
    templates = list(_TEMPLATES)
    rng.shuffle(templates)
    for template in [*templates, _pair]:  # the last resort suits every scene with two objects
        with suppress(_Absent):
            sentence = template(narrator)
            break
    return sentence if rng.random() < _PLAIN_STYLE_SHARE else capitalised(sentence) + "."


def distinct_captions(rng: random.Random, scene: Scene, count: int) -> list[str]:
    """``count`` different captions of one scene."""
    return first_distinct((caption_scene(rng, scene) for _ in repeat(None)), count)


def caption_corpus(rng: random.Random, scenes: Iterator[Scene], count: int) -> list[str]:
    """Captions of endless scenes, two of each, no sentence twice, until there are ``count``."""
    return first_distinct((caption for scene in scenes for caption in distinct_captions(rng, scene, 2)), count)


class _Narrator:
    """Looks at one scene and finds words for what is there."""

    def __init__(self, rng: random.Random, scene: Scene):
        self.rng = rng
        self.scene = scene
        self.crowds = objects_by_category(scene)

    def objects(self, count: int, *but_not: SceneObject) -> list[SceneObject]:
        """``count`` objects of different categories, none of a category in ``but_not``."""
        taken = {it.category for it in but_not}
        categories = [category for category in self.crowds if category not in taken]
        if len(categories) < count:
            raise _Absent
        return [self.rng.choice(self.crowds[category]) for category in self.rng.sample(categories, count)]

    def crowd(self) -> list[SceneObject]:
        """All objects of one category that occurs more than once."""
        crowds = [crowd for crowd in self.crowds.values() if len(crowd) > 1]
        if not crowds:
            raise _Absent
        return self.rng.choice(crowds)

    def relation(self, *kinds: str) -> _Relation:
        """A relation that holds, of one of the kinds if any are given. Telling ones are preferred."""
        found: dict[str, list[_Relation]] = {}
        for a, b in permutations(self.scene.objects, 2):
            for kind in relations_between(a, b, self.scene) if a.category != b.category else ():
                if not kinds or kind in kinds:
                    found.setdefault(kind, []).append(_Relation(kind, a, b))
        if not found:
            raise _Absent
        telling = [kind for kind in ("on", "under", "near", "above") if kind in found]
        if telling and self.rng.random() < 0.75:
            return self.rng.choice(found[self.rng.choice(telling)])
        return self.rng.choice(found[self.rng.choice(list(found))])

    def one_of(self, *phrases: str) -> str:
        return self.rng.choice(phrases)

    def noun(self, it: SceneObject) -> str:
        return choose_noun(self.rng, it.category).singular

    def kind(self, it: SceneObject) -> str:
        """ "a car" """
        return with_article(self.noun(it))

    def has_colour(self, it: SceneObject) -> str:
        return has_colour(it.category, it.colour)

    def described(self, it: SceneObject, size_share: float = 0.5) -> str:
        """ "small red car", "tall man in blue": some of the object's attributes around its noun."""
        size = self.one_of(*SIZE_WORDS[it.size]) if it.size and self.rng.random() < size_share else ""
        colour = it.colour if self.rng.random() < 0.6 else ""
        return coloured(it.category, self.noun(it), colour, size)

    def a(self, it: SceneObject) -> str:
        """ "a small red car" """
        return with_article(self.described(it))

    def all(self, objects: Iterable[SceneObject]) -> str:
        """ "a small red car, a man and a tree" """
        return listing([self.a(it) for it in objects])

    def many(self, crowd: list[SceneObject]) -> str:
        """ "three white sheep"; the colour only where all share it."""
        category, colours = crowd[0].category, {it.colour for it in crowd}
        plural = choose_noun(self.rng, category).plural
        return f"{NUMBER_WORDS[len(crowd)]} {coloured(category, plural, colours.pop() if len(colours) == 1 else '')}"

    def doing(self, it: SceneObject) -> str:
        return posture(self.rng, it.category)

    def where(self, relation: _Relation) -> str:
        return self.one_of(*_PREPOSITIONS[relation.kind])

    def to(self, relation: _Relation) -> str:
        """ "next to a tall man in blue" """
        return f"{self.where(relation)} {self.a(relation.b)}"

    def place(self) -> str:
        return self.one_of(*THEMES[self.scene.theme].places)

    def maybe_place(self) -> str:
        return f" {self.place()}" if self.rng.random() < _PLACE_SHARE else ""


_Template = Callable[[_Narrator], str]
_SHOWS = ("we can see", "you can see", "the picture shows", "the photo shows", "this is")
_PHOTO_OF = ("a photo of", "a picture of", "a close view of", "an image of")


def _relation(words: Callable[[_Narrator, _Relation], str], *kinds: str) -> _Template:
    """A template about two things, of which the first stands in one of the relations to the second."""
    return lambda n: words(n, n.relation(*kinds))


def _which_clause(n: _Narrator, r: _Relation) -> str:
    """a sofa, which is gray, can be found to the left of a small lamp"""
    if is_person(r.a.category):
        raise _Absent
    return f"{n.kind(r.a)}, which is {r.a.colour}, can be found {n.to(r)}{n.maybe_place()}"


def _predicate_colour(n: _Narrator, r: _Relation) -> str:
    """the mug on the brown table is white"""
    if len(n.crowds[r.a.category]) > 1:
        raise _Absent
    return f"the {n.noun(r.a)} {n.where(r)} the {n.described(r.b)} {n.has_colour(r.a)}"


def _carrier_first(n: _Narrator, r: _Relation) -> str:
    """a table with a bowl and a cup on it"""
    others = [it for it in n.scene.objects if it.category not in (r.a.category, r.b.category)]
    company = [it for it in others if r.kind in relations_between(it, r.b, n.scene)]
    things = n.all((r.a, *company[:1]))
    return f"{n.a(r.b)} with {things} {r.kind} it{n.maybe_place()}"


def _somebody_left(n: _Narrator, r: _Relation) -> str:
    """somebody left a phone on the couch"""
    if r.a.category == "cat":
        raise _Absent
    somebody_left = f"{n.one_of('somebody', 'someone')} {n.one_of('left', 'has put', 'placed')}"
    return f"{somebody_left} {n.a(r.a)} {n.to(r)}{n.maybe_place()}"


def _while(n: _Narrator, r: _Relation) -> str:
    """a horse is standing near a house while a dog is resting"""
    (other,) = n.objects(1, r.a, r.b)
    return f"{n.a(r.a)} is {n.doing(r.a)} {n.to(r)} while {n.a(other)} is {n.doing(other)}{n.maybe_place()}"


def _two_relations(n: _Narrator) -> str:
    """a cup is on the table and a cat is under it"""
    try:
        first = n.relation("on")
    finally:  # a choice that is made in any case: worlds stay as they are
        second = n.relation("under", "near")
    if second.b is not first.b or second.a.category == first.a.category:
        raise _Absent
    return f"{n.a(first.a)} is {n.to(first)} and {n.a(second.a)} is {n.where(second)} it"


def _with_company(n: _Narrator, r: _Relation) -> str:
    """a red kite over a tree, with a boy and a dog in the same scene"""
    others = n.objects(2, r.a, r.b)
    return f"{n.a(r.a)} {n.to(r)}, with {n.all(others)} in the same scene"


def _place_first(n: _Narrator) -> str:
    """in a kitchen there are a bowl, an apple and a chair"""
    things = n.objects(n.rng.choice((2, 3)))
    return f"{n.place()} there are {n.all(things)}"


def _besides(n: _Narrator) -> str:
    one, other = n.objects(2)
    return f"{n.one_of('besides', 'in addition to')} {n.a(one)}, there is {n.a(other)} {n.place()}"


def _group(n: _Narrator) -> str:
    """three sheep standing on a farm with a red tractor"""
    crowd = n.crowd()
    (other,) = n.objects(1, crowd[0])
    return f"{n.many(crowd)} {n.doing(crowd[0])} {n.place()} with {n.a(other)}"


def _group_and(n: _Narrator) -> str:
    crowd = n.crowd()
    others = n.objects(n.rng.choice((1, 2)), crowd[0])
    opening = n.one_of("there are", "we see", "here are")
    return f"{opening} {listing([n.many(crowd), *map(n.a, others)])}{n.maybe_place()}"


def _one_of_several(n: _Narrator) -> str:
    """two cars and a tree, where one of the cars is blue"""
    crowd = n.crowd()
    (other,) = n.objects(1, crowd[0])
    one = n.rng.choice(crowd)
    if sum(it.colour == one.colour for it in crowd) != 1:
        raise _Absent
    plural = choose_noun(n.rng, one.category).plural
    things = f"{NUMBER_WORDS[len(crowd)]} {plural} and {n.a(other)}{n.maybe_place()}"
    return f"{things}, where one of the {plural} {n.has_colour(one)}"


def _size_contrast(n: _Narrator, r: _Relation) -> str:
    """the chair beside the table is small"""
    if r.a.size is None or len(n.crowds[r.a.category]) > 1:
        raise _Absent
    return f"the {n.described(r.a, size_share=0)} {n.to(r)} is rather {n.one_of(*SIZE_WORDS[r.a.size][:2])}"


def _pair(n: _Narrator) -> str:
    if len(n.crowds) < 2:
        return n.all(n.scene.objects[:2])
    return f"{n.all(n.objects(2))} {n.place()}"


_TEMPLATES: tuple[_Template, ...] = (
    # a brown dog sitting under a table in a kitchen
    _relation(lambda n, r: f"{n.a(r.a)} {n.doing(r.a)} {n.to(r)}{n.maybe_place()}"),
    _relation(lambda n, r: f"{n.a(r.a)} is {n.to(r)}{n.maybe_place()}"),
    _relation(lambda n, r: f"there is {n.a(r.a)} {n.to(r)}{n.maybe_place()}"),
    _relation(lambda n, r: f"{n.one_of(*_SHOWS)} {n.a(r.a)} {n.to(r)}"),
    _relation(lambda n, r: f"{n.one_of(*_PHOTO_OF)} {n.a(r.a)} {n.to(r)}{n.maybe_place()}"),
    # a car that is red is parked next to a tree
    _relation(lambda n, r: f"{n.kind(r.a)} that {n.has_colour(r.a)} is {n.doing(r.a)} {n.to(r)}"),
    _relation(_which_clause, "left", "right", "near"),
    _relation(_predicate_colour, "on", "under", "near", "above"),
    _relation(_carrier_first, "on", "under"),
    _relation(_somebody_left, "on"),
    _relation(_while),
    _two_relations,
    _relation(_with_company),
    lambda n: f"{n.all(n.objects(3))}{n.maybe_place()}",
    # a woman with a dog and a ball in the park
    lambda n: "{} with {} and {} {}".format(*map(n.a, n.objects(3)), n.place()),
    _place_first,
    _besides,
    _group,
    _group_and,
    _one_of_several,
    _relation(lambda n, r: f"not far from {n.a(r.b)}, {n.a(r.a)} is {n.doing(r.a)}{n.maybe_place()}", "near"),
    _relation(_size_contrast, "near", "on", "under"),
    _pair,
)
