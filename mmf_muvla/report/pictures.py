"""Finds the pictures of images for a page: small copies from a folder, or links."""

from __future__ import annotations

import base64
import logging
import re
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmf_muvla.detection.decoding import NotAPicture, decode, thumbnail
from mmf_muvla.detection.pictures.source import read_file
from mmf_muvla.errors import InputError

if TYPE_CHECKING:
    from mmf_muvla.interface.images import ImageRegions

SIDE = 400  # pixels of the longer side of small copies
_MOST_PIXELS = 10**8
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# In a pattern: {image_id}, or {image_id:012} for ids that files have with leading zeros.
_PLACEHOLDER = re.compile(r"\{image_id(?::0(\d{1,3}))?\}")

_log = logging.getLogger(__name__)


class Pictures:
    """Finds the pictures of images: in a folder with ``IMAGE_ID.jpg`` (.jpeg, .png, .webp), or by a file name or an
    address with ``{image_id}`` in it (``{image_id:012}``: padded with zeros to twelve digits).

    Args:
        place: the folder, the file name or the address.
        side: pixels of the longer side of copies; what is smaller stays as it is.

    Raises:
        InputError: there is no such folder, or the address has no ``{image_id}``.
    """

    def __init__(self, place: str, side: int = SIDE):
        self._side = side
        scheme = place.partition("://")[0].lower() if "://" in place else ""
        placeholder = _PLACEHOLDER.search(place)
        self.is_link = bool(scheme)  # pages link to the pictures instead of containing them
        self._pattern = place if placeholder else f"{place}/{{image_id}}"
        self._folder = Path(place[: placeholder.start()] + "x").parent if placeholder else Path(place)
        if scheme not in ("", "http", "https", "file"):
            raise InputError(f"images={place}", f"cannot show pictures from {scheme}://", "Use http, https or file")
        if self.is_link and not placeholder:
            raise InputError(f"images={place}", "the address has no {image_id}", "Put {image_id} where the id goes")
        if not self.is_link and not self._folder.is_dir():
            remedy = "Name a folder with IMAGE_ID.jpg or .png, or a pattern with {image_id}"
            raise InputError(f"images={place}", f"there is no folder {self._folder}", remedy)

    def find(self, image_id: str) -> str | None:
        """The ``href`` of an image: a link, or a small copy as a data URI; ``None`` if there is no picture."""
        if self.is_link:
            return self._fill(urllib.parse.quote(image_id, safe="/"))
        jpeg = self.copy(image_id)
        return None if jpeg is None else jpeg_uri(jpeg)

    def copy(self, image_id: str) -> bytes | None:
        """The small copy of an image as JPEG; ``None`` if there is no picture, or only a link."""
        if self.is_link:
            return None
        path = Path(self._fill(image_id))
        for candidate in (path, *(path.with_name(path.name + suffix) for suffix in _SUFFIXES)):
            # An id like ../../secret must not lead out of the folder.
            if candidate.suffix.lower() in _SUFFIXES and _is_file_below(candidate, self._folder):
                return _small_jpeg(candidate, self._side)
        return None

    def _fill(self, image_id: str) -> str:
        return _PLACEHOLDER.sub(lambda match: image_id.zfill(int(match[1] or 0)), self._pattern)


def _is_file_below(path: Path, folder: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a name that is too long, or contains a null character
        return False


def _small_jpeg(path: Path, side: int) -> bytes | None:
    try:
        return thumbnail(decode(read_file(path), _MOST_PIXELS), side)
    except (NotAPicture, OSError) as error:
        _log.warning("%s: cannot be read as a picture (%s); it is left out", path, error)
        return None


def check_pictures(images: str | None, regions: str | None, instead: str = "") -> None:
    """Refuse pictures of a region store's images where no store is given, with what else to give.

    Raises:
        InputError: there is none.
    """
    if images and not regions:
        problem = "has pictures of a region store's images, and none is given"
        raise InputError(f"images={images}", problem, f"Give regions=FOLDER as well{instead}")


def with_picture(image: ImageRegions, image_id: str, pictures: Pictures | None) -> ImageRegions:
    """An image with the picture of this id, where there is one; otherwise as it is."""
    jpeg = pictures.copy(image_id) if pictures else None
    return image if jpeg is None else replace(image, picture=decode(jpeg, _MOST_PIXELS))


def jpeg_uri(jpeg: bytes) -> str:
    """A JPEG as a data URI, which a page can contain."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def png_uri(png: bytes) -> str:
    """The same of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
