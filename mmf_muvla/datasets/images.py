"""Region features of images, by the image's key, from any of three places that are told apart by what they hold.

* A region store (``tools/import_regions.py`` makes it): the fastest, checked when it was made.
* An MMF feature folder: ``X.npy`` and ``X_info.npy`` for every image; the key is ``X``, the path inside the folder.
* An MMF LMDB of pickled dictionaries; the key is the one under which the image stands there. Many of MMF's have plain
  numbers: ``COCO_train2014_000000000009`` is also found under ``9``.

Class names are not needed here, so that MMF's formats can be read without a label map. All regions of an image are
given, in the detector's order, since annotations may name regions by their number.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from mmf_muvla.datasets.collate import ImageArrays
from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import check_feature_dim
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.detection import Detection
from mmf_muvla.regions.lmdb_files import LmdbFile
from mmf_muvla.regions.mmf_features import MmfImage, feature_files, load_from_folder, load_from_lmdb
from mmf_muvla.regions.mmf_records import feature_dim_of, read_unnamed_record
from mmf_muvla.regions.records import META_KEY, PROGRESS_KEY, id_problem
from mmf_muvla.regions.store import RegionStore

_MMF_KEYS = b"keys"
_MAX_DIGITS = 32
# Damaged images are passed over when the size of features is looked up: they may never be asked for.
_IMAGES_TRIED = 16
_REMEDY = (
    "Extract its features again, or copy them again; tools/import_regions.py checks all images at once, "
    "and its options mend what can be mended"
)


class ImageSource(ABC):
    """Images by key. It can be pickled, and used on both sides of a fork.

    A key is an image id, with or without ``.npy`` at its end.

    Attributes:
        path: the folder or file.
        feature_dim: numbers per region feature.
    """

    path: Path
    feature_dim: int

    @abstractmethod
    def __contains__(self, key: str) -> bool: ...

    @abstractmethod
    def get(self, key: str) -> ImageArrays:
        """The regions of an image: features [n, feature_dim], boxes [n, 4] in pixels, n >= 1.

        Raises:
            InputError: there is no such image, or what there is of it is damaged.
        """

    @abstractmethod
    def first_key(self) -> str | None:
        """One of the keys, to show what they look like; ``None`` where there is no image."""

    def _absent(self, key: str) -> InputError:
        return InputError(
            str(self.path),
            f"has no image {key!r}",
            "Name the features that belong to the annotations (dataset_config.NAME.features), or extract the image's",
        )


def open_images(path: str | Path, feature_dim: int | None = None) -> ImageSource:
    """Open region features.

    Args:
        path: a region store, an MMF feature folder, or an MMF LMDB (a folder or a file).
        feature_dim: numbers per region feature, where it is known; by default that of the first image.

    Raises:
        InputError: there is none of these, it holds no image that can be read, or it has features of another size.
    """
    path = Path(path)
    if path.is_file() or (path / "data.mdb").is_file():
        source = _open_lmdb_source(path, feature_dim)
    elif path.is_dir():
        source = _FolderImages(path, feature_dim)
    else:
        raise InputError(str(path), "no such file or folder", "Check dataset_config.NAME.features")
    check_feature_dim(path, source.feature_dim, feature_dim)
    return source


def _open_lmdb_source(path: Path, feature_dim: int | None) -> ImageSource:
    file = _lmdb_file(path)
    if META_KEY in file or PROGRESS_KEY in file:
        return _StoreImages(path)
    if _MMF_KEYS in file:
        return _LmdbImages(path, feature_dim)
    raise InputError(
        str(path),
        "is an LMDB, but neither a region store nor one that MMF's lmdb_conversion.py has finished",
        "Make it again, or name another one",
    )


def _lmdb_file(path: Path) -> LmdbFile:
    return LmdbFile(path, "a region store or an LMDB of MMF features", "Copy it again, or make it again")


class _StoreImages(ImageSource):
    def __init__(self, path: Path):
        self.path = path
        self._store = RegionStore(path)
        self.feature_dim = self._store.feature_dim
        self._ids: frozenset[str] | None = None

    def __reduce__(self) -> tuple[type[_StoreImages], tuple[Path]]:
        return (type(self), (self.path,))

    def __contains__(self, key: str) -> bool:
        # All ids at once: to look for a record is to read it, features included.
        if self._ids is None:
            self._ids = frozenset(self._store.ids)
        return _image_id(key) in self._ids

    def first_key(self) -> str | None:
        return next(iter(self._store.ids), None)

    def get(self, key: str) -> ImageArrays:
        try:
            return ImageArrays.of(self._store.get(_image_id(key)))
        except InputError:
            raise
        except Exception as error:  # a damaged record can fail in any way
            if key not in self:
                raise self._absent(key) from error
            problem = f"record is damaged ({type(error).__name__}: {error})"
            raise InputError(f"{self.path} (image {key})", problem, "Import the regions again") from error


class _MmfImages(ImageSource):
    """What folders and LMDBs of MMF's have in common."""

    def __init__(self, path: Path, feature_dim: int | None):
        self.path = path
        self.feature_dim = self._first_feature_dim(feature_dim)

    def first_key(self) -> str | None:
        return next(self._image_ids(), None)

    def get(self, key: str) -> ImageArrays:
        image_id = _image_id(key)
        try:
            image = self._load(image_id)
            if image is None:
                raise self._absent(key)
            found = _make_sense(image_id, image, self.feature_dim)
        except BadRecord as problem:
            raise _input_error(problem) from problem
        return ImageArrays(image_id, found.features, found.boxes, (found.width, found.height))

    def _first_feature_dim(self, wanted: int | None) -> int:
        """The features' size: ``wanted`` where the first images allow it, else that of the first that can be used."""
        first_problem: BadRecord | None = None
        found = None
        for image_id in islice(self._image_ids(), _IMAGES_TRIED):
            try:
                image = self._load(image_id)
                if image is None:
                    continue
                if wanted is not None and image.has_features_of(wanted):
                    return wanted
                dim = feature_dim_of(image.info, image.features)
                _make_sense(image_id, image, dim)
                if wanted is None:
                    return dim
                found = found or dim
            except BadRecord as problem:
                first_problem = first_problem or problem
        if found or wanted:
            # Where no image tells, what is wrong with it is said when it is asked for.
            return found or wanted or 0
        if first_problem is not None:
            raise _input_error(first_problem) from first_problem
        raise InputError(
            str(self.path),
            "holds no image features",
            "Give a region store, a folder of MMF features (X.npy, X_info.npy) or an LMDB of MMF features; "
            "import other formats with tools/import_regions.py",
        )

    @abstractmethod
    def _load(self, image_id: str) -> MmfImage | None:
        """What there is of an image, ``None`` where there is nothing; raises BadRecord where it is damaged."""

    @abstractmethod
    def _image_ids(self) -> Iterator[str]: ...


