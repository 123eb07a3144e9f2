"""Scenes: themed places with objects in boxes, and the relations between them, which follow from the boxes alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, SHELTERED, SHELTERS, SIZES, SURFACES, THEMES, Theme

PICTURE_SIZES = ((640, 480), (640, 426), (500, 375), (480, 480))  # width and height in pixels
MIN_OBJECTS, MAX_OBJECTS = 3, 9

_SIZE_FACTORS = {"small": 0.70, None: 1.0, "large": 1.38}
_OBJECT_COUNT_WEIGHTS = (14, 20, 22, 18, 13, 8, 5)  # 3 to 9 objects, 5.4 on average
_PLACEMENT_TRIES = 12
# Between which shares of the picture and of what is above the ground the lower edges of things in a zone are.
_IN_THE_AIR = {"sky": (0.12, 1.0), "wall": (0.16, 0.9)}

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels from the upper left corner
_Frame = tuple[int, int, float]  # a picture's width and height, and where its ground begins from above
_Placed = list[tuple[float, "SceneObject"]]  # with the depth key that decides the drawing order


@dataclass(frozen=True)
class SceneObject:
    """One thing in a scene. ``size`` is ``"small"``, ``"large"`` or None; ``box`` is in pixels."""

    category: str
    colour: str
    size: str | None
    box: Box

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def centre_x(self) -> float:
        return (self.box[0] + self.box[2]) / 2


@dataclass(frozen=True)
class Scene:
    """A picture's ground truth. ``objects`` are in drawing order, from the back to the front."""

    image_id: str
    theme: str
    width: int
    height: int
    objects: tuple[SceneObject, ...]

    def to_record(self) -> dict[str, Any]:
        """The line of ``scenes.jsonl`` that tells this scene."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Scene:
        objects = tuple(SceneObject(**{**it, "box": tuple(it["box"])}) for it in record["objects"])
        return cls(**{**record, "objects": objects})


LABELS = {"category": tuple(CATEGORIES), "colour": COLOURS, "size": (None, *SIZES)}
"""What can be told of an object, and its values."""


def numbers_of(objects: Iterable[SceneObject], label: str) -> list[int]:
    """The number of each object's value of a label in :data:`LABELS`."""
    return [LABELS[label].index(getattr(it, label)) for it in objects]


def generate_scenes(
    rng: random.Random,
    count: int,
    first_image_id: int,
    colour_habit: float,
    crowd_probability: float,
    *,
    themes: Sequence[Theme] = tuple(THEMES.values()),
    stray_probability: float = 0.0,
) -> Iterator[Scene]:
    """Make ``count`` scenes, whose image ids count up from ``first_image_id``.

    Args:
        colour_habit: probability that an object takes one of its category's usual colours; else all are equally likely.
        crowd_probability: probability that a scene holds a group of one gregarious category.
        themes: the kinds of place to choose from.
        stray_probability: probability that an object (not of a group) is of any category at all, wherever it lives.
    """
    for number in range(count):
        theme, (width, height) = rng.choice(themes), rng.choice(PICTURE_SIZES)
        names = _choose_categories(rng, theme, crowd_probability, stray_probability)
        objects = _place(rng, (width, height, theme.horizon * height), names, colour_habit)
        yield Scene(str(first_image_id + number), theme.name, width, height, objects)


def _choose_categories(
    rng: random.Random, theme: Theme, crowd_probability: float, stray_probability: float
) -> list[str]:
    """Category names of one scene's objects, repeats included."""
    total = rng.choices(range(MIN_OBJECTS, MAX_OBJECTS + 1), _OBJECT_COUNT_WEIGHTS)[0]
    pool = dict(theme.weights)
    names: list[str] = []
    if rng.random() < crowd_probability:
        crowd = rng.choice([name for name in pool if CATEGORIES[name].gregarious])
        names += [crowd] * min(rng.randint(2, 4), total - 1)
        del pool[crowd]
    while len(names) < total and pool:
        # No chance is drawn where there are no strays: worlds without them stay as they are.
        if stray_probability and rng.random() < stray_probability:
            names.append(rng.choice([name for name in CATEGORIES if name not in names]))
        else:
            names += rng.choices(list(pool), list(pool.values()))
        pool.pop(names[-1], None)
    return names


def _place(rng: random.Random, frame: _Frame, names: list[str], colour_habit: float) -> tuple[SceneObject, ...]:
    """Give every object a look and a box: far things first, then what stands on or under other things."""
    looks = []
    for name in names:
        colour = rng.choice(CATEGORIES[name].colours if rng.random() < colour_habit else COLOURS)
        looks.append((name, colour, rng.choices(("small", None, "large"), (2, 6, 2))[0]))
    # Carriers come first, so that the things on and under them find their places.
    looks.sort(key=lambda look: look[0] not in SURFACES and look[0] not in SHELTERS)
    placed: _Placed = []
    for name, colour, size in looks:
        least = math.inf
        for _ in range(_PLACEMENT_TRIES):  # until little is hidden
            depth_key, box, host = _propose(rng, frame, name, size, placed)
            clutter = sum(cover(box, other.box) for _, other in placed if other is not host)
            if clutter < least:
                least, best = clutter, (depth_key, SceneObject(name, colour, size, box))
            if clutter < 0.02:
                break
        placed.append(best)
    return tuple(it for _, it in sorted(placed, key=lambda item: item[0]))


