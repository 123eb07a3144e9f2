"""Shards of a region store: safetensors files with the regions of some hundred images each.

For I images that have N regions together, whose features have d numbers:

==================  ==============  ==================================================================================
``image_feature_0``  float16 [N, d]  region features
``bbox``             float32 [N, 4]  x1, y1, x2, y2 in pixels
``class_id``         int32 [N]       number of the class in the store's ``object_names``
``attribute_id``     int32 [N]       number of the attribute in its ``attribute_names``, -1: none
``confidence``       float32 [N]     the detector's confidence in the class
``image_size``       int32 [I, 2]    width and height in pixels
``num_regions``      int32 [I]       regions of each image; those of one image lie together
``checksum``         uint32 [I]      see :func:`checksum`
``image_id``         uint8           the ids in UTF-8, each followed by a line break
==================  ==============  ==================================================================================
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
# Column -> type, and whether it has a row per region; the checksum covers them in this order.
_COLUMNS: dict[str, np.dtype] = {
    "image_size": np.dtype("<i4"),
    "image_feature_0": np.dtype("<f2"),
    "bbox": np.dtype("<f4"),
    "class_id": np.dtype("<i4"),
    "attribute_id": np.dtype("<i4"),
    "confidence": np.dtype("<f4"),
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
        shapes = {"image_size": (0, 2), "image_feature_0": (0, feature_dim), "bbox": (0, 4)}
        self._columns = {name: [np.zeros(shapes.get(name, (0,)), dtype)] for name, dtype in _COLUMNS.items()}
        self._ids: list[str] = []
        self._num_regions: list[int] = []
        self._checksums: list[int] = []
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, regions: Regions) -> None:
        """Add an image, whose arrays are copied."""
        arrays = {**vars(regions), "image_size": np.array([[regions.width, regions.height]])}
        columns = {name: np.array(arrays[name], dtype, order="C") for name, dtype in _COLUMNS.items()}
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
    """Reads images out of a shard, which is mapped into memory.

    Raises:
        OSError: there is no such file.
        ValueError: it is not whole.
    """

    # The library reads whole tensors, or copies them twice.

    def __init__(self, path: Path):
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(self._map[:8], "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"header of {length} bytes")
        header = json.loads(self._map[8 : 8 + length])
        self._starts = {name: 8 + length + int(header[name]["data_offsets"][0]) for name in _COLUMNS}

    def read(self, image_id: str, image: int, first: int, count: int, feature_dim: int) -> tuple[Regions, int]:
        """An image's regions, in arrays of their own, and their checksum.

        Args:
            image_id: the image's name.
            image: its number in the shard.
            first, count: its regions.
            feature_dim: numbers per feature.

        Raises:
            ValueError: the file is too short.
        """
        columns = {}
        for name, dtype in _COLUMNS.items():
            row, rows = (image, 1) if name == "image_size" else (first, count)
            width = {"image_size": 2, "image_feature_0": feature_dim, "bbox": 4}.get(name, 1)
            start = self._starts[name] + row * width * dtype.itemsize
            columns[name] = np.frombuffer(self._map, dtype, rows * width, start).copy()
        found = checksum(image_id, columns.values())
        width, height = columns.pop("image_size").tolist()
        columns["image_feature_0"] = columns["image_feature_0"].reshape(count, feature_dim)
        columns["bbox"] = columns["bbox"].reshape(count, 4)
        return Regions(image_id, width, height, **columns), found