class _FolderImages(_MmfImages):
    def __contains__(self, key: str) -> bool:
        image_id = _image_id(key)
        # Annotations are not to choose files outside of the folder.
        is_inside = "\0" not in image_id and not ({"..", "/"} & set(PurePosixPath(image_id).parts))
        try:
            return is_inside and id_problem(image_id) is None and feature_files(self.path, image_id)[0].is_file()
        except OSError:  # the key is too long for the name of a file
            return False

    def _load(self, image_id: str) -> MmfImage | None:
        return load_from_folder(self.path, image_id) if image_id in self else None

    def _image_ids(self) -> Iterator[str]:
        for folder, _, files in os.walk(self.path):
            for name in files:
                if name.endswith(".npy") and not name.endswith("_info.npy"):
                    yield Path(folder, name).relative_to(self.path).as_posix().removesuffix(".npy")


class _LmdbImages(_MmfImages):
    def __init__(self, path: Path, feature_dim: int | None):
        self._file = _lmdb_file(path)
        super().__init__(path, feature_dim)

    def __contains__(self, key: str) -> bool:
        return any(name in self._file for name in _lmdb_keys(_image_id(key)))

    def _load(self, image_id: str) -> MmfImage | None:
        file = self.path / "data.mdb" if self.path.is_dir() else self.path
        for name in _lmdb_keys(image_id):
            record = self._file.get(name)
            if record is not None:
                return load_from_lmdb(file, image_id, record)
        return None

    def _image_ids(self) -> Iterator[str]:
        for key in self._file.first_keys(_IMAGES_TRIED + 1):
            if key != _MMF_KEYS:
                yield key.decode("utf-8", "replace")


def _lmdb_keys(image_id: str) -> Iterator[bytes]:
    """Under what an image may stand: its id, or the number at the end of it, as MMF's own reader has it."""
    names = [image_id]
    number = image_id.rpartition("_")[2]
    if number.isdecimal() and len(number) < _MAX_DIGITS:
        names.append(str(int(number)))
    for name in names:
        if id_problem(name) is None and name.encode() != _MMF_KEYS:
            yield name.encode()


def _image_id(key: str) -> str:
    return key.removesuffix(".npy")


def _make_sense(image_id: str, image: MmfImage, feature_dim: int) -> Detection:
    return read_unnamed_record(image_id, image.info, image.features, feature_dim, image.bad, image.bad_info)


def _input_error(problem: BadRecord) -> InputError:
    return InputError(f"{problem.file} (image {problem.record_id})", f"{problem.reason}: {problem.value}", _REMEDY)
