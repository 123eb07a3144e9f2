"""Shards of a region store: safetensors files with the regions of some hundred images each.

Columns with a row per region, those of one image together: ``image_feature_0``, ``bbox``, ``class_id``,
``attribute_id`` and ``confidence``, as in :class:`~mmf_muvla.regions.regions.Regions`. With a row per image:
``image_size`` (int32 [2], width and height), ``num_regions`` (int32) and ``checksum`` (uint32). And ``image_id``: the
ids in UTF-8 (uint8), each followed by a line break.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mmf_muvla.artifacts.parts import part_path
from mmf_muvla.regions.regions import Regions

SHARD, SUFFIX = "regions", ".safetensors"
_FEATURES = "image_feature_0"
# Column -> type, and numbers per row (0: of features); the checksum covers them in this order. All but the first have
# a row per region.
_COLUMNS: dict[str, tuple[np.dtype, int]] = {
    "image_size": (np.dtype("<i4"), 2),
    _FEATURES: (np.dtype("<f2"), 0),
    "bbox": (np.dtype("<f4"), 4),
    "class_id": (np.dtype("<i4"), 1),
    "attribute_id": (np.dtype("<i4"), 1),
    "confidence": (np.dtype("<f4"), 1),
}
_LONGEST_HEADER = 2**16
# A prime, so that nothing else in a file repeats at this distance.
_WORDS = 509


def shard_path(store: Path, number: int) -> Path:
    """The file of a shard."""
    return part_path(store, SHARD, number, SUFFIX)


def checksum(image_id: str, columns: Iterable[np.ndarray]) -> int:
    """CRC-32 of an image's id and its columns: ``image_size``, ``image_feature_0``, ``bbox``, ``class_id``,
    ``attribute_id``, ``confidence``. Of a long column it takes the XOR of rows of 509 64-bit words, and what is left.

    Every change of a single bit, or of up to 32 bits in a row, gives another checksum; of other changes, which do not
    cancel out, one in 2 ** 32 does not. CRC-32 of all bytes would take a tenth of the time of a training sample.
    """
    found = zlib.crc32(image_id.encode())
    for column in columns:
        rows = column.nbytes // (8 * _WORDS)
        if rows > 1:
            words = np.frombuffer(column, np.uint64, rows * _WORDS).reshape(rows, _WORDS)
            found = zlib.crc32(np.bitwise_xor.reduce(words), found)
            column = np.frombuffer(column, np.uint8, offset=words.nbytes)
        found = zlib.crc32(column.data, found)
    return found


class StoreShard:
    """Collects images for a file.

    Attributes:
        num_bytes: what they have together.
    """

    def __init__(self, feature_dim: int):
        # Each begins with nothing, of its shape and type.
        self._columns = {
            name: [np.zeros((0, width or feature_dim)[: 1 if width == 1 else 2], dtype)]
            for name, (dtype, width) in _COLUMNS.items()
        }
        self._ids: list[str] = []
        self._num_regions: list[int] = []
        self._checksums: list[int] = []
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, regions: Regions) -> None:
        """Add an image, whose arrays are copied."""
        arrays = {**vars(regions), "image_size": np.array([[regions.width, regions.height]])}
        columns = {name: np.array(arrays[name], dtype, order="C") for name, (dtype, _) in _COLUMNS.items()}
        for name, column in columns.items():
            self._columns[name].append(column)
            self.num_bytes += column.nbytes
        self._ids.append(regions.image_id)
        self._num_regions.append(len(regions))
        self._checksums.append(checksum(regions.image_id, columns.values()))

    def save(self, path: Path) -> None:
        """Write the file."""
        tensors = {name: np.concatenate(columns) for name, columns in self._columns.items()}
        tensors["num_regions"] = np.array(self._num_regions, "<i4")
        tensors["checksum"] = np.array(self._checksums, "<u4")
        tensors["image_id"] = np.frombuffer("".join(f"{image_id}\n" for image_id in self._ids).encode(), np.uint8)
        save_file(tensors, path)


class ShardFile:
    """Reads images out of a shard, which is mapped into memory: the library reads whole tensors, or copies them twice.

    Raises:
        OSError: there is no such file.
        ValueError: it is not whole.
    """

    def __init__(self, path: Path):
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(self._map[:8], "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"header of {length} bytes")
        header = json.loads(self._map[8 : 8 + length])
        self._starts = {name: 8 + length + int(header[name]["data_offsets"][0]) for name in _COLUMNS}

    def read(self, image_id: str, image: int, first: int, count: int, feature_dim: int) -> tuple[Regions, int]:
        """An image's regions, in arrays of their own, and their checksum; a ValueError where the file is too short.

        ``image`` is its number in the shard, ``first`` that of its first region.
        """
        columns: dict[str, np.ndarray] = {}
        for name, (dtype, width) in _COLUMNS.items():
            row, rows = (first, count) if columns else (image, 1)
            width = width or feature_dim
            start = self._starts[name] + row * width * dtype.itemsize
            columns[name] = np.frombuffer(self._map, dtype, rows * width, start).copy()
        found = checksum(image_id, columns.values())
        width, height = columns.pop("image_size").tolist()
        columns[_FEATURES] = columns[_FEATURES].reshape(count, feature_dim)
        columns["bbox"] = columns["bbox"].reshape(count, 4)
        return Regions(image_id, width, height, **columns), found
