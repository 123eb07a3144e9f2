"""The regions of images on disk: an LMDB with one safetensors record per image.

See :mod:`mmf_muvla.regions.records` for the records, and :mod:`mmf_muvla.regions.writer` for how they get
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from mmf_muvla.errors import InputError
from mmf_muvla.regions.lmdb_files import LmdbFile
from mmf_muvla.regions.records import (
    FORMAT,
    META_KEY,
    TAGS_SCHEMA,
    Regions,
    block_key,
    decode_block,
    decode_regions,
    id_problem,
    tag_texts,
)
from mmf_muvla.regions.writer import RegionStoreWriter

__all__ = ["TAGS_SCHEMA", "RegionStore", "RegionStoreWriter", "Regions", "id_problem", "tag_texts"]


class RegionStore:
    """Reads a region store. It can be pickled, and used on both sides of a fork.

    Args:
        path: the store's folder.

    Attributes:
        object_names, attribute_names: what class and attribute ids stand for.
        feature_dim: numbers per region feature.
        num_regions: regions of all images together.
        num_blocks: how many batches :meth:`blocks` gives.
        content: a digest of all records; two stores with equal records, in equal order, have the same.

    Raises:
        InputError: ``path`` is not a region store.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "data.mdb").is_file():
            raise InputError(
                str(path), "is not a region store (it has no data.mdb)", "Make one with tools/import_regions.py"
            )
        self._file = LmdbFile(self.path, "a region store", "Import the regions again, or copy them again")
        meta = json.loads(self._read(META_KEY) or b"{}")
        found = {key: meta.get(key) for key in FORMAT}
        if found != FORMAT:
            raise InputError(str(path), f"is not a region store of this version (it says {found})", "Import it again")
        self.object_names: list[str] = meta["object_names"]
        self.attribute_names: list[str] = meta["attribute_names"]
        self.feature_dim: int = meta["feature_dim"]
        self.num_regions: int = meta["regions"]
        self.num_blocks: int = meta["blocks"]
        self.content: str = meta["content"]
        self._count: int = meta["count"]
        self._ids: list[str] | None = None

    def __reduce__(self) -> tuple[type[RegionStore], tuple[Path]]:
        return (type(self), (self.path,))

    def __len__(self) -> int:
        return self._count

    def __contains__(self, image_id: str) -> bool:
        return id_problem(image_id) is None and self._read(image_id.encode()) is not None

    @property
    def ids(self) -> list[str]:
        """The image ids in the order in which they were written; all of them in memory, unlike :meth:`blocks`."""
        if self._ids is None:
            self._ids = [image_id for block in self.blocks() for image_id in block.column("image_id").to_pylist()]
        return self._ids

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """Ids, classes, attributes and confidences of all images, in the order in which they were written.

        Yields:
            Up to 4,096 images at a time, with the columns of ``TAGS_SCHEMA``: ``image_id``, and as lists of a number
            per region ``class_id``, ``attribute_id`` and ``confidence``.

        Raises:
            InputError: a part of the store is missing.
        """
        for number in range(self.num_blocks):
            record = self._read(block_key(number))
            if record is None:
                raise InputError(str(self.path), f"block {number} of {self.num_blocks} is missing", "Import it again")
            yield decode_block(record)

    def get(self, image_id: str) -> Regions:
        """The regions of an image; the arrays are the caller's own.

        Raises:
            KeyError: the image is not in the store.
        """
        record = self._read(image_id.encode()) if id_problem(image_id) is None else None
        if record is None:
            raise KeyError(f"image {image_id} is not in {self.path}")
        return decode_regions(image_id, record)

    def _read(self, key: bytes) -> bytearray | None:
        return self._file.get(key)
