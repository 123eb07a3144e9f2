"""Expressions single out one object, and neither words nor pictures tell alone which one."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.regions.boxes import intersection_over_union
from mmf_muvla.toyworld.blind import (
    grounding_chance,
    grounding_image_accuracies,
    grounding_text_accuracy,
)
from mmf_muvla.toyworld.detector import Detection, DetectorConfig, detect
from mmf_muvla.toyworld.expressions import KINDS, Expression, describe, refer
from mmf_muvla.toyworld.scenes import Box, Scene, SceneObject, is_near, is_on
from mmf_muvla.toyworld.tasks import Tasks
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS
from tests.toyworld.baselines import categories_in, sampling_error

SIZES = {"train": 1200, "val": 500, "test": 1000}


def singled_out(text: str, scene: Scene, same_category: bool = True) -> list[SceneObject]:
    """Read an expression again: the objects that it fits, or those that it fits beside the category."""
    words = text.split()
    category, *landmarks = categories_in(text)
    colours = [word for word in words if word in COLOURS]
    crowd = [it for it in scene.objects if it.category == category]
    candidates = crowd if same_category else list(scene.objects)
    if words[0] in ("leftmost", "rightmost"):
        outermost = min if words[0] == "leftmost" else max
        candidates = [it for it in candidates if not colours or it.colour in colours]
        return [outermost(candidates, key=lambda it: it.box[0] + it.box[2])]
    if landmarks:
        found = [it for it in scene.objects if it.category == landmarks[0]]
        plural = {noun.plural for noun in CATEGORIES[landmarks[0]].nouns} - {"sheep", "aircraft"}
        assert len(found) == 1 or words[-1] in plural | {"sheep", "aircraft"}
        assert len(found) > 1 or words[-1] not in plural
        return [it for it in candidates if it not in found and all(stands(text, it, mark, scene) for mark in found)]
    sizes = [word for word in words if word in ("small", "large")]
    assert colours or sizes, text
    return [it for it in candidates if it.colour in (colours or COLOURS) and (not sizes or it.size == sizes[0])]


def stands(text: str, it: SceneObject, landmark: SceneObject, scene: Scene) -> bool:
    x1, _, x2, _ = it.box
    slack = 0.2 * min(x2 - x1, landmark.box[2] - landmark.box[0])
    if "left" in text:
        return x2 < landmark.box[0] + slack
    if "right" in text:
        return x1 > landmark.box[2] - slack
    if "next" in text:
        return is_near(it, landmark, scene)
    assert " on " in text
    return is_on(it, landmark)


def thing(category: str, colour: str, size: str | None, *box: float) -> SceneObject:
    return SceneObject(category, colour, size, box)  # type: ignore[arg-type]


APPLES = Scene(
    "1",
    "kitchen",
    640,
    480,
    (
        thing("table", "brown", None, 100, 200, 300, 300),  # its top is at y = 206
        thing("apple", "red", "small", 150, 176, 180, 206),
        thing("apple", "green", None, 400, 400, 450, 450),
        thing("apple", "green", None, 560, 400, 610, 450),
        thing("banana", "red", None, 420, 100, 480, 130),
    ),
)
EXPECTED = [
    {"table to the left of the banana"},
    # Not "to the left of the banana": the second apple's middle is left of the banana's, too.
    {"red apple", "small apple", "leftmost apple", "apple on the table"},
    {"leftmost green apple"},  # the leftmost apple is the red one
    {"rightmost apple", "rightmost green apple", "apple to the right of the banana"},
    {"red banana", "banana to the right of the table"},
]


def test_expressions_of_a_hand_made_picture():
    assert [{it.text for it in expressions} for expressions in describe(random.Random(0), APPLES)] == EXPECTED


def test_every_object_is_described_by_its_own_box():
    for it, expressions in zip(APPLES.objects, describe(random.Random(0), APPLES), strict=True):
        assert {expression.box for expression in expressions} <= {it.box}
        assert {expression.image_id for expression in expressions} <= {"1"}


def target_of(expression: Expression, scene: Scene) -> SceneObject:
    (found,) = [it for it in scene.objects if it.box == expression.box]
    return found


def test_every_expression_singles_out_its_object_and_needs_its_category(tasks: Tasks, scene_of):
    for expressions in tasks.expressions.values():
        for it in expressions:
            scene = scene_of[it.image_id]
            target = target_of(it, scene)
            assert singled_out(it.text, scene) == [target], it
            alone = sum(other.category == target.category for other in scene.objects) == 1
            if alone:  # something else fits, apart from its category
                assert len(singled_out(it.text, scene, same_category=False)) > 1, it


@pytest.mark.parametrize("split", SIZES)
def test_every_object_of_an_image_is_meant_equally_often(tasks: Tasks, scene_of, split):
    expressions = tasks.expressions[split]
    assert SIZES[split] - 9 < len(expressions) <= SIZES[split]
    meant: dict[str, Counter[Box]] = defaultdict(Counter)
    for it in expressions:
        meant[it.image_id][it.box] += 1
    for image_id, counts in meant.items():
        objects = scene_of[image_id].objects
        assert set(counts) == {it.box for it in objects} and len(set(counts.values())) == 1
        assert len({it.category for it in objects}) < len(objects)  # several of one category are in view


def test_no_expression_is_used_twice_of_an_image(tasks: Tasks):
    for expressions in tasks.expressions.values():
        assert len({(it.image_id, it.text) for it in expressions}) == len(expressions)


def test_kinds_are_many(tasks: Tasks):
    kinds = Counter(it.kind for it in tasks.expressions["train"])
    assert set(kinds) == set(KINDS)
    assert max(kinds.values()) < 0.25 * sum(kinds.values()), kinds
    relations = sum(kinds[kind] for kind in ("on", "near", "left of", "right of"))
    assert 0.3 < relations / sum(kinds.values()) < 0.6


# ---- one modality ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detections(tasks: Tasks) -> dict[str, Detection]:
    """What the detector sees in the images of 600 training expressions and of the test split."""
    used = {it.image_id for it in tasks.expressions["train"][:600] + tasks.expressions["test"]}
    scenes = [scene for scene in tasks.scenes["regions_tasks"] if scene.image_id in used]
    return {it.scene.image_id: it for it in detect(scenes, "0/detector/regions_tasks", DetectorConfig())}


def test_the_picture_does_not_tell_which_region_is_meant(tasks: Tasks, detections):
    test = tasks.expressions["test"]
    limit = grounding_chance(test, detections) + 0.03
    assert 0.15 < limit < 0.25
    found = grounding_image_accuracies(tasks.expressions["train"][:600], test, detections)
    error = sampling_error(limit, len({it.image_id for it in test}))
    assert max(found.values()) <= limit + error, (limit, found)


def test_the_words_do_not_tell_where_it_is(tasks: Tasks, scene_of, detections):
    """Guess a box from the words; the picture is not looked at."""
    test = tasks.expressions["test"]
    found = grounding_text_accuracy(tasks.expressions["train"], test, scene_of)
    assert found <= grounding_chance(test, detections) + 0.03


def test_words_and_picture_tell_together(tasks: Tasks, detections):
    """Whoever knows the true objects finds the region, unless the detector missed the object."""
    found = []
    for it in tasks.expressions["test"]:
        (target,) = singled_out(it.text, detections[it.image_id].scene)
        found.append(
            any(
                r.truth == target and intersection_over_union(r.box, it.box)[0] > 0.5
                for r in detections[it.image_id].regions
            )
        )
    assert np.mean(found) > 0.9


def test_too_many_expressions_are_refused(tasks: Tasks):
    with pytest.raises(InputError, match="words single out only"):
        refer(random.Random(0), tasks.scenes["regions_tasks"][:30], 5000)


def test_equal_seeds_make_equal_expressions(tasks: Tasks):
    scenes = tasks.scenes["regions_tasks"][:100]
    assert refer(random.Random(1), scenes, 90) == refer(random.Random(1), scenes, 90)
    assert refer(random.Random(1), scenes, 90) != refer(random.Random(2), scenes, 90)


def test_records_are_those_of_refcoco_plus():
    record = Expression("colour", "red apple", "17", (1.0, 2.0, 3.5, 4.0)).to_record(5, 3, "val")
    assert record == {
        "sent_id": 5,
        "ref_id": 3,
        "image_id": "17",
        "file_name": "17.jpg",
        "sentence": "red apple",
        "split": "val",
        "bbox": [1.0, 2.0, 3.5, 4.0],
    }
    assert not re.search(r"[A-Z.]", record["sentence"])
