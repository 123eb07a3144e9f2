"""What to say where annotations and region features call the same images differently."""

from __future__ import annotations

from pathlib import PurePath

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def difference(annotations_say: str, source: str, source_says: str | None) -> str:
    """One key of each side, in words; the source of the images (a path, or an option with its value) may have none."""
    theirs = "has none at all" if source_says is None else f"has {source_says!r}"
    return f"the annotations say {annotations_say!r}, {source} {theirs}"


def remedy(annotations_say: str, source_says: str | None) -> str:
    """What may make the two sides agree."""
    return (
        "Give the regions that belong to the annotations, or convert the annotations (tools/convert_annotations.py) "
        f"with image_key={_image_key(annotations_say, source_says or '')}, so that both sides have the same keys"
    )


def _image_key(ours: str, theirs: str) -> str:
    """The template by which COCO's images, or one's own, would have keys like ``theirs``; ``…`` where none is known."""
    if theirs.isascii() and theirs.isdecimal():
        return f"{{image_id:0{len(theirs)}d}}" if theirs.startswith("0") and len(theirs) > 1 else "{image_id}"
    ending = PurePath(theirs).suffix
    if ending.lower() in IMAGE_ENDINGS and not ours.lower().endswith(IMAGE_ENDINGS):
        return f"{{name}}{ending}"
    return "{name}" if theirs.startswith("COCO_") and not ours.startswith("COCO_") else "…"
