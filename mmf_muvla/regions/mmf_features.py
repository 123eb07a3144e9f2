"""Reads detector output as MMF's extraction scripts write it: feature folders, and LMDBs made of them.

Folder: ``X.npy``, float [n, d], and ``X_info.npy``, a pickled dictionary; the image id is the path ``X`` relative to
the folder. LMDB: a pickled dictionary for every image, features included, and under ``keys`` the list of image ids.
See :mod:`mmf_muvla.regions.mmf_records` for the dictionaries.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import lmdb
import numpy as np

from mmf_muvla.artifacts.files import fingerprint, publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.reading.restricted_pickle import ONE_IMAGE, PickleProblem, load_npy_object, load_pickle, read_npy_header
from mmf_muvla.regions.detection import (
    DAMAGED_FILE,
    Contents,
    Detection,
    MakeProblem,
    Shard,
    ShardContent,
    ShardReader,
    refuse_feature_size,
    rename,
)
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.mmf_records import as_array, feature_dim_of, read_record
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.records import id_problem, open_whole

_IMAGES_PER_SHARD = 32
_NAMES_IN_MEMORY = 2**16
# So many images tell what features of a source are like.
IMAGES_TRIED = 16
# No image has so much, and one that has can still be read within 200 MB.
_MOST_BYTES = 32 * 2**20
_NPY_HEADER_BYTES = 2**16
_INFO = "_info.npy"
_KEYS = b"keys"


class _MmfSource:
    """What folders and LMDBs have in common: the list of their images, in a file."""

    lines_file: Path | None = None

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None):
        if labels is None:
            raise InputError(
                str(path),
                "has numbers of object classes, whose names are not known",
                "Say with region_options.label_map what they stand for (objects_vocab.txt, for one)",
            )
        self.path = path
        self.options = options
        self.labels = labels

    def prepare(self, index: Path, num_workers: int) -> Contents:
        problems: list[BadRecord] = []
        count = 0
        with publish_file(_list_of(index)) as file, file.open("w", encoding="utf-8", newline="\n") as images:
            for image_id in self._image_ids(index, problems):
                images.write(f"{image_id}\n")
                count += 1
        self._check_feature_dim(index)
        # All names that there are, for to find out which occur takes as long as to read everything.
        objects = {rename(name, self.options.rename) for name in self.labels.objects.values()}
        attributes = set(self.labels.attributes.values())
        return Contents(count + len(problems), sorted(objects), sorted(attributes), problems)

    def shards(self, index: Path) -> Iterator[Shard]:
        with _list_of(index).open(encoding="utf-8", newline="\n") as images:
            while image_ids := [line.removesuffix("\n") for line in islice(images, _IMAGES_PER_SHARD)]:
                yield image_ids

    def mark(self, index: Path, found: np.ndarray) -> None:
        pass

    def leftovers(self, index: Path) -> Iterator[BadRecord]:
        return iter(())

    def _image_ids(self, index: Path, problems: list[BadRecord]) -> Iterator[str]:
        raise NotImplementedError

    def _load_first(self, image_ids: Sequence[str]) -> Iterator[MmfImage]:
        """Those of some images that can be loaded."""
        raise NotImplementedError

    def _check_feature_dim(self, index: Path) -> None:
        """Refuse a source of whose first images all have another number of features than expected."""
        with _list_of(index).open(encoding="utf-8", newline="\n") as images:
            first = [line.removesuffix("\n") for line in islice(images, IMAGES_TRIED)]
        refusal = None
        for image in self._load_first(first):
            if image.has_features_of(self.options.feature_dim):
                return
            if refusal is None and image.features.ndim == 2 and len(image.features):
                width, dim = image.features.shape[1], feature_dim_of(image.info, image.features)
                refusal = refuse_feature_size(self.path, width, dim != width, self.options)
        if refusal:
            raise refusal


class MmfFeatureFolder(_MmfSource):
    """A folder of ``X.npy`` and ``X_info.npy``; see :class:`~mmf_muvla.regions.detection.RegionSource`.

    Args:
        path: the folder; folders inside of it are searched.
        options: how to read it.
        labels: names of classes.

    Raises:
        InputError: there are no ``labels``.
    """

    def fingerprint(self) -> dict[str, Any]:
        # The files are too many to be read for this; their sizes and times of change have to do.
        digest = hashlib.blake2b(digest_size=16)
        count = 0
        for folder, folders, files in os.walk(self.path):
            folders.sort()
            for name in sorted(files):
                if name.endswith(".npy"):
                    status = os.stat(os.path.join(folder, name))
                    relative = os.path.relpath(os.path.join(folder, name), self.path)
                    digest.update(os.fsencode(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n"))
                    count += 1
        return {"files": count, "digest": digest.hexdigest()}

    def reader(self, index: Path) -> ShardReader:
        return _FolderReader(self)

    def _load_first(self, image_ids: Sequence[str]) -> Iterator[MmfImage]:
        for image_id in image_ids:
            with suppress(BadRecord):
                yield load_from_folder(self.path, image_id)

    def file_of(self, image_id: str, suffix: str = ".npy") -> Path:
        return self.path / f"{image_id}{suffix}"

    def _image_ids(self, index: Path, problems: list[BadRecord]) -> Iterator[str]:
        for name in _sorted_lines(self._names(problems), index):
            image_id = name.removesuffix(".npy")
            if not name.endswith(_INFO):
                yield image_id
            elif not self.file_of(name.removesuffix(_INFO)).is_file():
                problem = "X_info.npy has no X.npy beside it"
                problems.append(
                    BadRecord(self.path / name, None, name.removesuffix(_INFO), problem, name, DAMAGED_FILE)
                )

    def _names(self, problems: list[BadRecord]) -> Iterator[str]:
        for folder, _, files in os.walk(self.path):
            for name in files:
                if name.endswith(".npy"):
                    relative = Path(folder, name).relative_to(self.path).as_posix()
                    problem = id_problem(relative.removesuffix(".npy"))
                    if problem is None:
                        yield relative
                    else:
                        problems.append(
                            BadRecord(self.path, None, "", "image id cannot be used", problem, "Rename the file")
                        )


class MmfLmdb(_MmfSource):
    """An LMDB of MMF features; see :class:`~mmf_muvla.regions.detection.RegionSource`.

    Args:
        path: the LMDB, a folder or a file.
        options: how to read it.
        labels: names of classes.

    Raises:
        InputError: it is no LMDB, is cut off, has no list of ids, or there are no ``labels``.
    """

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None):
        self.file = path / "data.mdb" if path.is_dir() else path
        with open_lmdb(path) as environment, environment.begin(buffers=True) as transaction:
            if transaction.get(_KEYS) is None:
                is_store = transaction.get(b"__meta__") is not None
                kind = "is a region store already" if is_store else "has no list of images under 'keys'"
                raise InputError(str(path), kind, "Name an LMDB that MMF's lmdb_conversion.py has finished")
        super().__init__(path, options, labels)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.file)

    def reader(self, index: Path) -> ShardReader:
        return _LmdbReader(self)

    def _image_ids(self, index: Path, problems: list[BadRecord]) -> Iterator[str]:
        for key in self._keys():
            image_id = key.decode("utf-8", "replace")
            problem = id_problem(image_id)
            if problem is None and "\ufffd" in image_id:
                problem = f"{key!r} is not UTF-8"
            if problem is None:
                yield image_id
            else:
                remedy = "Make the LMDB again with other ids"
                shown = repr(image_id)[1:-1][:80]
                problems.append(BadRecord(self.file, None, shown, "image id cannot be used", problem, remedy))

    def _load_first(self, image_ids: Sequence[str]) -> Iterator[MmfImage]:
        with open_lmdb(self.path) as environment, environment.begin(buffers=True) as transaction:
            for image_id in image_ids:
                record = transaction.get(image_id.encode())
                with suppress(BadRecord):
                    if record is not None:
                        yield load_from_lmdb(self.file, image_id, record)

    def _keys(self) -> Sequence[bytes]:
        with open_lmdb(self.path) as environment, environment.begin(buffers=True) as transaction:
            try:
                keys = load_pickle(transaction.get(_KEYS, b""))
            except PickleProblem as problem:
                raise InputError(f"{self.file}, record 'keys'", problem.problem, problem.remedy) from problem
        if not isinstance(keys, (list, tuple)):
            raise InputError(f"{self.file}, record 'keys'", f"is no list ({shown(keys, 40)})", "Make the LMDB again")
        for number, key in enumerate(keys):
            if not isinstance(key, (bytes, str)):
                raise InputError(
                    f"{self.file}, record 'keys'", f"entry {number} is {shown(key, 40)}, no id", "Make the LMDB again"
                )
        return [key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass") for key in keys]


def open_lmdb(path: Path) -> lmdb.Environment:
    """Open an LMDB for reading.

    Raises:
        InputError: it is none, or has been cut off.
    """
    try:
        return open_whole(path)
    except lmdb.Error as error:
        raise InputError(
            str(path), f"cannot be read as an LMDB ({error})", "Copy it again, or make it again"
        ) from error


# --- reading images


class _FolderReader:
    def __init__(self, folder: MmfFeatureFolder):
        self._folder = folder

    def read(self, shard: Shard) -> ShardContent:
        return ShardContent([self._read(image_id) for image_id in shard], np.zeros(0, np.int64))

    def _read(self, image_id: str) -> Detection | BadRecord:
        try:
            image = load_from_folder(self._folder.path, image_id)
            return read_record(
                image_id,
                image.info,
                image.features,
                self._folder.options,
                self._folder.labels,
                image.bad,
                image.bad_info,
            )
        except BadRecord as problem:
            return problem


class _LmdbReader:
    def __init__(self, source: MmfLmdb):
        self._source = source

    def read(self, shard: Shard) -> ShardContent:
        # Opened every time, as no LMDB can be open twice in a process.
        with open_lmdb(self._source.path) as environment, environment.begin(buffers=True) as transaction:
            images = [self._read(transaction, image_id) for image_id in shard]
        return ShardContent(images, np.zeros(0, np.int64))

    def _read(self, transaction: lmdb.Transaction, image_id: str) -> Detection | BadRecord:
        try:
            record = transaction.get(image_id.encode())
            if record is None:
                problem = "image is listed under 'keys' but has no record"
                raise BadRecord(self._source.file, None, image_id, problem, image_id, DAMAGED_FILE)
            image = load_from_lmdb(self._source.file, image_id, record)
            return read_record(
                image_id,
                image.info,
                image.features,
                self._source.options,
                self._source.labels,
                image.bad,
                image.bad_info,
            )
        except BadRecord as problem:
            return problem


@dataclass(frozen=True)
class MmfImage:
    """What MMF keeps of an image, not made sense of yet.

    Attributes:
        features: the features.
        info: the dictionary; see :mod:`mmf_muvla.regions.mmf_records`.
        bad: makes problems of the features.
        bad_info: makes problems of the dictionary.
    """

    features: np.ndarray
    info: dict[Any, Any]
    bad: MakeProblem
    bad_info: MakeProblem

    def has_features_of(self, dim: int) -> bool:
        """Whether rows have so many numbers, or a box's six more."""
        return self.features.ndim == 2 and self.features.shape[1] in (dim, dim + 6)


