"""LMDBs that are read here and there in a process, and on both sides of a fork."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import lmdb

from mmf_muvla.errors import InputError

# Of region stores of former versions.
META_KEY, _PROGRESS_KEY = b"__meta__", b"__progress__"


class LmdbFile:
    """Reads an LMDB's records. It can be pickled, and used on both sides of a fork.

    However many of them read a file, and by whatever path, the file is open once, and stays open: LMDB must not be
    opened twice in a process. ``kind`` ("a region store", say) and ``remedy`` are for messages.
    """

    def __init__(self, path: Path, kind: str, remedy: str):
        self.path = path
        self._kind = kind
        self._remedy = remedy
        self._identity = _identity(path)

    def __reduce__(self) -> tuple[type[LmdbFile], tuple[Path, str, str]]:
        return (type(self), (self.path, self._kind, self._remedy))

    def __contains__(self, key: bytes) -> bool:
        with self._environment().begin(buffers=True) as transaction:
            return transaction.get(key) is not None

    def get(self, key: bytes) -> bytearray | None:
        """A record, the caller's own; an InputError where the file is damaged, or another one has taken its place."""
        with self._environment().begin(buffers=True) as transaction:
            record = transaction.get(key)
            return None if record is None else bytearray(record)

    def first_keys(self, count: int) -> list[bytes]:
        """The first ``count`` keys, in the order of their bytes; fewer where there are fewer."""
        with self._environment().begin(buffers=True) as transaction:
            return [bytes(key) for key in islice(transaction.cursor().iternext(values=False), count)]

    def _environment(self) -> lmdb.Environment:
        if self._identity not in _environments:
            if _identity(self.path) != self._identity:
                problem = "was replaced while it was being read"
                raise InputError(str(self.path), problem, "Start the reading program again")
            try:
                _environments[self._identity] = _open_whole(self.path)
            except lmdb.Error as error:
                raise InputError(str(self.path), f"cannot be read as {self._kind} ({error})", self._remedy) from error
        return _environments[self._identity]


def _open_whole(path: Path) -> lmdb.Environment:
    """Open an LMDB for reading; an lmdb.Error where it is none, or has been cut off."""
    environment = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
    # A file that was cut off while it was copied would kill the process on the first access beyond its end.
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    file = _file(path)
    size = file.stat().st_size
    if size < expected:
        environment.close()
        raise lmdb.CorruptedError(f"{file.name} has {size} bytes of {expected}")
    return environment


def is_lmdb_store(folder: Path) -> bool:
    """Whether a folder is a region store of a former version, whole or not, with nothing else in it."""
    if not (folder / "data.mdb").is_file() or not {path.name for path in folder.iterdir()} <= {"data.mdb", "lock.mdb"}:
        return False
    try:
        # One that is open must not be opened again, nor be closed under its reader.
        known = _environments.get(_identity(folder))
        with nullcontext(known) if known else _open_whole(folder) as environment, environment.begin() as transaction:
            meta = json.loads(transaction.get(META_KEY) or b"{}")
            return meta.get("format") == "muvla-regions" or transaction.get(_PROGRESS_KEY) is not None
    except (lmdb.Error, OSError, ValueError, AttributeError):
        return False


def older_store(path: Path) -> InputError:
    """The error where such a store cannot be read as it is."""
    remedy = f"Convert it: python tools/import_regions.py regions={path} out=NEW_FOLDER"
    return InputError(str(path), "is a region store of a former version, an LMDB", remedy)


def _file(path: Path) -> Path:
    return path / "data.mdb" if path.is_dir() else path


def _identity(path: Path) -> tuple[int, int]:
    status = _file(path).stat()
    return status.st_dev, status.st_ino


# By the file's identity, which an open file keeps to itself, also after another one has taken its place.
_environments: dict[tuple[int, int], lmdb.Environment] = {}


def _forget_environments() -> None:
    # An environment must not be carried over a fork: the child opens its own.
    for environment in _environments.values():
        environment.close()
    _environments.clear()


os.register_at_fork(after_in_child=_forget_environments)
