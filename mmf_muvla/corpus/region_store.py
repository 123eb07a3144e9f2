"""The regions of images on disk: an LMDB with one safetensors record per image.

Record of an image: ``image_feature_0`` float16 [n, d], ``bbox`` float32 [n, 4] (x1, y1, x2, y2 in pixels),
``class_id`` int32 [n], ``attribute_id`` int32 [n] (-1: none), ``confidence`` float32 [n], ``image_size`` int32 [2]
(width, height). ``__meta__`` holds JSON with the names that the ids stand for, ``__ids__`` the image ids in the
order in which they were written, a line each.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np
from safetensors.numpy import save

from mmf_muvla.corpus.files import publish_folder
from mmf_muvla.errors import InputError

_FORMAT = {"format": "muvla-regions", "version": 1}
_META_KEY = b"__meta__"
_IDS_KEY = b"__ids__"
# LMDB's own limit on the length of a key.
_MAX_ID_BYTES = 511
_BYTES_PER_COMMIT = 64 * 2**20
_FIRST_MAP_SIZE = 2**30
_DTYPES: dict[str, np.dtype] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4")}


@dataclass(frozen=True)
class Regions:
    """The detected regions of one image.

    Attributes:
        image_id: the image's name.
        width, height: its size in pixels.
        image_feature_0: region features, float16 [n, d].
        bbox: x1, y1, x2, y2 in pixels, inside the image, float32 [n, 4].
        class_id: index into the store's ``object_names``, int32 [n].
        attribute_id: index into the store's ``attribute_names``, -1 where no attribute is known, int32 [n].
        confidence: the detector's confidence in the class, float32 [n].
    """

    image_id: str
    width: int
    height: int
    image_feature_0: np.ndarray
    bbox: np.ndarray
    class_id: np.ndarray
    attribute_id: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.class_id)

    def tags(self, object_names: Sequence[str], attribute_names: Sequence[str]) -> list[str]:
        """The object tag of every region: its class name, behind its attribute where that is known ("red car")."""
        return tag_texts(self.class_id, self.attribute_id, object_names, attribute_names)


def tag_texts(
    class_ids: np.ndarray, attribute_ids: np.ndarray, object_names: Sequence[str], attribute_names: Sequence[str]
) -> list[str]:
    """Tags as text; see :meth:`Regions.tags`."""
    return [
        object_names[class_id] if attribute_id < 0 else f"{attribute_names[attribute_id]} {object_names[class_id]}"
        for class_id, attribute_id in zip(class_ids.tolist(), attribute_ids.tolist(), strict=True)
    ]


class RegionStoreWriter:
    """Writes a region store, in a ``with`` statement. The store appears whole when the block ends, or not at all.

    Args:
        path: the folder to write; a store that is already there is replaced.
        object_names: the detector's class names.
        attribute_names: its attribute names, empty where it has none.
        feature_dim: numbers per region feature.
    """

    def __init__(self, path: str | Path, object_names: Sequence[str], attribute_names: Sequence[str], feature_dim: int):
        self._path = Path(path)
        self._object_names = list(object_names)
        self._attribute_names = list(attribute_names)
        self._feature_dim = feature_dim
        self._ids: list[str] = []
        self._known: set[str] = set()
        self._num_regions = 0
        self._content = hashlib.blake2b(digest_size=16)
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._publication: AbstractContextManager[Path] | None = None
        self._environment: lmdb.Environment | None = None

    def __enter__(self) -> RegionStoreWriter:
        self._publication = publish_folder(self._path)
        folder = self._publication.__enter__()
        # The file is synchronised once, when it is published. Pages are zeroed, so that equal stores are equal files.
        self._environment = lmdb.open(str(folder), map_size=_FIRST_MAP_SIZE, lock=False, sync=False, meminit=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._publication is not None and self._environment is not None
        try:
            if error is None:
                self._pending.append((_IDS_KEY, "\n".join(self._ids).encode()))
                self._pending.append((_META_KEY, json.dumps(self._meta(), ensure_ascii=False).encode()))
                self._commit()
                self._environment.sync(True)
        except BaseException as failure:
            self._environment.close()
            self._publication.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._environment.close()
        self._publication.__exit__(kind, error, trace)

    def put(self, regions: Regions) -> None:
        """Add an image.

        Raises:
            InputError: its id is already there or cannot be a key, or its arrays do not fit each other.
        """
        self._check(regions)
        record = _encode(regions)
        key = regions.image_id.encode()
        self._content.update(len(key).to_bytes(4, "little") + key + len(record).to_bytes(8, "little") + record)
        self._ids.append(regions.image_id)
        self._known.add(regions.image_id)
        self._num_regions += len(regions)
        self._pending.append((key, record))
        self._pending_bytes += len(record)
        if self._pending_bytes >= _BYTES_PER_COMMIT:
            self._commit()

    def _check(self, regions: Regions) -> None:
        where = f"image {regions.image_id}"
        if regions.image_id in self._known:
            raise InputError(where, "this image id is already in the store", "Give every image an id of its own")
        problem = id_problem(regions.image_id)
        if problem:
            raise InputError(where, problem, "Give the image another id")
        n = len(regions.class_id)
        shapes = {
            "image_feature_0": (regions.image_feature_0.shape, (n, self._feature_dim)),
            "bbox": (regions.bbox.shape, (n, 4)),
            "class_id": (regions.class_id.shape, (n,)),
            "attribute_id": (regions.attribute_id.shape, (n,)),
            "confidence": (regions.confidence.shape, (n,)),
        }
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise InputError(where, f"{name} has shape {shape}, expected {expected}", "Correct the arrays")
        for name, ids, names in (
            ("class_id", regions.class_id, self._object_names),
            ("attribute_id", regions.attribute_id, self._attribute_names),
        ):
            lowest = -1 if name == "attribute_id" else 0
            if n and not (lowest <= ids.min() and ids.max() < len(names)):
                raise InputError(
                    where,
                    f"{name} reaches from {ids.min()} to {ids.max()}, but there are {len(names)} names",
                    "Correct it",
                )

    def _commit(self) -> None:
        assert self._environment is not None
        while self._pending:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, record in self._pending:
                        transaction.put(key, record)
                self._pending.clear()
            except lmdb.MapFullError:
                # Address space is cheap, but not on every machine; so it grows with the store.
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
        self._pending_bytes = 0

    def _meta(self) -> dict[str, Any]:
        return {
            **_FORMAT,
            "feature_dim": self._feature_dim,
            "count": len(self._ids),
            "regions": self._num_regions,
            "content": self._content.hexdigest(),
            "object_names": self._object_names,
            "attribute_names": self._attribute_names,
        }


class RegionStore:
    """Reads a region store. It can be pickled, and used on both sides of a fork.

    Args:
        path: the store's folder.

    Attributes:
        object_names, attribute_names: what class and attribute ids stand for.
        feature_dim: numbers per region feature.
        num_regions: regions of all images together.
        content: a digest of all records; two stores with equal records, in equal order, have the same.

    Raises:
        InputError: ``path`` is not a region store.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "data.mdb").is_file():
            raise InputError(
                str(path), "is not a region store (it has no data.mdb)", "Make one with tools/import_regions.py"
            )
        self._identity = _identity(self.path)
        meta = json.loads(self._read(_META_KEY) or b"{}")
        if {key: meta.get(key) for key in _FORMAT} != _FORMAT:
            found = {key: meta.get(key) for key in _FORMAT}
            raise InputError(str(path), f"is not a region store of this version (it says {found})", "Import it again")
        self.object_names: list[str] = meta["object_names"]
        self.attribute_names: list[str] = meta["attribute_names"]
        self.feature_dim: int = meta["feature_dim"]
        self.num_regions: int = meta["regions"]
        self.content: str = meta["content"]
        self._count: int = meta["count"]
        self._ids: list[str] | None = None

    def __reduce__(self) -> tuple[type[RegionStore], tuple[Path]]:
        return (type(self), (self.path,))

    def __len__(self) -> int:
        return self._count

    def __contains__(self, image_id: str) -> bool:
        return id_problem(image_id) is None and self._read(image_id.encode()) is not None

    @property
    def ids(self) -> list[str]:
        """The image ids in the order in which they were written."""
        if self._ids is None:
            text = (self._read(_IDS_KEY) or b"").decode()
            self._ids = text.split("\n") if text else []
        return self._ids

    def get(self, image_id: str) -> Regions:
        """The regions of an image; the arrays are the caller's own.

        Raises:
            KeyError: the image is not in the store.
        """
        record = self._read(image_id.encode()) if id_problem(image_id) is None else None
        if record is None:
            raise KeyError(f"image {image_id} is not in {self.path}")
        return _decode(image_id, record)

    def _read(self, key: bytes) -> bytearray | None:
        with _open_environment(self.path, self._identity).begin(buffers=True) as transaction:
            record = transaction.get(key)
            return None if record is None else bytearray(record)


