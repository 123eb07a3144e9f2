"""Captions: sentences that are true of a scene.

A caption mentions two to four objects, says where they are when it can, and uses the words that people use, synonyms
included. Each template below takes what it needs from the scene, or gives up where the scene has no such thing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmf_muvla.toyworld.scenes import (
    Scene,
    SceneObject,
    is_above,
    is_left_of,
    is_near,
    is_on,
    is_under,
    objects_by_category,
)
from mmf_muvla.toyworld.vocabulary import SIZE_WORDS, THEMES, Noun
from mmf_muvla.toyworld.wording import (
    NUMBER_WORDS,
    capitalised,
    choose_noun,
    coloured,
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


def caption_scene(rng: random.Random, scene: Scene) -> str:
    """One caption that is true of the scene.

    Args:
        rng: every choice comes from here.
        scene: a scene with at least two objects.

    Returns:
        A sentence that mentions two to four of the scene's objects.
    """
    narrator = _Narrator(rng, scene)
    templates = list(_TEMPLATES)
    rng.shuffle(templates)
    # The last resort suits every scene with two objects, so that the search always ends.
    sentence = next(text for template in [*templates, _pair] if (text := template(narrator)) is not None)
    if rng.random() < _PLAIN_STYLE_SHARE:
        return sentence
    return capitalised(sentence) + "."


def distinct_captions(rng: random.Random, scene: Scene, count: int) -> list[str]:
    """``count`` different captions of one scene."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[caption_scene(rng, scene)] = None
    return list(found)


def caption_corpus(rng: random.Random, scenes: Iterator[Scene], count: int) -> list[str]:
    """Captions of many scenes, two of each, no sentence twice, until there are ``count``."""
    found: dict[str, None] = {}
    for scene in scenes:
        for caption in distinct_captions(rng, scene, 2):
            found[caption] = None
            if len(found) == count:
                return list(found)
    raise AssertionError("the supply of scenes has no end")


class _Narrator:
    """Looks at one scene and finds words for what is there."""

    def __init__(self, rng: random.Random, scene: Scene):
        self.rng = rng
        self.scene = scene
        self.crowds = objects_by_category(scene)

    # -- picking ------------------------------------------------------------------------------------------

    def objects(self, count: int, but_not: tuple[SceneObject, ...] = ()) -> list[SceneObject] | None:
        """``count`` objects of different categories, none of a category in ``but_not``."""
        taken = {o.category for o in but_not}
        categories = [category for category in self.crowds if category not in taken]
        if len(categories) < count:
            return None
        return [self.rng.choice(self.crowds[category]) for category in self.rng.sample(categories, count)]

    def crowd(self) -> list[SceneObject] | None:
        """All objects of one category that occurs more than once."""
        crowds = [crowd for crowd in self.crowds.values() if len(crowd) > 1]
        return self.rng.choice(crowds) if crowds else None

    def relation(self, *kinds: str) -> _Relation | None:
        """A relation that holds, of one of the kinds if any are given. Telling ones are preferred."""
        rng, scene = self.rng, self.scene
        found: dict[str, list[_Relation]] = {}
        for a in scene.objects:
            for b in scene.objects:
                if a.category == b.category:
                    continue
                for kind in _relations_between(a, b, scene):
                    if not kinds or kind in kinds:
                        found.setdefault(kind, []).append(_Relation(kind, a, b))
        telling = [kind for kind in ("on", "under", "near", "above") if kind in found]
        if telling and rng.random() < 0.75:
            return rng.choice(found[rng.choice(telling)])
        return rng.choice(found[rng.choice(list(found))]) if found else None

    # -- wording ------------------------------------------------------------------------------------------

    def noun(self, scene_object: SceneObject) -> Noun:
        return choose_noun(self.rng, scene_object.category)

    def described(self, scene_object: SceneObject, colour_share: float = 0.6, size_share: float = 0.5) -> str:
        """ "small red car", "tall man in blue": some of the object's attributes around its noun."""
        size = ""
        if scene_object.size and self.rng.random() < size_share:
            size = self.rng.choice(SIZE_WORDS[scene_object.size])
        colour = scene_object.colour if self.rng.random() < colour_share else ""
        return coloured(scene_object.category, self.noun(scene_object).singular, colour, size)

    def a(self, scene_object: SceneObject) -> str:
        """ "a small red car" """
        return with_article(self.described(scene_object))

    def many(self, crowd: list[SceneObject]) -> str:
        """ "three white sheep"; the colour only where all share it."""
        colour = crowd[0].colour if len({o.colour for o in crowd}) == 1 else ""
        return f"{NUMBER_WORDS[len(crowd)]} {coloured(crowd[0].category, self.noun(crowd[0]).plural, colour)}"

    def doing(self, scene_object: SceneObject) -> str:
        return posture(self.rng, scene_object.category)

    def preposition(self, relation: _Relation) -> str:
        return self.rng.choice(_PREPOSITIONS[relation.kind])

    def place(self) -> str:
        return self.rng.choice(THEMES[self.scene.theme].places)

    def maybe_place(self) -> str:
        return f" {self.place()}" if self.rng.random() < _PLACE_SHARE else ""


