"""What the page shows of an image, and of what models say, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mmf_muvla.app.shelf import SIDE
from mmf_muvla.detection.decoding import thumbnail
from mmf_muvla.interface.attention_figure import colour_of
from mmf_muvla.interface.images import ImageRegions
from mmf_muvla.report.pages import render
from mmf_muvla.report.pictures import jpeg_uri


@dataclass(frozen=True)
class Said:
    """What a model has said of one text, or of several with a line each.

    Attributes:
        heading: the text; empty where the lines are the texts.
        lines: words, or texts, each with its probability.
        scene: the image with what was found in it, HTML.
    """

    heading: str
    lines: Sequence[tuple[str, float]]
    scene: str = ""


def draw_scene(image: ImageRegions, found: Collection[int] = ()) -> str:
    """An image with its boxes and tags; of regions that are ``found``, these alone stand out."""
    tags = Counter(tag for tag in image.tags if tag)
    return render(
        "scene.html.j2",
        image_id=image.regions.image_id,
        width=image.size[0],
        height=image.size[1],
        picture=None if image.picture is None else jpeg_uri(thumbnail(image.picture, SIDE)),
        letters=max(image.size) / 32,
        boxes=_boxes(image, found),
        found=bool(found),
        tags=[(tag, count) for tag, count in tags.most_common()],
        count=len(image),
    )


def draw_answers(answers: Sequence[tuple[str, Sequence[Said]]]) -> str:
    """What models, each with its name, have said."""
    return render("answers.html.j2", answers=answers)


def _boxes(image: ImageRegions, found: Collection[int]) -> list[dict[str, Any]]:
    """The boxes, the largest first, so that those inside others can be pointed at.

    Names stay inside the image; one that would cover that of a larger box waits until somebody points at the region.
    """
    width, height = image.size
    letters = max(image.size) / 32
    x1, y1, x2, y2 = image.bbox.astype(float).T
    taken: list[tuple[float, float, float]] = []  # by names that show: left, base line, length
    boxes = []
    for region in sorted(range(len(image)), key=lambda it: -(x2[it] - x1[it]) * (y2[it] - y1[it])):
        length = len(image.tags[region]) * letters * 0.6
        left = max(0.0, min(x1[region] + letters * 0.3, width - length))
        base = max(letters, min(y1[region] + letters, height - letters * 0.3))
        covers = any(a < left + n and left < a + length and abs(base - b) < letters for a, b, n in taken)
        if not covers:
            taken.append((left, base, length))
        boxes.append(
            {
                "number": region,
                "tag": image.tags[region],
                "confidence": float(image.confidence[region]),
                "x": round(x1[region], 1),
                "y": round(y1[region], 1),
                "width": round(x2[region] - x1[region], 1),
                "height": round(y2[region] - y1[region], 1),
                "left": round(left, 1),
                "base": round(base, 1),
                "covers": covers,
                "colour": colour_of(region),
                "found": region in found,
            }
        )
    return boxes
