"""Writes a region store in one process; :mod:`~mmf_muvla.regions.importing` writes the same with several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from mmf_muvla.artifacts.files import publish_folder
from mmf_muvla.errors import InputError
from mmf_muvla.regions.index import foreign_in_store, write_index
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.shards import StoreShard, shard_path

_BYTES_PER_SHARD = 32 * 2**20


class RegionStoreWriter:
    """Writes a region store, in a ``with`` statement. The store appears whole when the block ends, or not at all.

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