def _relations_between(a: SceneObject, b: SceneObject, scene: Scene) -> list[str]:
    """Every kind of relation in which ``a`` stands to ``b``."""
    if is_on(a, b):
        return ["on"]
    if is_under(a, b):
        return ["under"]
    kinds = []
    if is_above(a, b):
        kinds.append("above")
    if is_near(a, b, scene):
        kinds.append("near")
    if is_left_of(a, b):
        kinds.append("left")
    elif is_left_of(b, a):
        kinds.append("right")
    return kinds


# ---- templates: each returns a sentence without capital and full stop, or None ---------------------------


def _simple_relation(n: _Narrator) -> str | None:
    """a brown dog sitting under a table in a kitchen"""
    if (r := n.relation()) is None:
        return None
    return f"{n.a(r.a)} {n.doing(r.a)} {n.preposition(r)} {n.a(r.b)}{n.maybe_place()}"


def _is_relation(n: _Narrator) -> str | None:
    """a cup is on a brown table"""
    if (r := n.relation()) is None:
        return None
    return f"{n.a(r.a)} is {n.preposition(r)} {n.a(r.b)}{n.maybe_place()}"


def _there_is(n: _Narrator) -> str | None:
    """there is a kite above a tree"""
    if (r := n.relation()) is None:
        return None
    return f"there is {n.a(r.a)} {n.preposition(r)} {n.a(r.b)}{n.maybe_place()}"


def _we_can_see(n: _Narrator) -> str | None:
    if (r := n.relation()) is None:
        return None
    opening = n.rng.choice(("we can see", "you can see", "the picture shows", "the photo shows", "this is"))
    return f"{opening} {n.a(r.a)} {n.preposition(r)} {n.a(r.b)}"


def _photo_of(n: _Narrator) -> str | None:
    if (r := n.relation()) is None:
        return None
    opening = n.rng.choice(("a photo of", "a picture of", "a close view of", "an image of"))
    return f"{opening} {n.a(r.a)} {n.preposition(r)} {n.a(r.b)}{n.maybe_place()}"


def _relative_clause(n: _Narrator) -> str | None:
    """a car that is red is parked next to a tree"""
    if (r := n.relation()) is None:
        return None
    noun = with_article(n.noun(r.a).singular)
    return f"{noun} that {has_colour(r.a.category, r.a.colour)} is {n.doing(r.a)} {n.preposition(r)} {n.a(r.b)}"


def _which_clause(n: _Narrator) -> str | None:
    """a sofa, which is gray, stands to the left of a small lamp"""
    if (r := n.relation("left", "right", "near")) is None or is_person(r.a.category):
        return None
    noun = with_article(n.noun(r.a).singular)
    return f"{noun}, which is {r.a.colour}, can be found {n.preposition(r)} {n.a(r.b)}{n.maybe_place()}"


def _predicate_colour(n: _Narrator) -> str | None:
    """the mug on the brown table is white"""
    if (r := n.relation("on", "under", "near", "above")) is None or len(n.crowds[r.a.category]) > 1:
        return None
    predicate = has_colour(r.a.category, r.a.colour)
    return f"the {n.noun(r.a).singular} {n.preposition(r)} the {n.described(r.b)} {predicate}"


def _carrier_first(n: _Narrator) -> str | None:
    """a table with a bowl and a cup on it"""
    if (r := n.relation("on", "under")) is None:
        return None
    company = [o for o in n.scene.objects if r.kind in _relations_between(o, r.b, n.scene)]
    company = [o for o in company if o.category not in (r.a.category, r.b.category)]
    things = listing([n.a(o) for o in (r.a, *company[:1])])
    return f"{n.a(r.b)} with {things} {r.kind} it{n.maybe_place()}"


def _somebody_left(n: _Narrator) -> str | None:
    """somebody left a phone on the couch"""
    if (r := n.relation("on")) is None or r.a.category == "cat":
        return None
    who = n.rng.choice(("somebody", "someone"))
    verb = n.rng.choice(("left", "has put", "placed"))
    return f"{who} {verb} {n.a(r.a)} {n.preposition(r)} {n.a(r.b)}{n.maybe_place()}"


def _while(n: _Narrator) -> str | None:
    """a horse is standing near a house while a dog is resting"""
    if (r := n.relation()) is None or (other := n.objects(1, (r.a, r.b))) is None:
        return None
    c = other[0]
    return f"{n.a(r.a)} is {n.doing(r.a)} {n.preposition(r)} {n.a(r.b)} while {n.a(c)} is {n.doing(c)}{n.maybe_place()}"


