"""Scenes drawn as pictures, so that people can see what the detector is supposed to have seen.

Every shape is drawn in the unit square of its object's box: (0, 0) is the upper left corner, (1, 1) the lower right
one. Pictures are painted at twice their size and reduced, which smooths the edges; labels come last, in small print.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.toyworld.pictures.brush import INK, PAINT, SCALE, Brush
from mmf_muvla.toyworld.pictures.living import Living
from mmf_muvla.toyworld.pictures.places import BACKGROUNDS
from mmf_muvla.toyworld.pictures.things import Things
from mmf_muvla.toyworld.scenes import Box, Scene, cover
from mmf_muvla.toyworld.vocabulary import THEMES
from mmf_muvla.toyworld.wording import coloured

_LABEL_HEIGHT = 11


class Painter(Living, Things):
    """Paints what a category's method draws, in its box."""


SHAPES = {name: shape for name, shape in {**vars(Living), **vars(Things)}.items() if not name.startswith("_")}
"""The method that draws each category."""


def draw_scene(record: dict[str, Any], labels: bool = True) -> Image.Image:
    """Draw the scene of a line of ``scenes.jsonl`` in RGB and in its size. Equal records give equal pictures.

    Args:
        record: the scene.
        labels: write under every object what it is.
    """
    scene = Scene.from_record(record)
    rng = random.Random(scene.image_id)
    canvas = Image.new("RGB", (scene.width * SCALE, scene.height * SCALE))
    draw = ImageDraw.Draw(canvas)
    BACKGROUNDS[scene.theme](Brush(draw, (0, 0, scene.width, scene.height), rng), THEMES[scene.theme].horizon)
    for it in scene.objects:
        SHAPES[it.category](Painter(draw, it.box, rng), PAINT[it.colour])
    picture = canvas.reduce(SCALE)
    if labels:
        _write_labels(picture, scene)
    return picture


def draw_scenes(folder: Path, images: Mapping[str, list[Scene]], wanted: int | Literal["all"]) -> int:
    """Draw scenes into files of a folder, and return how many.

    Args:
        folder: the folder to make.
        images: scenes, by the folder of their regions.
        wanted: so many of ``regions``, and all of ``regions_heldout``, for people: with labels. ``all``: every scene,
            into a folder of the same name, for detectors: without.
    """
    if wanted == "all":
        places = {folder / name: scenes for name, scenes in images.items()}
    else:
        places = {folder: images["regions"][:wanted] + images["regions_heldout"]}
    num_pictures = sum(map(len, places.values()))
    with progress_bar(num_pictures, "pictures", "picture") as progress:
        for place, scenes in places.items():
            place.mkdir(parents=True)
            for scene in scenes:
                # What is to find the objects must not be told which they are.
                picture = draw_scene(scene.to_record(), labels=wanted != "all")
                picture.save(place / f"{scene.image_id}.png", compress_level=4)
                progress.update()
    return num_pictures


def _write_labels(picture: Image.Image, scene: Scene) -> None:
    """Name every object below its box, or above it, or where there is room."""
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(size=_LABEL_HEIGHT)
    taken: list[Box] = []
    for it in scene.objects:
        text = coloured(it.category, it.category, it.colour, it.size or "")
        width, height = draw.textlength(text, font=font) + 6, _LABEL_HEIGHT + 4
        x = min(max(it.centre_x - width / 2, 1), scene.width - width - 1)
        top, bottom = it.box[1], it.box[3]
        tops = [bottom + 1, top - height - 1, *(bottom - height * step for step in range(1, 6))]
        tops = [min(max(y, 1), scene.height - height - 1) for y in tops]
        labels = [(x, y, x + width, y + height) for y in tops]
        label = next((it for it in labels if not any(cover(it, other) for other in taken)), labels[0])
        taken.append(label)
        draw.rounded_rectangle(label, 3, (255, 255, 255, 190))
        draw.text((label[0] + 3, label[1] + 1), text, fill=INK, font=font)
