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
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.lmdb_files import META_KEY, LmdbFile, is_lmdb_store
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import ListedSource, NameIds

_FORMAT = {"format": "muvla-regions", "version": 2}


class LmdbStore(ListedSource):
    """A store of version 2. Of the options, only ``feature_dim`` counts: the images are as they are to be."""

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

    def names(self) -> tuple[list[str], list[str]]:
        return self._meta["object_names"], self._meta["attribute_names"]

    def image_ids(self, problems: list[BadRecord]) -> Iterator[str]:
        for number in range(self._meta["blocks"]):
            record = self._file.get(f"__block__{number:08d}".encode())
            if record is None:
                problem = f"block {number} of {self._meta['blocks']} is missing"
                raise InputError(str(self.path), problem, "Copy it again")
            with pa.ipc.open_stream(pa.py_buffer(record)) as reader:
                yield from reader.read_next_batch().column("image_id").to_pylist()

    def read_image(self, image_id: str, names: NameIds) -> FoundImage:
        objects, attributes = self.names()
        try:
            columns = load(bytes(self._file.get(image_id.encode()) or b""))
            width, height = columns.pop("image_size").tolist()
            regions = Regions(image_id, width, height, **columns)
            regions.check(self._meta["feature_dim"], len(objects), len(attributes))
        except (SafetensorError, LookupError, ValueError, TypeError, InputError) as error:
            bad = Place(self.path, None, image_id)
            raise bad("record is damaged", str(error)[:200], "Copy the store again") from error
        # The new store has its names in another order, and perhaps those of other sources as well.
        class_id = names.class_ids(objects[number] for number in regions.class_id)
        attribute_id = names.attribute_ids(attributes[it] if it >= 0 else None for it in regions.attribute_id)
        return FoundImage(replace(regions, class_id=class_id, attribute_id=attribute_id))