def _propose(
    rng: random.Random, frame: _Frame, name: str, size: str | None, placed: _Placed
) -> tuple[float, Box, SceneObject | None]:
    """One random place: its depth key (larger is nearer), its box, and what carries or shelters the object."""
    category, (width, height, top_of_ground) = CATEGORIES[name], frame
    object_height = category.height * height * _SIZE_FACTORS[size]
    object_width = min(object_height * category.aspect, 0.62 * width)
    object_height = object_width / category.aspect

    hosts: list[tuple[float, SceneObject, float]] = []
    if category.zone == "surface":
        carriers = [(key, o) for key, o in placed if o.category in SURFACES and o.width > 1.2 * object_width]
        if carriers and rng.random() < 0.85:
            hosts = [(key + 0.001, o, _level(o, SURFACES)) for key, o in carriers]
    if not hosts and name in SHELTERED and rng.random() < 0.30:
        hosts = [(key + 0.002, o, o.box[3]) for key, o in placed if _fits_under(object_width, object_height, o)]
    if hosts:
        depth_key, host, bottom = rng.choice(hosts)
        x = rng.uniform(host.box[0], host.box[2] - object_width)
        return depth_key, _box(x, bottom, object_width, object_height), host

    x = rng.uniform(0.01 * width, 0.99 * width - object_width)
    if category.zone in _IN_THE_AIR:
        highest, lowest = _IN_THE_AIR[category.zone]
        bottom = rng.uniform(max(highest * height, object_height + 2), lowest * top_of_ground)
        return 0.0, _box(x, bottom, object_width, object_height), None
    # Far things stand higher in the picture and look smaller.
    nearness = rng.random()
    scale = 0.72 + 0.28 * nearness
    bottom = top_of_ground + (0.18 + 0.80 * nearness) * (height - top_of_ground)
    object_width, object_height = object_width * scale, object_height * scale
    bottom = max(bottom, object_height + 2)
    x = rng.uniform(0.01 * width, 0.99 * width - object_width)
    return 1.0 + nearness, _box(x, bottom, object_width, object_height), None


def _fits_under(width: float, height: float, it: SceneObject) -> bool:
    shelter = SHELTERS.get(it.category)
    return shelter is not None and width < 0.8 * it.width and height < (1 - shelter) * it.height


def _box(x: float, bottom: float, width: float, height: float) -> Box:
    return (round(x, 1), round(bottom - height, 1), round(x + width, 1), round(bottom, 1))


def cover(a: Box, b: Box) -> float:
    """Shared area as a share of the smaller box."""
    w, h = (min(a[side + 2], b[side + 2]) - max(a[side], b[side]) for side in (0, 1))
    return max(w, 0) * max(h, 0) / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def objects_by_category(scene: Scene) -> dict[str, list[SceneObject]]:
    """The scene's objects, those of one category together; categories and objects in the scene's order."""
    found: dict[str, list[SceneObject]] = {}
    for it in scene.objects:
        found.setdefault(it.category, []).append(it)
    return found


def relations_between(a: SceneObject, b: SceneObject, scene: Scene) -> list[str]:
    """Every kind of relation in which ``a`` stands to ``b``; where it is on or under it, no other."""
    if is_on(a, b):
        return ["on"]
    if is_under(a, b):
        return ["under"]
    kinds = {"above": is_above(a, b), "near": is_near(a, b, scene), "left": is_left_of(a, b)}
    kinds["right"] = not kinds["left"] and is_left_of(b, a)
    return [kind for kind, holds in kinds.items() if holds]


def is_on(a: SceneObject, b: SceneObject) -> bool:
    """Whether ``a`` stands on the furniture ``b``."""
    if b.category not in SURFACES or CATEGORIES[a.category].zone != "surface":
        return False
    return _is_within_sides(a, b) and abs(a.box[3] - _level(b, SURFACES)) <= 1


def is_under(a: SceneObject, b: SceneObject) -> bool:
    """Whether ``a`` is under the roof of ``b`` (a table's top, a tree's crown)."""
    if b.category not in SHELTERS or a.category not in SHELTERED:
        return False
    return _is_within_sides(a, b) and a.box[1] >= _level(b, SHELTERS) - 1 and abs(a.box[3] - b.box[3]) <= 1


def is_left_of(a: SceneObject, b: SceneObject) -> bool:
    """Whether ``a`` ends, or nearly ends, before ``b`` begins."""
    return a.box[2] - b.box[0] <= 0.15 * min(a.width, b.width)


def is_right_of(a: SceneObject, b: SceneObject) -> bool:
    return is_left_of(b, a)


def is_above(a: SceneObject, b: SceneObject) -> bool:
    """Whether ``a`` is in the air, or on the wall, over ``b``."""
    overlap = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    return CATEGORIES[a.category].zone in _IN_THE_AIR and a.box[3] <= b.box[1] + 1 and overlap > 0


def is_near(a: SceneObject, b: SceneObject, scene: Scene) -> bool:
    """Whether two things stand side by side with little room between them."""
    overlap = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    lower = min(a.height, b.height)
    return -0.2 * lower <= gap(a, b) <= 0.08 * scene.width and overlap >= 0.5 * lower


def gap(a: SceneObject, b: SceneObject) -> float:
    """How far two things are apart from left to right, in pixels; negative where they overlap."""
    return max(a.box[0] - b.box[2], b.box[0] - a.box[2])


def _is_within_sides(a: SceneObject, b: SceneObject) -> bool:
    return b.box[0] - 1 <= a.box[0] and a.box[2] <= b.box[2] + 1


def _level(it: SceneObject, shares: dict[str, float]) -> float:
    """Where its top (of :data:`SURFACES`) or its roof (of :data:`SHELTERS`) is, in pixels."""
    return it.box[1] + shares[it.category] * it.height
