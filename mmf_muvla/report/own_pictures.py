"""The pictures that a corpus was made from, for pages: small copies that it keeps, or files that are still there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.artifact import read_manifest
from mmf_muvla.detection.decoding import NotAPicture, decode, thumbnail
from mmf_muvla.detection.pictures.source import Columns, Listed, PictureSource, open_pictures
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.report.pictures import SIDE, Pictures, jpeg_uri

_log = logging.getLogger(__name__)


def add_pictures(images: Sequence[dict[str, Any]], corpus: Corpus, place: Pictures | None = None) -> None:
    """Set the ``picture`` of images that a page shows: found in ``place``, or, without one, the corpus's own."""
    own = {} if place else own_pictures(corpus, [image["id"] for image in images])
    for image in images:
        image["picture"] = place.find(image["id"]) if place else own.get(image["id"])
    if place or own:
        found = sum(image["picture"] is not None for image in images)
        _log.log(logging.INFO if found else logging.WARNING, "%d of %d images have a picture", found, len(images))


def own_pictures(corpus: Corpus, image_ids: Collection[str]) -> dict[str, str]:
    """Pictures of some images of a corpus as data URIs: the copies that its regions have (``thumbnails=256``), or else
    copies of the pictures that its regions were detected in, if these and the folder ``build`` are still there."""
    kept = ((image_id, corpus.regions.thumbnail(image_id)) for image_id in image_ids)
    found = {image_id: jpeg_uri(jpeg) for image_id, jpeg in kept if jpeg}
    for source, max_pixels in _sources(corpus) if len(found) < len(image_ids) else ():
        wanted = set(image_ids) - found.keys()
        found |= {image_id: jpeg_uri(jpeg) for image_id, jpeg in _small_copies(source, wanted, max_pixels)}
    return found


def _sources(corpus: Corpus) -> Iterator[tuple[PictureSource, int]]:
    """What the regions were detected in, as far as it is there, and how many pixels a picture may have."""
    stores = [corpus.path / "build" / "regions", *(member.path for member in corpus.regions.members)]
    for options in (it for it in map(_options, stores) if "detector" in it):
        for name in options["sources"]:
            columns = Columns(options["image_column"], options["id_column"])
            try:
                yield open_pictures(Path(name), columns), options["max_pixels"]
            except InputError as problem:
                _log.warning("the pictures that the regions were detected in are not shown: %s", problem)


def _options(store: Path) -> dict[str, Any]:
    """What a region store was made with, where that is known."""
    return (read_manifest(store) or {"made_from": {}})["made_from"].get("parameters", {})


def _small_copies(source: PictureSource, wanted: set[str], max_pixels: int) -> Iterator[tuple[str, bytes]]:
    """JPEGs of those wanted pictures that a source has."""
    try:
        # As when regions were detected, the first picture of an id counts.
        chosen: dict[str, Listed] = {}
        for it in source.pictures([]):
            if it.image_id in wanted:
                chosen.setdefault(it.image_id, it)
        listed = list(chosen.values())  # in the source's order
        for picture, read in zip(listed, source.readers(listed), strict=True):
            try:
                yield picture.image_id, thumbnail(decode(read(), max_pixels), SIDE)
            except (NotAPicture, BadRecord, OSError) as problem:
                _log.warning(
                    "%s: cannot be read as a picture (%s); it is left out", source.place(picture).file, problem
                )
    except InputError as problem:  # a table that is damaged by now
        _log.warning("pictures are left out: %s", problem)
