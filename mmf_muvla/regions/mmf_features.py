"""Reads detector output as MMF's extraction scripts write it: feature folders, and LMDBs made of them.

Folder: ``X.npy``, float [n, d], and ``X_info.npy``, a pickled dictionary; the image id is the path ``X`` relative to
the folder. LMDB: a pickled dictionary for every image, features included, and under ``keys`` the list of image ids.
"""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.reading.restricted_pickle import ONE_IMAGE, PickleProblem, load_npy_object, load_pickle, read_npy_header
from mmf_muvla.regions.checks import FoundImage, Place, refuse_feature_size
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.lmdb_files import LmdbFile
from mmf_muvla.regions.mmf_records import MmfImage, as_array
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import id_problem
from mmf_muvla.regions.sources import Contents, ListedSource, NameIds, fingerprint_of_names

# So many images tell what features of a source are like.
IMAGES_TRIED = 16
# No image has so much, and one that has can still be read within 200 MB.
_MOST_BYTES = 32 * 2**20
_NPY_HEADER_BYTES = 2**16
_INFO = "_info.npy"
KEYS = b"keys"
# Where an LMDB has its magic number, and what it is, in either byte order.
_LMDB_MAGIC_AT, _LMDB_MAGIC = 16, (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")


class MmfSource(ListedSource):
    """What folders and LMDBs have in common."""

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels)
        self.file = path / "data.mdb" if (path / "data.mdb").is_file() else path

    @abstractmethod
    def __contains__(self, image_id: str) -> bool: ...

    @abstractmethod
    def first_ids(self) -> Iterable[str]:
        """The ids of :data:`IMAGES_TRIED` images, without a look at all that there are."""

    @abstractmethod
    def load(self, image_id: str) -> MmfImage | None:
        """What there is of an image, ``None`` where there is nothing; a BadRecord where it is damaged."""

    def read_image(self, image_id: str, names: NameIds) -> FoundImage:
        image = self.load(image_id)
        if image is None:
            raise Place(self.file, None, image_id)("image is listed under 'keys' but has no record", image_id)
        assert self.labels is not None
        return image.read(self.options, self.labels, names)

    def prepare(self, index: Path, num_workers: int) -> Contents:
        contents = super().prepare(index, num_workers)
        refusal = None
        for image_id in islice(chain.from_iterable(self.shards(index)), IMAGES_TRIED):
            with suppress(BadRecord):
                image = self.load(image_id)
                if image and image.has_features_of(self.options.feature_dim):
                    return contents
                if image and refusal is None and image.features.ndim == 2 and len(image.features):
                    width = image.features.shape[1]
                    refusal = refuse_feature_size(self.path, width, image.feature_dim != width, self.options)
        # Of the first images, all have another number of features than expected.
        if refusal:
            raise refusal
        return contents


