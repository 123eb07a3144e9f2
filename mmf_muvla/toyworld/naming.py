"""Which object of a scene a noun names, and which detected region shows it, as far as that is sure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.regions.boxes import intersection_over_union
from mmf_muvla.toyworld.mentions import nouns_said
from mmf_muvla.toyworld.scenes import Scene

# The detector moves each side of a box by a few per cent: it overlaps its own object by far more than this.
_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Naming:
    """A noun of a sentence that names one object of a scene.

    Attributes:
        start, end: where the noun stands in the sentence, in characters.
        category: of the object.
        shown: the regions that show it, bool [regions]; at least one does.
    """

    start: int
    end: int
    category: str
    shown: NDArray[np.bool_]


def read_scenes(path: Path) -> dict[str, Scene]:
    """The scenes of a world's ``scenes.jsonl`` by image id.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    scenes = {}
    for number, record in read_json_lines(path):
        try:
            scene = Scene.from_record(record)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}", f"no scene ({error!r})", "Make the world again") from error
        scenes[scene.image_id] = scene
    return scenes


def objects_shown(scene: Scene, bbox: ArrayLike) -> NDArray[np.intp]:
    """The number of the object that each region shows, int [n], -1 where it shows none.

    Args:
        scene: the scene.
        bbox: boxes of regions, x1, y1, x2, y2 in pixels, [n, 4].
    """
    overlaps = np.stack([intersection_over_union(bbox, it.box) for it in scene.objects], axis=1)  # [n, objects]
    return np.where(overlaps.max(axis=1) >= _LEAST_OVERLAP, overlaps.argmax(axis=1), -1)


def named_objects(scene: Scene, sentence: str, bbox: ArrayLike) -> tuple[list[Naming], Counter[str]]:
    """What the nouns of a sentence name, where it is sure which object that is and some region shows it.

    Returns:
        The nouns that name one, in the sentence's order, and how many others were left out: ``absent`` (the scene has
        no such thing), ``several`` (or more than one), ``not_detected``.
    """
    shown = objects_shown(scene, bbox)
    categories = [it.category for it in scene.objects]
    found: list[Naming] = []
    left_out: Counter[str] = Counter()
    for start, end, category in nouns_said(sentence):
        if (count := categories.count(category)) != 1:
            left_out["several" if count else "absent"] += 1
            continue
        regions = shown == categories.index(category)
        if regions.any():
            found.append(Naming(start, end, category, regions))
        else:
            left_out["not_detected"] += 1
    return found, left_out
