"""Reads detector output as MMF's extraction scripts write it: feature folders, and LMDBs made of them.

Folder: ``X.npy``, float [n, d], and ``X_info.npy``, a pickled dictionary; the image id is the path ``X`` relative to
the folder. LMDB: a pickled dictionary for every image, features included, and under ``keys`` the list of image ids.

ViLBERT's scripts write the same, but for these: features are in the dictionary in folders as well; in LMDBs there are
no classes, and features and boxes may be base64 of float32.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.reading.restricted_pickle import (
    ONE_IMAGE,
    PickleProblem,
    load_npy_object,
    load_pickle,
    read_npy_header,
)
from mmf_muvla.regions.base64_rows import decode_base64
from mmf_muvla.regions.checks import Place
from mmf_muvla.regions.image_records import ImageRecord, as_array, whole
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.lmdb_files import LmdbFile, is_lmdb_store
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.record_sources import (
    IMAGES_TRIED,
    RecordFolder,
    RecordSource,
    dictionary_in,
    explained,
    parse_npy,
    read_file,
    refuse_large,
)
from mmf_muvla.regions.regions import id_problem

_NPY_HEADER_BYTES = 2**16
_INFO = "_info.npy"
# What may be base64.
_ARRAYS = ("features", "boxes", "bbox")
KEYS = b"keys"
# Where an LMDB has its magic number, and what it is, in either byte order.
_LMDB_MAGIC_AT, _LMDB_MAGIC = 16, (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")


class MmfFeatureFolder(RecordFolder):
    """A folder of ``X.npy`` and ``X_info.npy``, or of ``X.npy`` that hold both, as ViLBERT's script writes them."""

    suffix = ".npy"

    def load(self, image_id: str) -> ImageRecord:
        bad = Place(self.file_of(image_id), None, image_id)
        bad_info = replace(bad, file=self.path / f"{image_id}{_INFO}")
        if not bad_info.file.exists() and _holds_objects(bad.file):
            return _image_of_dictionary(_with_classes(_read_info(bad)), bad)
        features = parse_npy(read_file("features", bad), "features", 2, bad)
        if not bad_info.file.exists():
            raise bad_info("X.npy has no X_info.npy beside it", bad_info.file.name)
        return ImageRecord(features, _read_info(bad_info), bad, bad_info)

    def id_of(self, name: str) -> str | None:
        return None if name.endswith(_INFO) else name.removesuffix(self.suffix)

    def look_at_other(self, name: str, problems: list[BadRecord]) -> None:
        image_id = name.removesuffix(_INFO)
        if not self.file_of(image_id).is_file():
            bad = Place(self.path / name, None, image_id)
            problems.append(bad("X_info.npy has no X.npy beside it", name))


class MmfLmdb(RecordSource):
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
            return (path / "data.mdb").is_file() and not is_lmdb_store(path)
        with path.open("rb") as file:
            return file.read(_LMDB_MAGIC_AT + 4)[_LMDB_MAGIC_AT:] in _LMDB_MAGIC

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.file)

    def __contains__(self, image_id: str) -> bool:
        return id_problem(image_id) is None and image_id.encode() != KEYS and image_id.encode() in self._records

    def load(self, image_id: str) -> ImageRecord | None:
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


def image_of_record(record: bytes | bytearray | memoryview, bad: Place) -> ImageRecord:
    """Load an image of an LMDB; a BadRecord where the record is damaged, or contains something else."""
    refuse_large("record is", len(record), bad)
    with explained("record", "used", bad):
        content = load_pickle(record, limits=ONE_IMAGE)
    if not isinstance(content, dict):
        raise bad("record is not a dictionary", shown(content))
    return _image_of_dictionary(content, bad)


def _image_of_dictionary(content: dict[Any, Any], bad: Place) -> ImageRecord:
    """An image of a dictionary that has the features, too."""
    texts = (key for key in _ARRAYS if isinstance(content.get(key), (str, bytes)))
    content = {**content, **{key: _array_of_text(content, key, bad) for key in texts}}
    return ImageRecord(as_array(content.get("features"), "features", bad), content, bad, bad)


def _holds_objects(file: Path) -> bool:
    """Whether an ``.npy`` file announces Python objects."""
    with suppress(PickleProblem, OSError), file.open("rb") as content:
        # What says how long the header is may be absurd.
        return read_npy_header(io.BytesIO(content.read(_NPY_HEADER_BYTES)))[2] == np.dtype(object)
    return False


def _read_info(bad: Place) -> dict[Any, Any]:
    with explained("information", "used", bad):
        refuse_large("file of information is", bad.file.stat().st_size, bad)
        array = load_npy_object(bad.file, limits=ONE_IMAGE)
    return dictionary_in(array, "information", bad)


def _with_classes(record: dict[Any, Any]) -> dict[Any, Any]:
    """Take the classes from the probabilities where ViLBERT's script has cut them off.

    It means to leave out the first class, the background, and leaves out the first region.
    """
    objects, probabilities = record.get("objects"), record.get("cls_prob")
    if not (isinstance(objects, np.ndarray) and isinstance(probabilities, np.ndarray) and probabilities.ndim == 2):
        return record
    if len(objects) != len(probabilities) - 1 or probabilities.shape[1] < 2 or probabilities.dtype.kind != "f":
        return record
    foreground = probabilities[:, 1:]
    return {**record, "objects": foreground.argmax(axis=1), "cls_prob": foreground}


def _array_of_text(record: dict[Any, Any], key: str, bad: Place) -> np.ndarray:
    """An array that ViLBERT keeps as base64; ``num_boxes`` says how many rows it has."""
    count = whole(record.get("num_boxes"))
    if count is None or not 0 <= count < 2**31:
        raise bad("num_boxes is not a number", shown(record.get("num_boxes"), 40))
    numbers = decode_base64(record[key], key, "<f4", bad)
    width = numbers.size // max(count, 1)
    if numbers.size != count * width:
        raise bad(f"{key} have the wrong number of bytes", f"{numbers.nbytes} bytes, for {count} regions")
    return numbers.reshape(count, width)
