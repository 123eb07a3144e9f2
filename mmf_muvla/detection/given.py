"""Regions of a few pictures at hand, made as those of a whole corpus are."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from mmf_muvla.detection.decoding import decode
from mmf_muvla.detection.pictures.source import Columns, Listed, PictureSource, Reader
from mmf_muvla.detection.source import Detection, PictureRegions
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import Place
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import NameIds

_HERE = Path()


def regions_of_pictures(
    detection: Detection, pictures: Sequence[tuple[str, bytes | Image.Image]], names: Sequence[str]
) -> list[tuple[Regions, Image.Image]]:
    """The regions of pictures, each with a name, and the pictures in RGB.

    ``names`` are the object names that class ids stand for.

    Raises:
        InputError: one of them is no picture, or nothing is found in it.
    """
    contents = [_as_file(picture) for _, picture in pictures]
    source = PictureRegions(_HERE, detection, _GivenPictures([name for name, _ in pictures], contents))
    shard = list(source.pictures.pictures([]))
    found = source.read(shard, _HERE, NameIds(names, [])).images if shard else []
    problem = next((it for it in found if isinstance(it, BadRecord)), None)
    if problem is not None:
        raise problem.as_input_error()
    shown = [decode(content, detection.options.max_pixels) for content in contents]
    return [(it.regions, picture) for it, picture in zip(found, shown, strict=True) if not isinstance(it, BadRecord)]


class _GivenPictures(PictureSource):
    """Files that are in memory already."""

    def __init__(self, names: Sequence[str], contents: Sequence[bytes]):
        super().__init__(_HERE, Columns())
        self._names, self._contents = names, contents

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def files(self) -> Iterable[str]:
        return ()

    def pictures(self, problems: list[BadRecord]) -> Iterator[Listed]:
        for number, name in enumerate(self._names):
            yield Listed(Path(name).stem, number)

    def readers(self, pictures: Sequence[Listed]) -> Iterator[Reader]:
        return (partial(self._contents.__getitem__, it.at) for it in pictures)

    def place(self, picture: Listed) -> Place:
        return Place(Path(self._names[picture.at]), None, "")


def _as_file(picture: Any) -> bytes:
    if isinstance(picture, bytes):
        return picture
    buffer = io.BytesIO()
    # Nothing is lost; other kinds of colours than PNG has are RGB for the detector, too.
    kept = picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16") else picture.convert("RGB")
    kept.save(buffer, "PNG")
    return buffer.getvalue()