def id_problem(image_id: str) -> str | None:
    """Why an image id cannot be a key of a store, or ``None`` where it can."""
    if not image_id or "\n" in image_id:
        return f"{image_id!r} cannot be an image id: it is empty or has a line break"
    if image_id.encode() in (_META_KEY, _IDS_KEY):
        return f"{image_id!r} cannot be an image id: the store uses it itself"
    if len(image_id.encode()) > _MAX_ID_BYTES:
        return f"the id has {len(image_id.encode())} bytes, at most {_MAX_ID_BYTES} are possible"
    return None


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path / "data.mdb")
    return status.st_dev, status.st_ino


# One environment a file, however many stores read it and by whatever path: LMDB must not be opened twice in a process.
# An open file keeps its identity to itself, also after another one has taken its place.
_environments: dict[tuple[int, int], lmdb.Environment] = {}


def _open_environment(path: Path, identity: tuple[int, int]) -> lmdb.Environment:
    if identity not in _environments:
        if _identity(path) != identity:
            raise InputError(
                str(path), "the store was replaced while it was being read", "Start the reading program again"
            )
        try:
            environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise InputError(
                str(path), f"cannot be read as a region store ({error})", "Import the regions again"
            ) from error
        # A file that was cut off while it was copied would kill the process on the first access beyond its end.
        expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        size = (path / "data.mdb").stat().st_size
        if size < expected:
            environment.close()
            raise InputError(
                str(path), f"cannot be read as a region store: data.mdb has {size} bytes of {expected}", "Copy it again"
            )
        _environments[identity] = environment
    return _environments[identity]


def _forget_environments() -> None:
    # An environment must not be carried over a fork: the child opens its own.
    for environment in _environments.values():
        environment.close()
    _environments.clear()


os.register_at_fork(after_in_child=_forget_environments)


def _encode(regions: Regions) -> bytes:
    return save(
        {
            "image_feature_0": np.ascontiguousarray(regions.image_feature_0, np.float16),
            "bbox": np.ascontiguousarray(regions.bbox, np.float32),
            "class_id": np.ascontiguousarray(regions.class_id, np.int32),
            "attribute_id": np.ascontiguousarray(regions.attribute_id, np.int32),
            "confidence": np.ascontiguousarray(regions.confidence, np.float32),
            "image_size": np.array([regions.width, regions.height], np.int32),
        }
    )


def _decode(image_id: str, record: bytearray) -> Regions:
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
