"""Scenes drawn as pictures, so that people can see what the detector is supposed to have seen.

Every shape is drawn in the unit square of its object's box: (0, 0) is the upper left corner, (1, 1) the lower right
one. Pictures are painted at twice their size and reduced, which smooths the edges; labels come last, in small print.
"""

from __future__ import annotations

import random
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mmf_muvla.toyworld.pictures.brush import INK, PAINT, SCALE, Brush
from mmf_muvla.toyworld.pictures.living import LIVING
from mmf_muvla.toyworld.pictures.places import BACKGROUNDS
from mmf_muvla.toyworld.pictures.things import THINGS
from mmf_muvla.toyworld.scenes import Box, Scene, SceneObject
from mmf_muvla.toyworld.vocabulary import THEMES
from mmf_muvla.toyworld.wording import coloured

SHAPES = LIVING | THINGS
_LABEL_HEIGHT = 11


def draw_scene(record: dict[str, Any]) -> Image.Image:
    """Draw one scene.

    Args:
        record: a line of ``scenes.jsonl``.

    Returns:
        An RGB picture of the scene's width and height. Equal records give equal pictures.
    """
    scene = Scene.from_record(record)
    rng = random.Random(scene.image_id)
    canvas = Image.new("RGB", (scene.width * SCALE, scene.height * SCALE))
    draw = ImageDraw.Draw(canvas)
    BACKGROUNDS[scene.theme](Brush(draw, (0, 0, scene.width, scene.height)), rng, THEMES[scene.theme].horizon)
    for scene_object in scene.objects:
        SHAPES[scene_object.category](Brush(draw, scene_object.box), PAINT[scene_object.colour], rng)
    picture = canvas.reduce(SCALE)
    _write_labels(picture, scene)
    return picture


def _write_labels(picture: Image.Image, scene: Scene) -> None:
    """Name every object below its box, or above it, or where there is room."""
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(size=_LABEL_HEIGHT)
    taken: list[Box] = []
    for scene_object in scene.objects:
        text = _label(scene_object)
        width = draw.textlength(text, font=font) + 6
        height = _LABEL_HEIGHT + 4
        x = min(max(scene_object.centre_x - width / 2, 1), scene.width - width - 1)
        top, bottom = scene_object.box[1], scene_object.box[3]
        heights = [bottom + 1, top - height - 1, *(bottom - height * step for step in range(1, 6))]
        places = [(x, min(max(y, 1), scene.height - height - 1)) for y in heights]
        free = [p for p in places if not any(_touch((*p, p[0] + width, p[1] + height), other) for other in taken)]
        x, y = (free or places)[0]
        taken.append((x, y, x + width, y + height))
        draw.rounded_rectangle([x, y, x + width, y + height], 3, (255, 255, 255, 190))
        draw.text((x + 3, y + 1), text, fill=INK, font=font)


def _label(scene_object: SceneObject) -> str:
    return coloured(scene_object.category, scene_object.category, scene_object.colour, scene_object.size or "")


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