def _two_relations(n: _Narrator) -> str | None:
    """a cup is on the table and a cat is under it"""
    first, second = n.relation("on"), n.relation("under", "near")
    if first is None or second is None or second.b is not first.b or second.a.category == first.a.category:
        return None
    return f"{n.a(first.a)} is {n.preposition(first)} {n.a(first.b)} and {n.a(second.a)} is {n.preposition(second)} it"


def _with_company(n: _Narrator) -> str | None:
    """a red kite over a tree, with a boy and a dog in the same scene"""
    if (r := n.relation()) is None or (others := n.objects(2, (r.a, r.b))) is None:
        return None
    return f"{n.a(r.a)} {n.preposition(r)} {n.a(r.b)}, with {listing([n.a(o) for o in others])} in the same scene"


def _three_things(n: _Narrator) -> str | None:
    if (things := n.objects(3)) is None:
        return None
    return f"{listing([n.a(o) for o in things])}{n.maybe_place()}"


def _with(n: _Narrator) -> str | None:
    """a woman with a dog and a ball in the park"""
    if (things := n.objects(3)) is None:
        return None
    return f"{n.a(things[0])} with {n.a(things[1])} and {n.a(things[2])} {n.place()}"


def _place_first(n: _Narrator) -> str | None:
    """in a kitchen there are a bowl, an apple and a chair"""
    if (things := n.objects(n.rng.choice((2, 3)))) is None:
        return None
    return f"{n.place()} there are {listing([n.a(o) for o in things])}"


def _besides(n: _Narrator) -> str | None:
    if (things := n.objects(2)) is None:
        return None
    return f"{n.rng.choice(('besides', 'in addition to'))} {n.a(things[0])}, there is {n.a(things[1])} {n.place()}"


def _group(n: _Narrator) -> str | None:
    """three sheep standing on a farm with a red tractor"""
    if (crowd := n.crowd()) is None or (other := n.objects(1, (crowd[0],))) is None:
        return None
    return f"{n.many(crowd)} {n.doing(crowd[0])} {n.place()} with {n.a(other[0])}"


def _group_and(n: _Narrator) -> str | None:
    if (crowd := n.crowd()) is None or (others := n.objects(n.rng.choice((1, 2)), (crowd[0],))) is None:
        return None
    opening = n.rng.choice(("there are", "we see", "here are"))
    return f"{opening} {listing([n.many(crowd), *(n.a(o) for o in others)])}{n.maybe_place()}"


def _one_of_several(n: _Narrator) -> str | None:
    """two cars and a tree, where one of the cars is blue"""
    if (crowd := n.crowd()) is None or (other := n.objects(1, (crowd[0],))) is None:
        return None
    one = n.rng.choice(crowd)
    if sum(o.colour == one.colour for o in crowd) != 1:
        return None
    plural = n.noun(one).plural
    return (
        f"{NUMBER_WORDS[len(crowd)]} {plural} and {n.a(other[0])}{n.maybe_place()}, "
        f"where one of the {plural} {has_colour(one.category, one.colour)}"
    )


def _not_far(n: _Narrator) -> str | None:
    """not far from a bench, two ducks are walking about"""
    if (r := n.relation("near")) is None:
        return None
    return f"not far from {n.a(r.b)}, {n.a(r.a)} is {n.doing(r.a)}{n.maybe_place()}"


def _size_contrast(n: _Narrator) -> str | None:
    """the chair beside the table is small"""
    if (r := n.relation("near", "on", "under")) is None or r.a.size is None or len(n.crowds[r.a.category]) > 1:
        return None
    a = n.described(r.a, size_share=0)
    return f"the {a} {n.preposition(r)} {n.a(r.b)} is rather {n.rng.choice(SIZE_WORDS[r.a.size][:2])}"


def _pair(n: _Narrator) -> str | None:
    if (things := n.objects(2)) is None:
        first, second = n.scene.objects[:2]
        return f"{n.a(first)} and {n.a(second)}"
    return f"{listing([n.a(o) for o in things])} {n.place()}"


_TEMPLATES: tuple[Callable[[_Narrator], str | None], ...] = (
    _simple_relation,
    _is_relation,
    _there_is,
    _we_can_see,
    _photo_of,
    _relative_clause,
    _which_clause,
    _predicate_colour,
    _carrier_first,
    _somebody_left,
    _while,
    _two_relations,
    _with_company,
    _three_things,
    _with,
    _place_first,
    _besides,
    _group,
    _group_and,
    _one_of_several,
    _not_far,
    _size_contrast,
    _pair,
)
