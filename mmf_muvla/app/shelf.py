"""The images that the page lets one choose: those of a region store, a handful at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmf_muvla.errors import InputError, shown
from mmf_muvla.interface.images import ImageRegions, StoredImages
from mmf_muvla.report.pictures import Pictures, with_picture

if TYPE_CHECKING:
    from PIL import Image

SIDE = 1024  # pixels of the longer side of pictures on the page
HANDFUL = 12
_SMALL, _MOST_LETTERS = 240, 10


class Shelf:
    """Images with their regions, by their ids, and with their pictures where there are any.

    Args:
        images: the images.
        pictures: where their pictures are, beside the small copies that a store may have.
    """

    def __init__(self, images: StoredImages, pictures: Pictures | None = None):
        self._images, self._pictures = images, pictures
        try:
            self.ids = [*images]
        except InputError:  # feature files of MMF: images can only be asked for by their ids
            self.ids = []

    def __getitem__(self, image_id: str) -> ImageRegions:
        """An image.

        Raises:
            InputError: there is none of this id, or it is damaged.
        """
        if image_id not in self._images:
            raise InputError(f"image {shown(image_id)}", "is not there", "Type another id, or choose a picture")
        return with_picture(self._images[image_id], image_id, self._pictures)

    def handful(self, start: int) -> list[tuple[Image.Image, str]]:
        """Small pictures of the images from number ``start`` on, from the first again behind the last, each with the
        end of its id."""
        count = min(HANDFUL, len(self.ids))
        chosen = [self.ids[(start + number) % len(self.ids)] for number in range(count)]
        return [
            (small_picture(self[it]), it if len(it) <= _MOST_LETTERS else f"…{it[1 - _MOST_LETTERS :]}")
            for it in chosen
        ]


def small_picture(image: ImageRegions) -> Image.Image:
    """The picture of an image, small; without one, its boxes on a blank."""
    from PIL import Image, ImageDraw

    from mmf_muvla.interface.attention_figure import colour_of

    if image.picture is not None:
        small = image.picture.copy()
        small.thumbnail((_SMALL, _SMALL))
        return small
    scale = _SMALL / max(image.size)
    width, height = (max(round(side * scale), 1) for side in image.size)
    blank = Image.new("RGB", (width, height), "#f0f3f6")
    draw = ImageDraw.Draw(blank)
    for number, box in enumerate(image.bbox * scale):
        draw.rectangle(box.tolist(), outline=colour_of(number), width=2)
    return blank
