"""The regions of images on disk: shards (:mod:`mmf_muvla.regions.shards`), and tables of all images."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from mmf_muvla.artifacts.arrow import read_batches
from mmf_muvla.artifacts.files import damaged_files, publish_folder
from mmf_muvla.errors import InputError
from mmf_muvla.regions.index import (
    DAMAGED_STORE,
    INDEX_FILE,
    TAGS_FILE,
    TAGS_SCHEMA,
    foreign_in_store,
    read_meta,
    write_index,
)
from mmf_muvla.regions.members import Member, open_members
from mmf_muvla.regions.places import Places
from mmf_muvla.regions.regions import Regions, tag_texts
from mmf_muvla.regions.shards import ShardFile, StoreShard, shard_path
from mmf_muvla.regions.thumbnails import read_thumbnail

__all__ = ["TAGS_SCHEMA", "RegionStore", "RegionStoreWriter", "Regions", "tag_texts"]

# Few enough for the files that a process may have open, several stores and other things included.
_OPEN_SHARDS = 128
_BYTES_PER_SHARD = 32 * 2**20


class RegionStore:
    """Reads a region store, one that was joined of others too. It can be pickled, and used on both sides of a fork.

    All that is read is compared with checksums: the tables when they are opened, an image when it is read.

    Args:
        path: the store's folder.
        verify: compare the index with its checksum; a copy in another process need not.

    Attributes:
        object_names, attribute_names: what class and attribute ids stand for.
        feature_dim: numbers per region feature.
        num_regions: regions of all images together.
        num_blocks: how many batches :meth:`blocks` gives.
        content: a digest of all images; two stores with equal images, in equal order, have the same.
        members: the folders in which its shards are, by the numbers of these.

    Raises:
        InputError: ``path`` is not a region store, its index is damaged, or a store that it is joined of is not there.
    """

    def __init__(self, path: str | Path, verify: bool = True):
        self.path = Path(path)
        meta = read_meta(self.path)
        self.object_names: list[str] = meta["object_names"]
        self.attribute_names: list[str] = meta["attribute_names"]
        self.feature_dim: int = meta["feature_dim"]
        self.num_regions: int = meta["regions"]
        self.num_blocks: int = meta["blocks"]
        self.content: str = meta["content"]
        self._count: int = meta["count"]
        self._files: dict[str, Any] = meta["files"]
        self._tags_are_sound = False
        if verify:
            self._verify(INDEX_FILE)
        self.places = Places(self.path / INDEX_FILE)
        self.members = open_members(self.path, meta)
        self._first_shards = [member.first_shard for member in self.members]
        self._shard = lru_cache(_OPEN_SHARDS)(ShardFile)

    def __reduce__(self) -> tuple[type[RegionStore], tuple[Path, bool]]:
        return (type(self), (self.path, False))

    def __len__(self) -> int:
        return self._count

    def __contains__(self, image_id: str) -> bool:
        return self.places.find(image_id) is not None

    @cached_property
    def ids(self) -> list[str]:
        """The image ids in the order in which they were written; all of them in memory, unlike :meth:`blocks`."""
        return [image_id for block in self.blocks() for image_id in block.column("image_id").to_pylist()]

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """The columns of ``TAGS_SCHEMA`` of all images, in the order in which they were written, some at a time.

        Raises:
            InputError: they are damaged.
        """
        if not self._tags_are_sound:
            self._verify(TAGS_FILE)
            self._tags_are_sound = True
        yield from read_batches([self.path / TAGS_FILE])

    def get(self, image_id: str) -> Regions:
        """The regions of an image, in the caller's own arrays: a KeyError where there are none.

        Raises:
            InputError: they are damaged.
        """
        place = self.places.find(image_id)
        if place is None:
            raise KeyError(f"image {image_id} is not in {self.path}")
        member = self._member(place.shard)
        file = shard_path(member.path, place.shard - member.first_shard)
        try:
            regions, found = self._shard(file).read(image_id, *place[1:4], self.feature_dim)
            problem = "" if found == place.checksum else "its content does not have the checksum that the index says"
        except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
            problem = f"the file cannot be read ({type(error).__name__}: {error})"
        if problem:
            raise InputError(f"{file} (image {image_id})", f"is damaged: {problem}", DAMAGED_STORE)
        return member.numbers.of(regions)

    def thumbnail(self, image_id: str) -> bytes | None:
        """A small copy of an image's picture, as JPEG; ``None`` where none was kept, or there is no such image."""
        place = self.places.find(image_id)
        if place is None:
            return None
        member = self._member(place.shard)
        return read_thumbnail(member.path, place.shard - member.first_shard, place.image)

    def _member(self, shard: int) -> Member:
        return self.members[bisect_right(self._first_shards, shard) - 1]

    def _verify(self, name: str) -> None:
        if damaged_files(self.path, {name: self._files[name]}):
            raise InputError(str(self.path / name), "is damaged or missing: it is not as it was written", DAMAGED_STORE)


class RegionStoreWriter:
    """Writes a region store in one process, in a ``with`` statement; it appears whole at its end, or not at all.

    Args:
        path: the folder to write; a store that is already there is replaced, anything else is an InputError.
        object_names: the detector's class names.
        attribute_names: its attribute names, empty where it has none.
        feature_dim: numbers per region feature.
    """

    def __init__(self, path: str | Path, object_names: Sequence[str], attribute_names: Sequence[str], feature_dim: int):
        self._path = Path(path)
        self._names = object_names, attribute_names
        self._feature_dim = feature_dim
        self._ids: set[str] = set()
        self._shard = StoreShard(feature_dim)
        self._num_shards = 0
        self._stack = ExitStack()

    def __enter__(self) -> RegionStoreWriter:
        self._folder = self._stack.enter_context(publish_folder(self._path, foreign_in_store))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                raise error
            self._end_shard()
            write_index(self._folder, *self._names, self._feature_dim)

    def put(self, regions: Regions) -> None:
        """Add an image.

        Raises:
            InputError: its id is already there or cannot be one, or its arrays do not fit each other.
        """
        regions.check(self._feature_dim, *map(len, self._names))
        if regions.image_id in self._ids:
            where = f"image {regions.image_id}"
            raise InputError(where, "this image id is already in the store", "Give every image an id of its own")
        self._ids.add(regions.image_id)
        self._shard.add(regions)
        if self._shard.num_bytes >= _BYTES_PER_SHARD:
            self._end_shard()

    def _end_shard(self) -> None:
        if len(self._shard):
            self._shard.save(shard_path(self._folder, self._num_shards))
            self._num_shards += 1
            self._shard = StoreShard(self._feature_dim)