def feature_files(folder: Path, image_id: str) -> tuple[Path, Path]:
    """Where a feature folder keeps an image: its features, and its information."""
    return folder / f"{image_id}.npy", folder / f"{image_id}{_INFO}"


def load_from_folder(folder: Path, image_id: str) -> MmfImage:
    """Load an image of a feature folder.

    Raises:
        BadRecord: a file is missing or damaged, or contains something else.
    """
    features_file, info_file = feature_files(folder, image_id)

    def bad(reason: str, value: str, remedy: str) -> BadRecord:
        return BadRecord(features_file, None, image_id, reason, value, remedy)

    def bad_info(reason: str, value: str, remedy: str) -> BadRecord:
        return BadRecord(info_file, None, image_id, reason, value, remedy)

    features = _read_features(features_file, bad)
    return MmfImage(features, _read_info(info_file, bad_info), bad, bad_info)


def load_from_lmdb(file: Path, image_id: str, record: bytes | bytearray | memoryview) -> MmfImage:
    """Load an image of an LMDB.

    Args:
        file: the LMDB's file, for messages.
        image_id: the image's name.
        record: what stands in the LMDB under that name.

    Raises:
        BadRecord: the record is damaged, or contains something else.
    """

    def bad(reason: str, value: str, remedy: str) -> BadRecord:
        return BadRecord(file, None, image_id, reason, value, remedy)

    if len(record) > _MOST_BYTES:
        raise bad("record is too large", f"{len(record)} bytes, at most {_MOST_BYTES} are read", DAMAGED_FILE)
    try:
        content = load_pickle(record, limits=ONE_IMAGE)
    except PickleProblem as problem:
        raise bad("record cannot be used", f"it {problem.problem[:400]}", problem.remedy) from problem
    if not isinstance(content, dict):
        raise bad("record is not a dictionary", shown(content), DAMAGED_FILE)
    return MmfImage(as_array(content.get("features"), "features", bad), content, bad, bad)


