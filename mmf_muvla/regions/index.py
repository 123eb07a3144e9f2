"""The index of a region store: where each image is, and what is known of all images without their features.

``index.arrow`` has a row per image, sorted by ``digest``; ``tags.arrow`` has the images in the order in which they were
written; ``store.json``, written last, has the format, counts, names, and the checksums of the two tables.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from safetensors import safe_open

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.artifacts.files import describe_files, is_temporary, publish_file, read_record, write_record
from mmf_muvla.artifacts.parts import part_files
from mmf_muvla.regions.lmdb_files import is_lmdb_store
from mmf_muvla.regions.regions import image_digests
from mmf_muvla.regions.shards import SHARD, SUFFIX

FORMAT = {"format": "muvla-regions", "version": 3}
META_FILE, INDEX_FILE, TAGS_FILE = "store.json", "index.arrow", "tags.arrow"
# Where an image is: its shard (17: regions-000017.safetensors), its number and regions there, and their checksum.
_INT = pa.int32()
PLACE = {"shard": _INT, "image": _INT, "first_region": _INT, "num_regions": _INT, "checksum": pa.uint32()}
INDEX_SCHEMA = pa.schema({"digest": pa.uint64(), "image_id": pa.large_string(), **PLACE})
# What later stages need of the regions, without their features: a thousandth of the store's size.
_INTS = pa.list_(_INT)
TAGS_SCHEMA = pa.schema(
    {"image_id": pa.string(), "class_id": _INTS, "attribute_id": _INTS, "confidence": pa.list_(pa.float32())}
)
_IMAGES_PER_BLOCK = 4096
_STORE_FILE = re.compile(r"store\.json|index\.arrow|tags\.arrow|regions-\d{6}\.safetensors|thumbnails-\d{6}\.arrow")


class Indexed(NamedTuple):
    """What is in an index, and what is not: shard, number in that and id of images whose ids earlier ones have."""

    num_images: int
    num_regions: int
    repeated: list[tuple[int, int, str]]


def write_index(folder: Path, object_names: Sequence[str], attribute_names: Sequence[str], feature_dim: int) -> Indexed:
    """Make a store of the shards in a folder, in their order; of images that have the same id, the first one counts."""
    rows = _rows(folder)
    repeated = np.ones(len(rows), bool)
    repeated[np.unique(rows.column("image_id").dictionary_encode().indices, return_index=True)[1]] = False
    order = np.argsort(rows.column("digest").to_numpy(), kind="stable")
    with publish_file(folder / INDEX_FILE) as file, TableWriter(file, INDEX_SCHEMA) as writer:
        writer.write(*rows.take(order[~repeated[order]]).columns)
    ids = hashlib.blake2b(digest_size=16)
    num_blocks = 0
    with publish_file(folder / TAGS_FILE) as file, TableWriter(file, TAGS_SCHEMA) as writer:
        for block in _blocks(_tags(folder, repeated)):
            writer.write(*block.columns)
            ids.update("".join(f"{image_id}\n" for image_id in block.column("image_id").to_pylist()).encode())
            num_blocks += 1
    checksums = rows.column("checksum").to_numpy()[~repeated]
    ids.update(checksums.tobytes())
    num_regions = int(rows.column("num_regions").to_numpy()[~repeated].sum())
    meta = {
        **FORMAT,
        "feature_dim": feature_dim,
        "count": len(checksums),
        "regions": num_regions,
        "blocks": num_blocks,
        "content": ids.hexdigest(),
        "object_names": list(object_names),
        "attribute_names": list(attribute_names),
        "files": describe_files(folder, [folder / INDEX_FILE, folder / TAGS_FILE]),
    }
    write_record(folder / META_FILE, meta)
    left_out = rows.filter(pa.array(repeated))
    places = (left_out.column(name).to_pylist() for name in ("shard", "image", "image_id"))
    return Indexed(len(checksums), num_regions, list(zip(*places, strict=True)))


def foreign_in_store(folder: Path) -> Path | None:
    """What in a folder is no part of a region store; the folder, if there is no store in it."""
    if is_lmdb_store(folder):
        return None
    for path in sorted(folder.iterdir()):
        if not is_temporary(path) and (not _STORE_FILE.fullmatch(path.name) or path.is_symlink() or path.is_dir()):
            return path
    meta = read_record(folder / META_FILE) or {}
    return None if meta.get("format") == FORMAT["format"] else folder


def store_files(folder: Path) -> list[Path]:
    """The files of a store, without what else may lie beside them."""
    return sorted(path for path in folder.iterdir() if _STORE_FILE.fullmatch(path.name))


def _rows(folder: Path) -> pa.RecordBatch:
    """The rows of the index, in the order of the shards, repeated ids included."""
    batches = []
    for number, path in enumerate(part_files(folder, SHARD, SUFFIX)):
        with safe_open(path, "np") as file:
            ids, counts = _image_ids(file), file.get_tensor("num_regions")
            places = np.full(len(ids), number), np.arange(len(ids)), np.cumsum(counts) - counts
            columns = [image_digests(ids), ids, *places, counts, file.get_tensor("checksum")]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, INDEX_SCHEMA, strict=True)]
        batches.append(pa.record_batch(arrays, schema=INDEX_SCHEMA))
    table = pa.Table.from_batches(batches, INDEX_SCHEMA).combine_chunks()
    return next(iter(table.to_batches()), pa.RecordBatch.from_pylist([], INDEX_SCHEMA))


def _tags(folder: Path, repeated: np.ndarray) -> Iterator[pa.RecordBatch]:
    """A batch per shard."""
    first = 0
    for path in part_files(folder, SHARD, SUFFIX):
        with safe_open(path, "np") as file:
            ids = _image_ids(file)
            offsets = pa.array(np.cumsum([0, *file.get_tensor("num_regions")], dtype=np.int32))
            lists = [
                pa.ListArray.from_arrays(offsets, pa.array(file.get_tensor(name))) for name in TAGS_SCHEMA.names[1:]
            ]
        batch = pa.record_batch([pa.array(ids, pa.string()), *lists], schema=TAGS_SCHEMA)
        yield batch.filter(pa.array(~repeated[first : first + len(ids)]))
        first += len(ids)


def _blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, in batches of one size."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _IMAGES_PER_BLOCK:
            *full, rest = _cut(waiting)
            yield from full
            waiting = [rest]
    yield from _cut(waiting)


def _cut(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(batches, TAGS_SCHEMA).combine_chunks().to_batches(max_chunksize=_IMAGES_PER_BLOCK)


def _image_ids(file: safe_open) -> list[str]:
    return file.get_tensor("image_id").tobytes().decode().split("\n")[:-1]
