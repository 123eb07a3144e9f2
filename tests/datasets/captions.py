"""Captions of the hand-made images of ``small_tasks``, and the data set of them."""

from __future__ import annotations

from typing import Any

from tests.datasets.small_tasks import EXAMPLES, NAMES, classes_of

TASK = "flickr30k_retrieval"


def caption_records(images: int = EXAMPLES, captions: int = 2) -> list[dict[str, Any]]:
    """Captions that name what is seen, of different lengths; the number makes each of them the only one."""
    return [
        {
            "sentid": 100 * image + number,
            "image_id": str(image),
            "caption": " and ".join(f"a {NAMES[it]}" for it in classes_of(image)[: 2 + number])
            + f" in picture {image}"
            + " there" * (image % 3),
        }
        for image in range(images)
        for number in range(captions)
    ]
