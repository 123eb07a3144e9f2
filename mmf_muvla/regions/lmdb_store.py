"""Converts region stores of former versions, which are LMDBs.

``__meta__`` holds JSON: format, counts and names. Under its id, each image has a safetensors record: the columns of
:class:`~mmf_muvla.regions.regions.Regions`, and ``image_size``. The ids, in order, are in ``__block__00000012`` and so
on, Arrow IPC streams.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load

from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import FoundImage
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.lmdb_files import META_KEY, LmdbFile, is_lmdb_store
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import Contents, NameIds, RegionSource, Shard, ShardContent

_FORMAT = {"format": "muvla-regions", "version": 2}


class LmdbStore(RegionSource):
    """A store of version 2. Of the options, only ``feature_dim`` counts: the images are as they are to be.

    Raises:
        InputError: it is of another version, is not whole, or has features of another size.
    """

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels)
        self._file = LmdbFile(path, "a region store", "Copy it again")
        meta: dict[str, Any] = json.loads(self._file.get(META_KEY) or b"{}")
        found = {key: meta.get(key) for key in _FORMAT}
        if found != _FORMAT:
            problem = f"is not a region store that can be converted (it says {found})"
            raise InputError(str(path), problem, "Import again")
        if meta["feature_dim"] != options.feature_dim:
            problem = f"has features of {meta['feature_dim']} numbers, and feature_dim is {options.feature_dim}"
            raise InputError(str(path), problem, f"Set region_options.feature_dim={meta['feature_dim']}")
        self._meta = meta

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return is_lmdb_store(path)

    def fingerprint(self) -> dict[str, Any]:
        return {"content": self._meta["content"]}

    def prepare(self, index: Path, num_workers: int) -> Contents:
        return Contents(self._meta["count"], self._meta["object_names"], self._meta["attribute_names"], [])

    def shards(self, index: Path) -> Iterator[Shard]:
        return iter(range(self._meta["blocks"]))

    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        record = self._file.get(f"__block__{shard:08d}".encode())
        if record is None:
            raise InputError(str(self.path), f"block {shard} of {self._meta['blocks']} is missing", "Copy it again")
        with pa.ipc.open_stream(pa.py_buffer(record)) as reader:
            ids = reader.read_next_batch().column("image_id").to_pylist()
        return ShardContent([self._read_image(image_id, names) for image_id in ids])

    def _read_image(self, image_id: str, names: NameIds) -> FoundImage | BadRecord:
        objects, attributes = self._meta["object_names"], self._meta["attribute_names"]
        try:
            columns = load(bytes(self._file.get(image_id.encode()) or b""))
            width, height = columns.pop("image_size").tolist()
            regions = Regions(image_id, width, height, **columns)
            regions.check(self._meta["feature_dim"], len(objects), len(attributes))
        except (SafetensorError, LookupError, ValueError, TypeError, InputError) as error:
            return BadRecord(self.path, None, image_id, "record is damaged", str(error)[:200], "Copy the store again")
        # The new store has its names in another order, and perhaps those of other sources as well.
        class_id = names.class_ids(objects[number] for number in regions.class_id)
        attribute_id = names.attribute_ids(attributes[it] if it >= 0 else None for it in regions.attribute_id)
        return FoundImage(replace(regions, class_id=class_id, attribute_id=attribute_id))
