"""The records of a region store: what is in them, and how they are encoded.

Record of an image, encoded with safetensors, under its id: ``image_feature_0`` float16 [n, d], ``bbox`` float32 [n, 4]
(x1, y1, x2, y2 in pixels), ``class_id`` int32 [n], ``attribute_id`` int32 [n] (-1: none), ``confidence`` float32 [n],
``image_size`` int32 [2] (width, height).

Record of a block, ``__block__00000012``: an Arrow IPC stream with what is known of some thousand images but for their
features and boxes, in the order in which they were written. ``__meta__`` holds JSON: format, counts, and the names that
the ids stand for. ``__progress__`` is there while the store is being written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
from safetensors.numpy import save

from mmf_muvla.artifacts.arrow import list_array
from mmf_muvla.regions.regions import Regions, id_problem, tag_texts

__all__ = ["Regions", "id_problem", "tag_texts"]

FORMAT = {"format": "muvla-regions", "version": 2}
META_KEY = b"__meta__"
PROGRESS_KEY = b"__progress__"
_BLOCK_PREFIX = b"__block__"
# What later stages need of the regions, without their features: a thousandth of the store's size.
TAGS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("class_id", pa.list_(pa.int32())),
        ("attribute_id", pa.list_(pa.int32())),
        ("confidence", pa.list_(pa.float32())),
    ]
)
_DTYPES: dict[str, np.dtype] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4")}


@dataclass(frozen=True)
class EncodedRegions:
    """The regions of one image, ready to be written.

    Attributes:
        image_id: the image's name.
        record: see :mod:`mmf_muvla.regions.records`.
        digest: of ``record``.
        class_id, attribute_id, confidence: as in :class:`Regions`.
    """

    image_id: str
    record: bytes
    digest: bytes
    class_id: np.ndarray
    attribute_id: np.ndarray
    confidence: np.ndarray


def encode_regions(regions: Regions) -> EncodedRegions:
    """Make the record of an image."""
    record = save(
        {
            "image_feature_0": np.ascontiguousarray(regions.image_feature_0, np.float16),
            "bbox": np.ascontiguousarray(regions.bbox, np.float32),
            "class_id": np.ascontiguousarray(regions.class_id, np.int32),
            "attribute_id": np.ascontiguousarray(regions.attribute_id, np.int32),
            "confidence": np.ascontiguousarray(regions.confidence, np.float32),
            "image_size": np.array([regions.width, regions.height], np.int32),
        }
    )
    digest = hashlib.blake2b(record, digest_size=16).digest()
    return EncodedRegions(regions.image_id, record, digest, regions.class_id, regions.attribute_id, regions.confidence)


def decode_regions(image_id: str, record: bytearray) -> Regions:
    """Read the record of an image; the arrays lie in ``record``."""
    # The safetensors format, read in place: an 8-byte length, a JSON header, the tensors. Three times as fast as the
    # library, which copies every tensor.
    start = 8 + int.from_bytes(record[:8], "little")
    header = json.loads(record[8:start])
    arrays = {}
    for name, entry in header.items():
        dtype = _DTYPES[entry["dtype"]]
        first, end = entry["data_offsets"]
        values = np.frombuffer(record, dtype, count=(end - first) // dtype.itemsize, offset=start + first)
        arrays[name] = values.reshape(entry["shape"])
    width, height = arrays.pop("image_size").tolist()
    return Regions(image_id=image_id, width=width, height=height, **arrays)


def block_key(number: int) -> bytes:
    """The key of a block's record."""
    return _BLOCK_PREFIX + f"{number:08d}".encode()


def encode_block(images: Sequence[EncodedRegions]) -> bytes:
    """Make the record of a block."""
    columns = [
        pa.array([image.image_id for image in images], pa.string()),
        list_array([image.class_id for image in images], np.int32),
        list_array([image.attribute_id for image in images], np.int32),
        list_array([image.confidence for image in images], np.float32),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TAGS_SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=TAGS_SCHEMA))
    return sink.getvalue().to_pybytes()


def decode_block(record: bytearray) -> pa.RecordBatch:
    """Read the record of a block; its buffers lie in ``record``."""
    with pa.ipc.open_stream(pa.py_buffer(record)) as reader:
        return reader.read_next_batch()


def open_whole(path: Path) -> lmdb.Environment:
    """Open an LMDB, a folder or a single file, for reading.

    Raises:
        lmdb.Error: it is none, or has been cut off.
    """
    environment = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
    # A file that was cut off while it was copied would kill the process on the first access beyond its end.
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    file = path / "data.mdb" if path.is_dir() else path
    size = file.stat().st_size
    if size < expected:
        environment.close()
        raise lmdb.CorruptedError(f"{file.name} has {size} bytes of {expected}")
    return environment
