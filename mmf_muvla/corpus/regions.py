"""Stage *regions*: detector output becomes a region store, and a small table of tags beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmf_muvla.corpus.arrow import TableWriter, list_array
from mmf_muvla.corpus.config import RegionOptions
from mmf_muvla.corpus.problems import SkipLog
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.corpus.region_store import Regions, RegionStoreWriter
from mmf_muvla.corpus.vinvl import Detection, VinvlFolder
from mmf_muvla.errors import InputError

# What later stages need of the regions, without their features: a thousandth of the store's size.
TAGS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("class_id", pa.list_(pa.int32())),
        ("attribute_id", pa.list_(pa.int32())),
        ("confidence", pa.list_(pa.float32())),
    ]
)
IMAGES_PER_BATCH = 4096


def import_regions(
    folders: Sequence[Path],
    options: RegionOptions,
    skips: SkipLog,
    store: Path,
    tags: Path | None = None,
) -> dict[str, int]:
    """Write the images of VinVL folders to a region store.

    Args:
        folders: the folders; an image id may occur once in all of them.
        options: how to read them.
        skips: takes the records that cannot be used.
        store: the region store to write.
        tags: an Arrow file to write, with image ids, classes, attributes and confidences only.

    Returns:
        Counts: images, regions, skipped (images), boxes_mended (images), boxes_clipped, regions_dropped.

    Raises:
        InputError: a folder cannot be read, a record is bad under ``on_bad_record=error``, too many are, or all.
    """
    sources = []
    with progress_bar(len(folders), "predictions", "folder") as progress:
        for folder in folders:
            sources.append(VinvlFolder(folder, options, skips))
            progress.update()
    total = sum(len(source) for source in sources)
    skips.check(total)
    object_names = sorted(set().union(*(source.object_names for source in sources)))
    attribute_names = sorted(set().union(*(source.attribute_names for source in sources)))
    class_ids = {name: number for number, name in enumerate(object_names)}
    attribute_ids: dict[str | None, int] = {name: number for number, name in enumerate(attribute_names)}
    attribute_ids[None] = -1

    counts = dict.fromkeys(("images", "regions", "skipped", "boxes_mended", "boxes_clipped", "regions_dropped"), 0)
    known: set[str] = set()
    with ExitStack() as stack:
        writer = stack.enter_context(RegionStoreWriter(store, object_names, attribute_names, options.feature_dim))
        table = stack.enter_context(_TagsWriter(tags)) if tags else None
        progress = stack.enter_context(progress_bar(total, "regions", "image"))
        for source in sources:
            for detection in source.detections(known):
                regions = _as_regions(detection, class_ids, attribute_ids)
                writer.put(regions)
                if table:
                    table.add(regions)
                counts["images"] += 1
                counts["regions"] += len(regions)
                counts["boxes_mended"] += detection.mended
                counts["boxes_clipped"] += detection.num_clipped
                counts["regions_dropped"] += detection.num_dropped
                progress.update()
                skips.check(total)
        skips.check(total)
        counts["skipped"] = skips.num_bad
        if not counts["images"]:
            raise InputError(", ".join(map(str, folders)), "no image can be used", "See the messages above")
    return counts


def _as_regions(detection: Detection, class_ids: dict[str, int], attribute_ids: dict[str | None, int]) -> Regions:
    return Regions(
        image_id=detection.image_id,
        width=detection.width,
        height=detection.height,
        image_feature_0=detection.features,
        bbox=detection.boxes,
        class_id=np.array([class_ids[name] for name in detection.names], np.int32),
        attribute_id=np.array([attribute_ids[name] for name in detection.attributes], np.int32),
        confidence=detection.confidence,
    )


class _TagsWriter(TableWriter):
    """Writes the table of tags, some thousand images a batch."""

    def __init__(self, path: Path):
        super().__init__(path, TAGS_SCHEMA)
        self._rows: list[Regions] = []

    def __enter__(self) -> _TagsWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        super().__exit__(None, None, None)

    def add(self, regions: Regions) -> None:
        self._rows.append(regions)
        if len(self._rows) == IMAGES_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self.write(
                [row.image_id for row in self._rows],
                list_array([row.class_id for row in self._rows], np.int32),
                list_array([row.attribute_id for row in self._rows], np.int32),
                list_array([row.confidence for row in self._rows], np.float32),
            )
            self._rows.clear()
