"""Scenes make sense, and relations say what their boxes say."""

from __future__ import annotations

import random

import pytest

from mmf_muvla.toyworld.scenes import (
    MAX_OBJECTS,
    MIN_OBJECTS,
    Scene,
    SceneObject,
    generate_scenes,
    is_above,
    is_left_of,
    is_near,
    is_on,
    is_right_of,
    is_under,
)
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, THEMES


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(generate_scenes(random.Random(0), 600, 1, colour_habit=0.5, crowd_probability=0.4))


def thing(category: str, *box: float) -> SceneObject:
    return SceneObject(category, "red", None, box)  # type: ignore[arg-type]


def test_scenes_have_three_to_nine_objects_of_their_theme_inside_the_picture(scenes):
    for scene in scenes:
        assert MIN_OBJECTS <= len(scene.objects) <= MAX_OBJECTS
        for it in scene.objects:
            x1, y1, x2, y2 = it.box
            assert 0 <= x1 < x2 <= scene.width and 0 <= y1 < y2 <= scene.height
            assert it.category in THEMES[scene.theme].categories
            assert it.colour in COLOURS and it.size in ("small", "large", None)
    assert {len(scene.objects) for scene in scenes} == set(range(MIN_OBJECTS, MAX_OBJECTS + 1))


def test_image_ids_count_up(scenes):
    assert [scene.image_id for scene in scenes] == [str(number) for number in range(1, 601)]


def test_usual_colours_are_usual_but_not_the_rule(scenes):
    objects = [it for scene in scenes for it in scene.objects]
    usual = sum(it.colour in CATEGORIES[it.category].colours for it in objects) / len(objects)
    # Half by habit, and about 2.5 of 8 colours of the other half by chance.
    assert 0.58 < usual < 0.75


def test_without_habit_all_colours_are_equally_likely():
    scenes = generate_scenes(random.Random(0), 600, 1, colour_habit=0.0, crowd_probability=0.4)
    objects = [it for scene in scenes for it in scene.objects]
    for colour in COLOURS:
        assert sum(it.colour == colour for it in objects) / len(objects) == pytest.approx(1 / 8, abs=0.02)


def test_large_things_are_larger_than_small_ones(scenes):
    def height(size: str) -> float:
        heights = [
            it.box[3] - it.box[1] for s in scenes for it in s.objects if it.category == "man" and it.size == size
        ]
        return sum(heights) / len(heights)

    assert height("large") > 1.5 * height("small")


def test_sky_is_above_ground(scenes):
    for scene in scenes:
        horizon = THEMES[scene.theme].horizon * scene.height
        for it in scene.objects:
            if CATEGORIES[it.category].zone in ("sky", "wall"):
                assert it.box[3] <= horizon + 1 or it.box[1] <= 2.1  # what is taller than the sky starts at its top


def test_objects_seldom_hide_each_other(scenes):
    def hidden(a: SceneObject, b: SceneObject) -> bool:
        width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
        height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
        area = (a.box[2] - a.box[0]) * (a.box[3] - a.box[1])
        return width > 0 and height > 0 and width * height > 0.6 * area

    behind = [
        any(hidden(a, b) and not is_under(a, b) for b in s.objects[i + 1 :])
        for s in scenes
        for i, a in enumerate(s.objects)
    ]
    assert sum(behind) / len(behind) < 0.05


def test_a_record_tells_everything(scenes):
    assert Scene.from_record(scenes[3].to_record()) == scenes[3]


def test_equal_seeds_make_equal_scenes(scenes):
    again = list(generate_scenes(random.Random(0), 600, 1, colour_habit=0.5, crowd_probability=0.4))
    other = list(generate_scenes(random.Random(1), 600, 1, colour_habit=0.5, crowd_probability=0.4))
    assert again == scenes
    assert other != scenes


def test_every_relation_occurs(scenes):
    pairs = [(a, b, s) for s in scenes for a in s.objects for b in s.objects if a is not b]
    for holds in (is_on, is_under, is_left_of, is_right_of, is_above):
        assert sum(holds(a, b) for a, b, _ in pairs) > 30
    assert sum(is_near(a, b, s) for a, b, s in pairs) > 30


def test_relations_of_hand_made_boxes():
    # A table from (100, 200) to (300, 300): its top is 6 % down, at y = 206.
    table = thing("table", 100, 200, 300, 300)
    cup = thing("cup", 150, 180, 170, 206)
    floating_cup = thing("cup", 150, 100, 170, 126)
    dog = thing("dog", 150, 250, 200, 300)
    kite = thing("kite", 150, 20, 200, 80)
    man = thing("man", 310, 180, 360, 320)
    scene = Scene("1", "kitchen", 640, 480, (table, cup, dog, kite, man))

    assert is_on(cup, table) and not is_on(floating_cup, table) and not is_on(table, cup)
    assert is_under(dog, table) and not is_under(cup, table) and not is_under(table, dog)
    assert is_above(kite, table) and not is_above(cup, table) and not is_above(kite, man)
    assert is_left_of(table, man) and is_right_of(man, table) and not is_left_of(man, table)
    assert not is_left_of(cup, dog) and not is_right_of(cup, dog)
    assert is_near(table, man, scene) and is_near(man, table, scene)
    assert not is_near(kite, table, scene)
