"""Pictures show what their records say."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from mmf_muvla.toyworld import draw_scene
from mmf_muvla.toyworld.pictures import draw_scenes
from mmf_muvla.toyworld.pictures.brush import PAINT
from mmf_muvla.toyworld.scenes import generate_scenes
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, THEMES


def record(*objects: dict, theme: str = "office", width: int = 200, height: int = 160) -> dict:
    return {"image_id": "7", "theme": theme, "width": width, "height": height, "objects": list(objects)}


def thing(category: str, colour: str, box: list[float]) -> dict:
    return {"category": category, "colour": colour, "size": None, "box": box}


def test_a_picture_has_the_scenes_size_and_is_the_same_every_time():
    for scene in generate_scenes(random.Random(0), 8, 1, 0.5, 0.4):
        picture = draw_scene(scene.to_record())
        assert picture.mode == "RGB" and picture.size == (scene.width, scene.height)
        assert picture.tobytes() == draw_scene(scene.to_record()).tobytes()


def test_every_place_looks_different():
    assert len({draw_scene(record(theme=theme)).tobytes() for theme in THEMES}) == len(THEMES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_things_are_drawn_in_their_box_and_colour(category):
    aspect = CATEGORIES[category].aspect
    right, bottom = 50 + round(min(100, 100 * aspect)), 20 + round(min(100, 100 / aspect))
    empty = np.asarray(draw_scene(record())).astype(int)
    for colour in COLOURS:
        picture = np.asarray(draw_scene(record(thing(category, colour, [50, 20, right, bottom])))).astype(int)
        changed = np.abs(picture - empty).sum(2) > 30
        inside = changed[20:bottom, 50:right]
        assert inside.mean() > 0.1
        # Whiskers may leave the box; the label is below it.
        outside = changed[:bottom].sum() - inside.sum()
        assert outside < 0.05 * inside.sum()
        painted = (np.abs(picture - np.array(PAINT[colour])).sum(2) < 12)[20:bottom, 50:right]
        assert painted.mean() > 0.03, colour


def test_labels_do_not_cover_each_other():
    one = record(thing("cup", "red", [40, 60, 70, 90]))
    two = record(thing("cup", "red", [40, 60, 70, 90]), thing("apple", "red", [45, 60, 75, 90]))
    # The second label moves above its object, into rows where the first picture has nothing.
    difference = np.abs(np.asarray(draw_scene(one)).astype(int) - np.asarray(draw_scene(two)).astype(int)).sum(2)
    assert (difference[40:59] > 30).any()


def test_every_scene_can_be_drawn_without_a_word(tmp_path):
    first, second, third = generate_scenes(random.Random(0), 3, 1, 0.5, 0.4)
    images = {"regions": [first], "regions_heldout": [second], "regions_tasks": [third]}
    assert draw_scenes(tmp_path / "all", images, "all") == 3
    drawn = {path.relative_to(tmp_path / "all").as_posix(): path for path in (tmp_path / "all").rglob("*.png")}
    assert sorted(drawn) == ["regions/1.png", "regions_heldout/2.png", "regions_tasks/3.png"]
    with Image.open(drawn["regions_tasks/3.png"]) as picture:
        assert picture.tobytes() == draw_scene(third.to_record(), labels=False).tobytes()
    # Labels are small, and all that differs.
    told, untold = (np.asarray(draw_scene(third.to_record(), labels=it)).astype(int) for it in (True, False))
    assert 0 < (np.abs(told - untold).sum(2) > 0).mean() < 0.15


def test_some_scenes_are_drawn_with_labels(tmp_path):
    first, second, third = generate_scenes(random.Random(0), 3, 1, 0.5, 0.4)
    assert draw_scenes(tmp_path / "some", {"regions": [first, second], "regions_heldout": [third]}, 1) == 2
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["1.png", "3.png"]
    with Image.open(tmp_path / "some" / "1.png") as picture:
        assert picture.tobytes() == draw_scene(first.to_record()).tobytes()
