"""The stores that a region store is joined of, and where they are: ``stores.txt`` has the folder of each in a line.

The lines may be edited when stores have moved; relative ones begin at the folder of ``stores.txt``. What index each
store has is known, so that another one is not taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmf_muvla.errors import InputError
from mmf_muvla.regions.index import INDEX_FILE, STORES_FILE, Tagged, read_meta
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.shards import checksum


class Numbers:
    """Gives classes and attributes the numbers that they have in a joined store.

    Args:
        before, now: names of classes and of attributes, by the numbers that they had, and will have.

    Attributes:
        change: whether any number changes.
    """

    def __init__(self, before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]):
        places = [{name: number for number, name in enumerate(names)} for names in now]
        # What has no name, -1, finds itself at the end.
        self._classes, self._attributes = (
            np.array([*(place[name] for name in names), -1], np.int32)
            for names, place in zip(before, places, strict=True)
        )
        self.change = any((it[:-1] != np.arange(len(it) - 1)).any() for it in (self._classes, self._attributes))

    def of(self, regions: Regions) -> Regions:
        """The regions with new numbers."""
        if not self.change:
            return regions
        classes, attributes = self._classes[regions.class_id], self._attributes[regions.attribute_id]
        return replace(regions, class_id=classes, attribute_id=attributes)

    def of_tags(self, tagged: Tagged) -> Tagged:
        """Tags with new numbers, and the checksums that images get by that."""
        if not self.change:
            return tagged
        checksums, batch = tagged
        offsets = batch.column("class_id").offsets.to_numpy()
        before = [batch.column(name).values.to_numpy() for name in ("class_id", "attribute_id")]
        now = [numbers[ids] for numbers, ids in zip((self._classes, self._attributes), before, strict=True)]
        changes = [one ^ other for one, other in zip(before, now, strict=True)]
        checksums = checksums.copy()
        changed = np.add.reduceat(np.append((changes[0] | changes[1]) != 0, False), offsets[:-1], dtype=np.int64) > 0
        for image in np.flatnonzero(changed & (np.diff(offsets) > 0)):
            part = slice(offsets[image], offsets[image + 1])
            checksums[image] ^= _difference(*(it[part] for it in changes))
        lists = (pa.ListArray.from_arrays(batch.column("class_id").offsets, pa.array(it)) for it in now)
        columns = [batch.column("image_id"), *lists, batch.column("confidence")]
        return checksums, pa.record_batch(columns, schema=batch.schema)


def _difference(*changes: np.ndarray) -> int:
    """By what an image's checksum changes if such bits of its last columns but one, the confidence, do.

    CRC-32 and XOR are linear: what stands before and behind, and is the same, does not count.
    """
    same = np.zeros(len(changes[0]), np.float32)
    return checksum("", [*changes, same]) ^ checksum("", [*map(np.zeros_like, changes), same])


class Member(NamedTuple):
    """A folder with shards of a store.

    Attributes:
        path: the folder.
        first_shard: what the store numbers its first shard; others follow.
        numbers: those of classes and attributes in the store.
    """

    path: Path
    first_shard: int
    numbers: Numbers


def open_members(path: Path, meta: dict[str, Any]) -> list[Member]:
    """The folders in which a store's shards are: its own, or those of the stores that it is joined of.

    Raises:
        InputError: such a store is not where it should be, or another one is there.
    """
    names = meta["object_names"], meta["attribute_names"]
    if "stores" not in meta:
        return [Member(path, 0, Numbers(names, names))]
    if not (path / STORES_FILE).is_file():
        remedy = "Join the stores again with tools/import_regions.py"
        raise InputError(str(path / STORES_FILE), "is missing, and says where the regions are", remedy)
    places, members = folders_of(path), []
    if len(places) != len(meta["stores"]):
        problem = f"has {len(places)} lines, and {len(meta['stores'])} stores were joined"
        raise InputError(str(path / STORES_FILE), problem, "Give each a line")
    for place, expected in zip(places, meta["stores"], strict=True):
        where = f"{path / STORES_FILE}: {place}"
        remedy = f"Mount or copy it there, or write into {path / STORES_FILE} where it is"
        if not place.is_dir():
            raise InputError(where, "no such folder, and a region store should be there", remedy)
        found = read_meta(place)
        if found["files"][INDEX_FILE] != expected["index"]:
            problem = "is another region store than the one that was joined, or was imported anew"
            raise InputError(where, problem, f"{remedy}; or join the stores again with tools/import_regions.py")
        before = found["object_names"], found["attribute_names"]
        members.append(Member(place, expected["first_shard"], Numbers(before, names)))
    return members


def folders_of(path: Path) -> list[Path]:
    """Where the stores are that a store was joined of; of another one, and what is none, the folder itself."""
    file = path / STORES_FILE
    if not file.exists():
        return [path]
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return [path / line.strip() for line in lines if line.strip()]


def write_places_of(folder: Path, stores: Sequence[Path]) -> None:
    """Write where the stores are."""
    text = "".join(f"{store}\n" for store in stores)
    (folder / STORES_FILE).write_text(text, encoding="utf-8", errors="surrogateescape")
