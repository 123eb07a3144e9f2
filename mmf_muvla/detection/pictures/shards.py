"""Pictures in tar shards, in WebDataset's layout, as img2dataset writes them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

from mmf_muvla.detection.decoding import SUFFIXES
from mmf_muvla.detection.pictures.source import Columns, Listed, PictureSource, Reader, read_file
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import Place

_REMEDY = "Download or write the shard again, or leave such shards out with on_bad_record=skip"


class TarShards(PictureSource):
    """A tar file, or a folder of them.

    Of the files of a shard, those up to the first period of whose names are equal belong to one sample, and that is the
    image's id: ``000000017`` for ``000000017.jpg``, ``dogs/17`` for ``dogs/17.left.jpg``. Of several pictures in a
    sample, the first counts. Hidden files are passed over.
    """

    def __init__(self, path: Path, columns: Columns):
        super().__init__(path, columns)
        self._num_further = 0

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.suffix == ".tar" if path.is_file() else next(path.glob("*.tar"), None) is not None

    def files(self) -> list[Path]:
        return self._files

    @cached_property
    def _files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else sorted(self.path.glob("*.tar"))

    def pictures(self, problems: list[BadRecord]) -> Iterator[Listed]:
        self._num_further = 0
        for number, file in enumerate(self._files):
            last = None
            try:
                # Not compressed: what stands in it is read from where the list says.
                with tarfile.open(file, "r:", encoding="utf-8", errors="surrogateescape") as shard:
                    for member in shard:
                        shard.members = []  # type: ignore[attr-defined]  # it keeps all that it has seen
                        # As `tar -C folder .` writes names, they begin with what is no part of an id.
                        folder, slash, name = member.name.removeprefix("./").rpartition("/")
                        key = folder + slash + name.partition(".")[0]
                        is_picture = member.isfile() and f".{name.rpartition('.')[2].lower()}" in SUFFIXES
                        if not is_picture or name.startswith("."):
                            continue
                        if key == last:
                            self._num_further += 1
                        else:
                            last = key
                            yield Listed(key, [number, member.offset_data, member.size, member.name])
                    damage = _after_last(file, shard.offset)
            except (tarfile.TarError, OSError, EOFError) as error:
                damage = f"{type(error).__name__}: {error}"
            if damage:
                problems.append(Place(file, None, "")("shard is damaged", damage, _REMEDY))

    def readers(self, pictures: Sequence[Listed]) -> Iterator[Reader]:
        for picture in pictures:
            number, start, size, _ = picture.at
            yield partial(read_file, self._files[number], start, size)

    def remark(self) -> str:
        if not self._num_further:
            return ""
        return f"{self._num_further} pictures are passed over: a name up to its first period is one sample's"

    def place(self, picture: Listed) -> Place:
        return Place(self._files[picture.at[0]] / picture.at[3], None, picture.image_id)


def _after_last(file: Path, offset: int) -> str:
    """What is wrong with where the library has stopped reading, which it does without a word; empty at a proper end."""
    following = read_file(file, offset, tarfile.BLOCKSIZE)
    if not following:
        return f"it ends at byte {offset}, without an end mark"
    return f"no file begins at byte {offset}" if any(following) else ""
