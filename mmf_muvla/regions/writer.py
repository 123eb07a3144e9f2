"""Writes region stores: in one go, or in steps that a killed process can be continued from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from mmf_muvla.artifacts.files import (
    digest_of_json,
    is_temporary,
    publish_folder,
    put_folder_in_place,
    refuse_foreign,
    remove_as_a_whole,
    remove_leftovers,
)
from mmf_muvla.artifacts.outputs import MARK, is_signed, sign_folder
from mmf_muvla.errors import InputError
from mmf_muvla.regions.lmdb_files import opened
from mmf_muvla.regions.records import (
    FORMAT,
    META_KEY,
    PROGRESS_KEY,
    EncodedRegions,
    Regions,
    block_key,
    encode_block,
    encode_regions,
    id_problem,
)

_BYTES_PER_BLOCK = 16 * 2**20
_IMAGES_PER_BLOCK = 4096
_FIRST_MAP_SIZE = 2**30
_DIGEST_BYTES = 16
# A lock comes there when another program opens the store.
_STORE_FILES = ("data.mdb", "lock.mdb", MARK)
_STATE_KEYS = {"names", "counts", "digest", "map_size", "progress"}


class RegionStoreWriter:
    """Writes a region store, in a ``with`` statement. The store appears whole when the block ends, or not at all.

    With ``resume``, what was committed survives the process: the store is written in ``<path>.partial``, and a writer
    that finds such a folder, made with the same names and ``feature_dim``, goes on after the last :meth:`commit`. The
    finished file is the same, byte for byte, however often that happened. Only one process may write to a path.

    Args:
        path: the folder to write; a store that is already there is replaced, anything else is not.
        object_names: the detector's class names.
        attribute_names: its attribute names, empty where it has none.
        feature_dim: numbers per region feature.
        resume: continue what a killed process has begun. Then nothing is written until :meth:`commit` is called.

    Attributes:
        progress: inside the ``with`` statement, what the last :meth:`commit` was given; ``None`` before the first.
        finished: inside the ``with`` statement, whether a killed process had written everything, so that leaving the
            statement is all that is left to do.

    Raises:
        InputError: on entering the ``with`` statement, or leaving it: something else than a store is there.
    """

    def __init__(
        self,
        path: str | Path,
        object_names: Sequence[str],
        attribute_names: Sequence[str],
        feature_dim: int,
        resume: bool = False,
    ):
        self.progress: Any = None
        self.finished = False
        self._path = Path(path)
        self._object_names = list(object_names)
        self._attribute_names = list(attribute_names)
        self._feature_dim = feature_dim
        self._resume = resume
        self._counts = {"blocks": 0, "images": 0, "regions": 0}
        # A chain over the records, so that it can be continued.
        self._digest = bytes(_DIGEST_BYTES)
        self._block: list[EncodedRegions] = []
        self._block_bytes = 0
        self._pending: dict[bytes, bytes] = {}
        self._map_size = _FIRST_MAP_SIZE
        self._folder = partial_path(self._path)
        self._publication: AbstractContextManager[Path] | None = None
        self._environment: lmdb.Environment | None = None

    def __enter__(self) -> RegionStoreWriter:
        if self._resume:
            self._continue()
        else:
            self._publication = publish_folder(self._path, foreign_in_store)
            self._folder = self._publication.__enter__()
        self._environment = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._environment is not None
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._close(type(failure), failure, failure.__traceback__)
            raise
        self._close(kind, error, trace)

    def __contains__(self, image_id: str) -> bool:
        if id_problem(image_id) is not None:
            return False
        key = image_id.encode()
        assert self._environment is not None
        with self._environment.begin(buffers=True) as transaction:
            return key in self._pending or transaction.get(key) is not None

    def put(self, regions: Regions) -> None:
        """Add an image.

        Raises:
            InputError: its id is already there or cannot be a key, or its arrays do not fit each other.
        """
        regions.check(self._feature_dim, len(self._object_names), len(self._attribute_names))
        self.put_encoded(encode_regions(regions))

    def put_encoded(self, image: EncodedRegions) -> None:
        """Add an image that :func:`~mmf_muvla.regions.records.encode_regions` made of arrays that fit.

        Raises:
            InputError: its id is already there.
        """
        if image.image_id in self:
            raise InputError(
                f"image {image.image_id}", "this image id is already in the store", "Give every image an id of its own"
            )
        key = image.image_id.encode()
        link = len(key).to_bytes(4, "little") + key + image.digest
        self._digest = hashlib.blake2b(self._digest + link, digest_size=_DIGEST_BYTES).digest()
        self._counts["images"] += 1
        self._counts["regions"] += len(image.class_id)
        self._pending[key] = image.record
        self._block.append(image)
        self._block_bytes += len(image.record)
        if self._block_bytes >= _BYTES_PER_BLOCK or len(self._block) >= _IMAGES_PER_BLOCK:
            self._end_block()
            if not self._resume:
                self._write()

    def commit(self, progress: Any) -> None:
        """Write what has been added, and ``progress`` with it: after a kill, both are there or neither.

        Args:
            progress: what the caller needs to continue from here, as JSON.
        """
        self.progress = progress
        self._end_block()
        self._write()

    def _end_block(self) -> None:
        if self._block:
            self._pending[block_key(self._counts["blocks"])] = encode_block(self._block)
            self._counts["blocks"] += 1
            self._block.clear()
            self._block_bytes = 0

    def _write(self, last: bool = False) -> None:
        notes: dict[bytes, Any] = {}
        while True:
            assert self._environment is not None
            if last:
                notes = {META_KEY: self._meta()}
            elif self._resume:
                notes = {PROGRESS_KEY: self._state()}
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, record in self._pending.items():
                        transaction.put(key, record)
                    if last:
                        transaction.delete(PROGRESS_KEY)
                    for key, note in notes.items():
                        transaction.put(key, json.dumps(note, ensure_ascii=False).encode())
                break
            except lmdb.MapFullError:
                # Address space is cheap, but not on every machine; so it grows with the store.
                self._map_size *= 2
                self._reopen()
        self._pending.clear()
        # Where LMDB puts a record depends also on what it has in memory. So it forgets that every time, as if the
        # process had been killed here.
        self._reopen()

    def _finish(self) -> None:
        assert self._environment is not None
        if not self.finished:
            self._end_block()
            self._write(last=True)
        self._environment.sync(True)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._environment is not None
        self._environment.close()
        if self._publication:
            self._publication.__exit__(kind, error, trace)
        elif error is None:
            (self._folder / MARK).unlink(missing_ok=True)
            put_folder_in_place(self._folder, self._path, foreign_in_store)

    def _open(self) -> lmdb.Environment:
        # Pages are zeroed, so that equal stores are equal files. A store that is to be resumed is synchronised before a
        # commit is made valid, so that it is sound even after a power failure; another one once, at its end.
        return lmdb.open(
            str(self._folder), map_size=self._map_size, lock=False, sync=self._resume, metasync=False, meminit=True
        )

    def _reopen(self) -> None:
        assert self._environment is not None
        self._environment.close()
        self._environment = self._open()

    def _continue(self) -> None:
        for path in (self._path, self._folder):
            refuse_foreign(path, foreign_in_store)
        if self._folder.parent.is_dir():
            remove_leftovers(self._folder)
        state, meta = _read_notes(self._folder)
        if meta and meta["names"] == self._names_digest():
            self.finished = True
        elif state and state["names"] == self._names_digest():
            self._counts = state["counts"]
            self._digest = bytes.fromhex(state["digest"])
            self._map_size = state["map_size"]
            self.progress = state["progress"]
        else:
            remove_as_a_whole(self._folder)
            self._folder.mkdir(parents=True)
            sign_folder(self._folder)

    def _state(self) -> dict[str, Any]:
        return {
            "names": self._names_digest(),
            "counts": self._counts,
            "digest": self._digest.hex(),
            "map_size": self._map_size,
            "progress": self.progress,
        }

    def _names_digest(self) -> str:
        return digest_of_json([FORMAT, self._feature_dim, self._object_names, self._attribute_names])

    def _meta(self) -> dict[str, Any]:
        return {
            **FORMAT,
            "feature_dim": self._feature_dim,
            "count": self._counts["images"],
            "regions": self._counts["regions"],
            "blocks": self._counts["blocks"],
            "content": self._digest.hex(),
            "names": self._names_digest(),
            "object_names": self._object_names,
            "attribute_names": self._attribute_names,
        }


def partial_path(path: Path) -> Path:
    """Where a store that can be resumed is written until it is whole."""
    return path.with_name(f"{path.name}.partial")


def foreign_in_store(folder: Path) -> Path | None:
    """What in a folder is no part of a region store, whole or unfinished; the folder, if there is no store in it."""
    for path in sorted(folder.iterdir()):
        if not is_temporary(path) and (path.name not in _STORE_FILES or path.is_symlink() or not path.is_file()):
            return path
    if is_signed(folder) or all(map(is_temporary, folder.iterdir())):
        return None  # unfinished; a kill or a power failure may have left nothing that can be read
    state, meta = _read_notes(folder)
    is_whole = isinstance(meta, dict) and meta.get("format") == FORMAT["format"]
    is_begun = isinstance(state, dict) and state.keys() >= _STATE_KEYS
    return None if is_whole or is_begun else folder


def _read_notes(folder: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What the last commit noted, and what the very last one did; ``None`` where they are not there."""
    try:
        with opened(folder) as environment, environment.begin() as transaction:
            state, meta = (json.loads(transaction.get(key) or b"null") for key in (PROGRESS_KEY, META_KEY))
    except (lmdb.Error, OSError, ValueError):
        return None, None
    return state, meta
