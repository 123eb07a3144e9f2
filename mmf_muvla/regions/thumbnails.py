"""Small copies of pictures beside the shards of a region store, for pages: ``thumbnails-000017.arrow`` has a row, the
bytes of a JPEG, for each image of ``regions-000017.safetensors``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mmf_muvla.artifacts.arrow import MappedTable, TableWriter
from mmf_muvla.artifacts.parts import part_path
from mmf_muvla.regions.shards import SHARD

THUMBNAILS, THUMBNAILS_SUFFIX = "thumbnails", ".arrow"
_SCHEMA = pa.schema({"jpeg": pa.binary()})


def thumbnails_path(shard: Path) -> Path:
    """What the file of a shard's thumbnails is called, where the shard is ``shard``, both without their suffixes."""
    return shard.with_name(shard.name.replace(SHARD, THUMBNAILS))


def save_thumbnails(path: Path, thumbnails: Sequence[bytes]) -> None:
    """Write the file of a shard."""
    with TableWriter(path, _SCHEMA) as writer:
        writer.write(list(thumbnails))


def read_thumbnail(store: Path, shard: int, image: int) -> bytes | None:
    """The JPEG of an image of a shard, by their numbers; ``None`` where the store has none."""
    path = part_path(store, THUMBNAILS, shard, THUMBNAILS_SUFFIX)
    if not path.is_file():
        return None
    table = MappedTable(path)
    batch, row = table.locate(image)
    return table.batches[batch].column("jpeg")[row].as_py()