class MmfFeatureFolder(MmfSource):
    """A folder of ``X.npy`` and ``X_info.npy``; folders inside of it are searched as well."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(name.endswith(".npy") for _, _, files in os.walk(path) for name in files)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint_of_names(self.path, ".npy")

    def __contains__(self, image_id: str) -> bool:
        # Annotations are not to choose files outside of the folder.
        is_inside = "\0" not in image_id and not ({"..", "/"} & set(PurePosixPath(image_id).parts))
        try:
            return is_inside and id_problem(image_id) is None and self._file(image_id).is_file()
        except OSError:  # the id is too long for the name of a file
            return False

    def load(self, image_id: str) -> MmfImage:
        bad, bad_info = (Place(self._file(image_id, suffix), None, image_id) for suffix in (".npy", _INFO))
        return MmfImage(_read_features(bad), _read_info(bad_info), bad, bad_info)

    def first_ids(self) -> Iterator[str]:
        return islice((name.removesuffix(".npy") for name in self._files() if not name.endswith(_INFO)), IMAGES_TRIED)

    def image_ids(self, problems: list[BadRecord]) -> Iterator[str]:
        for name in sorted(name for name in self._files() if self.is_usable(name.removesuffix(".npy"), problems)):
            if not name.endswith(_INFO):
                yield name.removesuffix(".npy")
            elif not self._file(name.removesuffix(_INFO)).is_file():
                bad = Place(self.path / name, None, name.removesuffix(_INFO))
                problems.append(bad("X_info.npy has no X.npy beside it", name))

    def _files(self) -> Iterator[str]:
        for folder, _, files in os.walk(self.path):
            for name in files:
                if name.endswith(".npy"):
                    yield Path(folder, name).relative_to(self.path).as_posix()

    def _file(self, image_id: str, suffix: str = ".npy") -> Path:
        return self.path / f"{image_id}{suffix}"


class MmfLmdb(MmfSource):
    """An LMDB of MMF features, a folder or a file.

    Raises:
        InputError: it is no LMDB, is cut off, or has no list of ids.
    """

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels)
        self._records = LmdbFile(path, "an LMDB", "Copy it again, or make it again")
        if KEYS not in self._records:
            remedy = "Name an LMDB that MMF's lmdb_conversion.py has finished"
            raise InputError(str(path), "has no list of images under 'keys'", remedy)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return (path / "data.mdb").is_file()
        with path.open("rb") as file:
            return file.read(_LMDB_MAGIC_AT + 4)[_LMDB_MAGIC_AT:] in _LMDB_MAGIC

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.file)

    def __contains__(self, image_id: str) -> bool:
        return id_problem(image_id) is None and image_id.encode() != KEYS and image_id.encode() in self._records

    def load(self, image_id: str) -> MmfImage | None:
        record = self._records.get(image_id.encode()) if image_id in self else None
        return None if record is None else image_of_record(record, Place(self.file, None, image_id))

    def first_ids(self) -> list[str]:
        return [key.decode("utf-8", "replace") for key in self._records.first_keys(IMAGES_TRIED + 1) if key != KEYS]

    def image_ids(self, problems: list[BadRecord]) -> Iterator[str]:
        where, remedy = f"{self.file}, record 'keys'", "Make the LMDB again"
        try:
            keys = load_pickle(self._records.get(KEYS) or b"")
        except PickleProblem as problem:
            raise InputError(where, problem.problem, problem.remedy) from problem
        if not isinstance(keys, (list, tuple)):
            raise InputError(where, f"is no list ({shown(keys, 40)})", remedy)
        for number, key in enumerate(keys):
            if not isinstance(key, (bytes, str)):
                raise InputError(where, f"entry {number} is {shown(key, 40)}, no id", remedy)
            raw = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
            image_id = raw.decode("utf-8", "replace")
            reason = id_problem(image_id) or ("\ufffd" in image_id and f"{raw!r} is not UTF-8")
            if reason:
                bad = Place(self.file, None, repr(image_id)[1:-1][:80])
                problems.append(bad("image id cannot be used", reason, f"{remedy} with other ids"))
            else:
                yield image_id


def image_of_record(record: bytes | bytearray | memoryview, bad: Place) -> MmfImage:
    """Load an image of an LMDB; a BadRecord where the record is damaged, or contains something else."""
    _refuse_large("record is", len(record), bad)
    with _explained("record", "used", bad):
        content = load_pickle(record, limits=ONE_IMAGE)
    if not isinstance(content, dict):
        raise bad("record is not a dictionary", shown(content))
    return MmfImage(as_array(content.get("features"), "features", bad), content, bad, bad)


def _refuse_large(what: str, size: int, bad: Place) -> None:
    if size > _MOST_BYTES:
        raise bad(f"{what} too large", f"{size} bytes, at most {_MOST_BYTES} are read")


@contextmanager
def _explained(what: str, verb: str, bad: Place) -> Iterator[None]:
    """What a pickle, and a file, cannot be read for, as a BadRecord."""
    try:
        yield
    except PickleProblem as problem:
        raise bad(f"{what} cannot be {verb}", f"it {problem.problem[:400]}", problem.remedy) from problem
    except OSError as error:
        raise bad(f"{what} cannot be read", f"{error.strerror}") from error


def _read_features(bad: Place) -> np.ndarray:
    with _explained("features", "read", bad), bad.file.open("rb") as file:
        # What says how long the header is may be absurd as well.
        header = io.BytesIO(file.read(_NPY_HEADER_BYTES))
        shape, is_fortran, dtype = read_npy_header(header)
        file.seek(header.tell())
        if dtype.kind != "f" or len(shape) != 2:
            raise bad("features are not numbers [n, d]", f"array of {dtype} of shape {shape}")
        # Known before anything is read: what a header says may be absurd.
        expected = shape[0] * shape[1] * dtype.itemsize
        size = os.fstat(file.fileno()).st_size - file.tell()
        if size != expected:
            raise bad("features have the wrong number of bytes", f"{size} bytes of {expected}")
        _refuse_large("features are", size, bad)
        return np.fromfile(file, dtype).reshape(shape, order="F" if is_fortran else "C")


def _read_info(bad: Place) -> dict[Any, Any]:
    with _explained("information", "used", bad):
        if not bad.file.exists():
            raise bad("X.npy has no X_info.npy beside it", bad.file.name)
        _refuse_large("information is", bad.file.stat().st_size, bad)
        content = load_npy_object(bad.file, limits=ONE_IMAGE)
    info = content.item() if content.shape == () else None
    if not isinstance(info, dict):
        raise bad("information is not a dictionary", f"array of shape {content.shape}: {shown(info)}")
    return info
