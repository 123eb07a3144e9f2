"""Sources of pictures: what one has to have, those that are known, and how a path's is found out."""

from __future__ import annotations

import hashlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import Place
from mmf_muvla.regions.sources import first_names

_SOURCES = (
    "mmf_muvla.detection.pictures.shards:TarShards",
    "mmf_muvla.detection.pictures.tables:Tables",
    "mmf_muvla.detection.pictures.folders:PictureList",
    "mmf_muvla.detection.pictures.folders:PictureFolder",
)
_UNDERSTOOD = (
    "Name a folder of pictures, tar shards, parquet files or a folder of these, a data set as Hugging Face's library "
    "saves it, or a text file that lists pictures, one a line"
)
# No picture has so much, and a file that has can still be held in memory by every worker.
_MOST_BYTES = 512 * 2**20
REMEDY = "Replace the file, or leave such pictures out with on_bad_record=skip"


@dataclass(frozen=True)
class Listed:
    """A picture that a source has: its image id, and where it is, as JSON that only the source understands."""

    image_id: str
    at: Any


# Gives a picture's bytes; an OSError or a BadRecord where it cannot be read.
Reader = Callable[[], bytes]


@dataclass(frozen=True)
class Columns:
    """Where tables have pictures and their ids; ``None`` is found out."""

    image: str | None = None
    image_id: str | None = None


class PictureSource(ABC):
    """A folder or file with pictures. It is pickled to the processes that read."""

    def __init__(self, path: Path, columns: Columns):
        self.path = path
        self.columns = columns

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a path that exists is of this kind."""

    @abstractmethod
    def files(self) -> Iterable[str | Path]:
        """The files that are read, in order."""

    @abstractmethod
    def pictures(self, problems: list[BadRecord]) -> Iterator[Listed]:
        """All pictures, in an order that depends on nothing else; what cannot be one goes to ``problems``."""

    @abstractmethod
    def readers(self, pictures: Sequence[Listed]) -> Iterator[Reader]:
        """What reads each of some pictures, which stand one behind the other in the list."""

    @abstractmethod
    def place(self, picture: Listed) -> Place:
        """Where a picture stands, for messages."""

    def fingerprint(self) -> dict[str, Any]:
        """What identifies the content: names, sizes and times of change."""
        digest = hashlib.blake2b(digest_size=16)
        count = 0
        for file in self.files():
            count += 1
            try:
                status = os.stat(file)
                known = f"{status.st_size}\0{status.st_mtime_ns}"
            except (OSError, ValueError):
                known = "absent"
            digest.update(os.fsencode(f"{os.path.relpath(file, self.path)}\0{known}\n"))
        return {"files": count, "digest": digest.hexdigest()}

    def remark(self) -> str:
        """What was decided for the whole of the source, for the log; known when all pictures have been listed."""
        return ""


def open_pictures(path: Path, columns: Columns) -> PictureSource:
    """Open a source of pictures; an InputError where there is none that is understood."""
    where = f"images={path}"
    if not path.exists():
        raise InputError(where, "no such file or folder", _UNDERSTOOD)
    recognised = [kind for kind in map(_kind, _SOURCES) if kind.recognises(path)]
    if len(recognised) > 1:
        # What one kind of source reads, another one would pass over without a word.
        first = [next((Path(file).name for file in kind(path, columns).files()), "") for kind in recognised]
        problem = f"holds several kinds of sources of pictures ({', '.join(first)})"
        raise InputError(where, problem, "Name the files of one kind, or move those of the other away")
    if recognised:
        return recognised[0](path, columns)
    if path.is_dir():
        raise InputError(where, f"holds no pictures (it has {first_names(path)})", _UNDERSTOOD)
    raise InputError(where, "is a file that is neither tar, parquet, arrow nor a list of pictures", _UNDERSTOOD)


def _kind(name: str) -> type[PictureSource]:
    kind: type[PictureSource] = pkgutil.resolve_name(name)
    return kind


def read_file(path: str | Path, start: int = 0, size: int | None = None) -> bytes:
    """The bytes of a file, or some of them; an OSError where there are too many, or it is no ordinary file."""
    if not os.path.isfile(path) and os.path.exists(path):
        raise OSError("it is no file")
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size - start if size is None else size
        if length > _MOST_BYTES:
            raise OSError(f"it has {length} bytes, at most {_MOST_BYTES} are read")
        file.seek(start)
        return file.read(length)