def _read_features(path: Path, bad: MakeProblem) -> np.ndarray:
    try:
        with path.open("rb") as file:
            # What says how long the header is may be absurd as well.
            header = io.BytesIO(file.read(_NPY_HEADER_BYTES))
            shape, is_fortran, dtype = read_npy_header(header)
            file.seek(header.tell())
            if dtype.kind != "f" or len(shape) != 2:
                raise bad("features are not numbers [n, d]", f"array of {dtype} of shape {shape}", DAMAGED_FILE)
            # Known before anything is read: what a header says may be absurd.
            expected = shape[0] * shape[1] * dtype.itemsize
            size = os.fstat(file.fileno()).st_size - file.tell()
            if size != expected:
                raise bad("features have the wrong number of bytes", f"{size} bytes of {expected}", DAMAGED_FILE)
            if size > _MOST_BYTES:
                raise bad("features are too large", f"{size} bytes, at most {_MOST_BYTES} are read", DAMAGED_FILE)
            return np.fromfile(file, dtype).reshape(shape, order="F" if is_fortran else "C")
    except PickleProblem as problem:
        raise bad("features cannot be read", f"it {problem.problem[:400]}", problem.remedy) from problem
    except OSError as error:
        raise bad("features cannot be read", f"{error.strerror}", DAMAGED_FILE) from error


