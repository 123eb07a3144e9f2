"""Pictures that are files: in folders at any depth, or listed in a text file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mmf_muvla.detection.decoding import SUFFIXES
from mmf_muvla.detection.pictures.source import REMEDY, Columns, Listed, PictureSource, Reader, read_file
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import Place

_LISTS = (".txt", ".tsv", ".lst", ".list")


class PictureFolder(PictureSource):
    """All files with a picture's suffix in a folder, and in those inside of it, links followed.

    An image's id is its path in the folder, without the suffix: ``2014/dog`` for ``2014/dog.jpg``. Where files differ
    in nothing else, all of them keep it: ``2014/dog.jpg`` and ``2014/dog.png``. Hidden files and folders, whose names
    begin with a period, are passed over: programs keep copies and notes in them.
    """

    def __init__(self, path: Path, columns: Columns):
        super().__init__(path, columns)
        self._num_others = 0

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and next(cls(path, Columns()).files(), None) is not None

    def files(self) -> Iterator[str]:
        for folder, names in self._walk([]):
            yield from (os.path.join(folder, name) for name in names if _is_picture(name))

    def pictures(self, problems: list[BadRecord]) -> Iterator[Listed]:
        self._num_others = 0
        for folder, names in self._walk(problems):
            inner = os.path.relpath(folder, self.path)
            prefix = "" if inner == os.curdir else f"{Path(inner).as_posix()}/"
            chosen = [name for name in names if _is_picture(name)]
            stems = Counter(os.path.splitext(name)[0] for name in chosen)
            for name in chosen:
                stem = os.path.splitext(name)[0]
                yield Listed(prefix + (stem if stems[stem] == 1 else name), prefix + name)
            self._num_others += len(names) - len(chosen)

    def readers(self, pictures: Sequence[Listed]) -> Iterator[Reader]:
        return (partial(read_file, os.path.join(self.path, it.at)) for it in pictures)

    def place(self, picture: Listed) -> Place:
        return Place(self.path / picture.at, None, picture.image_id)

    def remark(self) -> str:
        if not self._num_others:
            return ""
        return f"{self._num_others} files have no picture's suffix or are hidden, and are passed over"

    def _walk(self, problems: list[BadRecord]) -> Iterator[tuple[str, list[str]]]:
        """Folders and the names of their files, sorted; links are followed, but not to a folder that they are in."""

        def visit(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
            bad = Place(Path(folder), None, "")
            try:
                status = os.stat(folder)
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                problems.append(bad("folder cannot be read", str(error.strerror), REMEDY))
                return
            if (status.st_dev, status.st_ino) in above:
                problems.append(bad("folder is a link to one that it is in", os.path.realpath(folder), REMEDY))
                return
            folders: list[str] = []
            names: list[str] = []
            for entry in entries:
                if not _is_folder(entry):
                    names.append(entry.name)
                elif not entry.name.startswith("."):
                    folders.append(entry.name)
            yield folder, names
            for name in folders:
                yield from visit(os.path.join(folder, name), above | {(status.st_dev, status.st_ino)})

        yield from visit(str(self.path), frozenset())


class PictureList(PictureSource):
    """A text file with the path of a picture in each line, seen from the file's folder; or an id, a tab and a path.

    Where a line has no id, that is its path without the suffix.
    """

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() in _LISTS

    def files(self) -> Iterator[Path]:
        yield self.path
        yield from (self._file(path) for _, _, path in self._lines())

    def pictures(self, problems: list[BadRecord]) -> Iterator[Listed]:
        for number, image_id, path in self._lines():
            yield Listed(image_id, [number, path])

    def readers(self, pictures: Sequence[Listed]) -> Iterator[Reader]:
        return (partial(read_file, self._file(it.at[1])) for it in pictures)

    def place(self, picture: Listed) -> Place:
        return Place(self._file(picture.at[1]), None, picture.image_id)

    def _lines(self) -> Iterator[tuple[int, str, str]]:
        """Numbers, ids and paths of the lines that are not empty."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="\n") as lines:
                for number, line in enumerate(lines, 1):
                    line = line.rstrip("\r\n")
                    image_id, tab, path = line.partition("\t")
                    if line.strip():
                        yield number, image_id if tab else os.path.splitext(line)[0], path if tab else line
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"images={self.path}", f"cannot be read as text in UTF-8 ({error})", REMEDY) from error

    def _file(self, path: str) -> Path:
        return self.path.parent / path


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
