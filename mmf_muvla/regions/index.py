"""The tables of a region store: where each image is, and what is known of all images without their features.

``index.arrow`` is described in :mod:`mmf_muvla.regions.places`; ``tags.arrow`` has the images in the order in which
they were written; ``store.json``, written last, has the format, counts, names, and the checksums of the two tables.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from safetensors import safe_open

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.artifacts.files import describe_files, is_temporary, publish_file, read_record, write_record
from mmf_muvla.artifacts.parts import part_files
from mmf_muvla.errors import InputError
from mmf_muvla.regions.lmdb_files import is_lmdb_store, older_store
from mmf_muvla.regions.places import PLACES_SCHEMA, Repeated, write_places
from mmf_muvla.regions.regions import image_digests
from mmf_muvla.regions.shards import SHARD, SUFFIX

FORMAT = {"format": "muvla-regions", "version": 3}
META_FILE, INDEX_FILE, TAGS_FILE = "store.json", "index.arrow", "tags.arrow"
# Of a store that was joined of others: where these are.
STORES_FILE = "stores.txt"
# What later stages need of the regions, without their features: a thousandth of the store's size.
_INTS = pa.list_(pa.int32())
TAGS_SCHEMA = pa.schema(
    {"image_id": pa.string(), "class_id": _INTS, "attribute_id": _INTS, "confidence": pa.list_(pa.float32())}
)
DAMAGED_STORE = "Import the regions again, or copy them again"
_IMAGES_PER_BLOCK = 4096
_STORE_FILE = re.compile(
    r"store\.json|stores\.txt|index\.arrow|tags\.arrow|regions-\d{6}\.safetensors|thumbnails-\d{6}\.arrow"
)

# Some images in order: their checksums, uint32 [n], and their tags.
Tagged = tuple[np.ndarray, pa.RecordBatch]


class Indexed(NamedTuple):
    """What is in an index, and what is not."""

    num_images: int
    num_regions: int
    repeated: list[Repeated]


def write_index(folder: Path, object_names: Sequence[str], attribute_names: Sequence[str], feature_dim: int) -> Indexed:
    """Make a store of the shards in a folder, in their order; of images that have the same id, the first one counts."""
    repeated = write_places(folder / INDEX_FILE, _rows(folder))
    left_out: dict[int, list[int]] = defaultdict(list)
    for shard, image, _ in repeated:
        left_out[shard].append(image)
    counts = write_tags(folder, _tags(folder, left_out), object_names, attribute_names, feature_dim)
    return Indexed(*counts, repeated)


def write_tags(
    folder: Path,
    images: Iterable[Tagged],
    object_names: Sequence[str],
    attribute_names: Sequence[str],
    feature_dim: int,
    **more: Any,
) -> tuple[int, int]:
    """Write the table of tags, and the file that says what the store is and makes it whole, with ``more`` in it.

    Returns:
        How many images and regions there are.
    """
    content = hashlib.blake2b(digest_size=16)
    checksums: list[np.ndarray] = []
    num_regions = num_blocks = 0

    def tags() -> Iterator[pa.RecordBatch]:
        for found, batch in images:
            checksums.append(found)
            yield batch

    with publish_file(folder / TAGS_FILE) as file, TableWriter(file, TAGS_SCHEMA) as writer:
        for block in _blocks(tags()):
            writer.write(*block.columns)
            content.update("".join(f"{image_id}\n" for image_id in block.column("image_id").to_pylist()).encode())
            num_regions += len(block.column("class_id").flatten())
            num_blocks += 1
    for found in checksums:
        content.update(found.tobytes())
    num_images = sum(map(len, checksums))
    meta = {
        **FORMAT,
        "feature_dim": feature_dim,
        "count": num_images,
        "regions": num_regions,
        "blocks": num_blocks,
        "content": content.hexdigest(),
        "object_names": list(object_names),
        "attribute_names": list(attribute_names),
        **more,
        "files": describe_files(folder, [folder / INDEX_FILE, folder / TAGS_FILE]),
    }
    write_record(folder / META_FILE, meta)
    return num_images, num_regions


def read_meta(path: Path) -> dict[str, Any]:
    """What ``store.json`` says; an InputError where a folder is no store, or that file is damaged."""
    if is_lmdb_store(path):
        raise older_store(path)
    file = path / META_FILE
    if not file.is_file():
        remedy = "Make one with tools/import_regions.py"
        raise InputError(str(path), f"is not a region store (it has no {META_FILE})", remedy)
    meta = read_record(file)
    if meta is None:
        raise InputError(str(file), "is damaged: it does not have its own checksum", DAMAGED_STORE)
    found = {key: meta.get(key) for key in FORMAT}
    if found != FORMAT:
        raise InputError(str(path), f"is not a region store of this version (it says {found})", "Import it again")
    return meta


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


def _rows(folder: Path) -> Iterator[pa.RecordBatch]:
    """The rows of the index, in the order of the shards, repeated ids included."""
    for number, path in enumerate(part_files(folder, SHARD, SUFFIX)):
        with safe_open(path, "np") as file:
            ids, counts = _image_ids(file), file.get_tensor("num_regions")
            places = np.full(len(ids), number), np.arange(len(ids)), np.cumsum(counts) - counts
            columns = [image_digests(ids), ids, *places, counts, file.get_tensor("checksum")]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, PLACES_SCHEMA, strict=True)]
        yield pa.record_batch(arrays, schema=PLACES_SCHEMA)


def _tags(folder: Path, left_out: dict[int, list[int]]) -> Iterator[Tagged]:
    """Those of each shard, but for some images by shard and number."""
    for number, path in enumerate(part_files(folder, SHARD, SUFFIX)):
        with safe_open(path, "np") as file:
            ids, checksums = _image_ids(file), file.get_tensor("checksum")
            offsets = pa.array(np.cumsum([0, *file.get_tensor("num_regions")], dtype=np.int32))
            lists = [
                pa.ListArray.from_arrays(offsets, pa.array(file.get_tensor(name))) for name in TAGS_SCHEMA.names[1:]
            ]
        batch = pa.record_batch([pa.array(ids, pa.string()), *lists], schema=TAGS_SCHEMA)
        keep = np.ones(len(ids), bool)
        keep[left_out.get(number, [])] = False
        yield checksums[keep], batch.filter(pa.array(keep))


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