def _read_info(path: Path, bad: MakeProblem) -> dict[Any, Any]:
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise bad("information is too large", f"{size} bytes, at most {_MOST_BYTES} are read", DAMAGED_FILE)
        content = load_npy_object(path, limits=ONE_IMAGE)
    except FileNotFoundError as error:
        raise bad("X.npy has no X_info.npy beside it", path.name, DAMAGED_FILE) from error
    except OSError as error:
        raise bad("information cannot be read", f"{error.strerror}", DAMAGED_FILE) from error
    except PickleProblem as problem:
        raise bad("information cannot be used", f"it {problem.problem[:400]}", problem.remedy) from problem
    info = content.item() if content.shape == () else None
    if not isinstance(info, dict):
        raise bad("information is not a dictionary", f"array of shape {content.shape}: {shown(info)}", DAMAGED_FILE)
    return info


# --- the list of images


def _list_of(index: Path) -> Path:
    return index.with_name(f"{index.name}-images.txt")


def _sorted_lines(lines: Iterable[str], index: Path) -> Iterator[str]:
    """Lines in order; they are sorted in parts, in files, so that they need not fit into memory."""
    lines = iter(lines)
    with ExitStack() as stack:
        parts: list[TextIO] = []
        # With their line ends, as they are compared when the parts are merged.
        while part := sorted(f"{line}\n" for line in islice(lines, _NAMES_IN_MEMORY)):
            file = stack.enter_context(
                index.with_name(f"{index.name}-part-{len(parts)}.txt").open("w+", encoding="utf-8", newline="\n")
            )
            file.writelines(part)
            file.seek(0)
            parts.append(file)
        for line in heapq.merge(*parts):
            yield line.removesuffix("\n")
