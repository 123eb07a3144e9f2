"""Where each image of a region store is: the table ``index.arrow``, with a row per image, sorted by ``digest``.

Of a store of more than 2 ** 18 images it has 256 batches, one for each first byte of the digests, otherwise a single
one. So it is written and joined a batch at a time, and a reader, which maps it, looks at one batch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import MappedTable, TableWriter, read_batches
from mmf_muvla.artifacts.files import publish_file, temporary_name
from mmf_muvla.regions.regions import image_digests

_INT = pa.int32()
_PLACE = {"shard": _INT, "image": _INT, "first_region": _INT, "num_regions": _INT, "checksum": pa.uint32()}
PLACES_SCHEMA = pa.schema({"digest": pa.uint64(), "image_id": pa.large_string(), **_PLACE})
# So many rows are sorted at once; of more, those that have the same first byte of the digest.
_ROWS_AT_ONCE = 2**18
_BATCHES, _FIRST_BYTE = 256, np.uint64(56)


class Place(NamedTuple):
    """Where an image is: its shard (17: regions-000017.safetensors), its number and regions there, their checksum."""

    shard: int
    image: int
    first_region: int
    num_regions: int
    checksum: int


class Repeated(NamedTuple):
    """An image whose id an earlier one has."""

    shard: int
    image: int
    image_id: str


class Places:
    """Finds images in the table, which is mapped into memory; an InputError where that is missing or not whole."""

    def __init__(self, path: Path):
        self.batches = MappedTable(path).batches
        self._ids = [batch.column("image_id") for batch in self.batches]
        self._digests = [batch.column("digest").to_numpy() for batch in self.batches]
        self._columns = [[batch.column(name).to_numpy() for name in Place._fields] for batch in self.batches]

    def find(self, image_id: str) -> Place | None:
        """Where an image is; ``None`` where there is no such image."""
        try:
            (digest,) = image_digests([image_id])
        except UnicodeEncodeError:
            return None
        number = int(digest >> _FIRST_BYTE) if len(self.batches) > 1 else 0
        digests, ids = self._digests[number], self._ids[number]
        row = int(digests.searchsorted(digest))
        while row < len(digests) and digests[row] == digest:
            if ids[row].as_py() == image_id:
                return Place(*(int(column[row]) for column in self._columns[number]))
            row += 1
        return None


def write_places(path: Path, rows: Iterable[pa.RecordBatch]) -> list[Repeated]:
    """Write the table of rows in any order; of images that have the same id, the first one counts.

    Returns:
        The other ones, by shard and number.
    """
    repeated: list[Repeated] = []
    with publish_file(path) as file, TableWriter(file, PLACES_SCHEMA) as writer:
        for batch in _by_first_byte(path, iter(rows)):
            is_repeated = np.ones(len(batch), bool)
            is_repeated[np.unique(batch.column("image_id").dictionary_encode().indices, return_index=True)[1]] = False
            order = np.argsort(batch.column("digest").to_numpy(), kind="stable")
            writer.write(*batch.take(order[~is_repeated[order]]).columns)
            left_out = batch.filter(pa.array(is_repeated))
            found = (left_out.column(name).to_pylist() for name in Repeated._fields)
            repeated += map(Repeated._make, zip(*found, strict=True))
    return sorted(repeated)


def _by_first_byte(path: Path, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """All rows in one batch where they are few, otherwise those of each first byte; their order there stays."""
    first, count = [], 0
    for batch in rows:
        first.append(batch)
        count += len(batch)
        if count > _ROWS_AT_ONCE:
            break
    else:
        yield _joined(first)
        return
    folder = temporary_name(path.with_suffix(""))
    folder.mkdir()
    try:
        files = [folder / f"{number:03d}.arrow" for number in range(_BATCHES)]
        with ExitStack() as stack:
            writers = [stack.enter_context(TableWriter(file, PLACES_SCHEMA)) for file in files]
            for block in _blocks(chain(first, rows)):
                byte = block.column("digest").to_numpy() >> _FIRST_BYTE
                order = np.argsort(byte, kind="stable")
                block, ends = block.take(order), np.searchsorted(byte[order], np.arange(_BATCHES + 1))
                for writer, start, end in zip(writers, ends[:-1], ends[1:], strict=True):
                    writer.write(*block.slice(start, end - start).columns)
        for file in files:
            yield _joined([*read_batches([file])])
            file.unlink()
    finally:
        shutil.rmtree(folder)


def _blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    waiting, count = [], 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= _ROWS_AT_ONCE:
            yield _joined(waiting)
            waiting, count = [], 0
    yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches, PLACES_SCHEMA).combine_chunks()
    return next(iter(table.to_batches()), pa.RecordBatch.from_pylist([], PLACES_SCHEMA))
