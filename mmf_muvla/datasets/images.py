"""Region features of images, by the image's key, from any of three places that are told apart by what they hold.

* A region store (``tools/import_regions.py`` makes it): the fastest, checked when it was made.
* An MMF feature folder: ``X.npy`` and ``X_info.npy`` for every image; the key is ``X``, the path inside the folder.
* An MMF LMDB of pickled dictionaries; the key is the one under which the image stands there. Many of MMF's have plain
  numbers: ``COCO_train2014_000000000009`` is also found under ``9``.

Class names are not needed here, so that MMF's formats can be read without a label map. All regions of an image are
given, in the detector's order, since annotations may name regions by their number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import check_feature_dim
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.index import META_FILE
from mmf_muvla.regions.lmdb_files import LmdbFile, is_lmdb_store, older_store
from mmf_muvla.regions.mmf_features import KEYS, MmfFeatureFolder, MmfLmdb, MmfSource
from mmf_muvla.regions.mmf_records import MmfImage
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.store import RegionStore

_MAX_DIGITS = 32
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
    def get(self, key: str) -> Regions:
        """The regions of an image, at least one. MMF's have no classes (-1), and a confidence of 1.

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
    source: ImageSource
    if (path / META_FILE).is_file():
        source = _StoreImages(path)
    elif path.is_file() or (path / "data.mdb").is_file():
        source = _open_lmdb_source(path, feature_dim)
    elif path.is_dir():
        source = _MmfImages(MmfFeatureFolder(path, RegionOptions()), feature_dim)
    else:
        raise InputError(str(path), "no such file or folder", "Check dataset_config.NAME.features")
    check_feature_dim(path, source.feature_dim, feature_dim)
    return source


def _open_lmdb_source(path: Path, feature_dim: int | None) -> ImageSource:
    if is_lmdb_store(path):
        raise older_store(path)
    file = LmdbFile(path, "a region store or an LMDB of MMF features", "Copy it again, or make it again")
    if KEYS in file:
        return _MmfImages(MmfLmdb(path, RegionOptions()), feature_dim)
    raise InputError(
        str(path),
        "is an LMDB, but neither a region store nor one that MMF's lmdb_conversion.py has finished",
        "Make it again, or name another one",
    )


class _StoreImages(ImageSource):
    def __init__(self, path: Path):
        self.path = path
        self._store = RegionStore(path)
        self.feature_dim = self._store.feature_dim

    def __contains__(self, key: str) -> bool:
        return _image_id(key) in self._store

    def first_key(self) -> str | None:
        return next((block.column("image_id")[0].as_py() for block in self._store.blocks()), None)

    def get(self, key: str) -> Regions:
        try:
            return self._store.get(_image_id(key))
        except KeyError as error:
            raise self._absent(key) from error


class _MmfImages(ImageSource):
    def __init__(self, source: MmfSource, feature_dim: int | None):
        self.path = source.path
        self._source = source
        self.feature_dim = self._first_feature_dim(feature_dim)

    def __contains__(self, key: str) -> bool:
        return any(name in self._source for name in self._names(_image_id(key)))

    def first_key(self) -> str | None:
        return next(iter(self._source.first_ids()), None)

    def get(self, key: str) -> Regions:
        image_id = _image_id(key)
        try:
            image = self._load(image_id)
            if image is None:
                raise self._absent(key)
            return replace(image.read_unnamed(self.feature_dim), image_id=image_id)
        except BadRecord as problem:
            raise _input_error(problem, image_id) from problem

    def _load(self, image_id: str) -> MmfImage | None:
        """What there is of an image, ``None`` where there is nothing; raises BadRecord where it is damaged."""
        name = next((name for name in self._names(image_id) if name in self._source), None)
        return None if name is None else self._source.load(name)

    def _names(self, image_id: str) -> Iterator[str]:
        """What an image may be called: its id, or in an LMDB the number at the end of it, as in MMF's own reader."""
        yield image_id
        number = image_id.rpartition("_")[2]
        if isinstance(self._source, MmfLmdb) and number.isdecimal() and len(number) < _MAX_DIGITS:
            yield str(int(number))

    def _first_feature_dim(self, wanted: int | None) -> int:
        """The features' size: ``wanted`` where the first images allow it, else that of the first that can be used.

        Damaged images are passed over: they may never be asked for.
        """
        first_problem: InputError | None = None
        found = None
        for image_id in self._source.first_ids():
            try:
                image = self._load(image_id)
                if image is None:
                    continue
                if wanted is not None and image.has_features_of(wanted):
                    return wanted
                image.read_unnamed(image.feature_dim)
                if wanted is None:
                    return image.feature_dim
                found = found or image.feature_dim
            except BadRecord as problem:
                first_problem = first_problem or _input_error(problem, image_id)
        if found or wanted:
            # Where no image tells, what is wrong with it is said when it is asked for.
            return found or wanted or 0
        raise first_problem or InputError(
            str(self.path),
            "holds no image features",
            "Give a region store, a folder of MMF features (X.npy, X_info.npy) or an LMDB of MMF features; "
            "import other formats with tools/import_regions.py",
        )


def _image_id(key: str) -> str:
    return key.removesuffix(".npy")


def _input_error(problem: BadRecord, image_id: str) -> InputError:
    return InputError(f"{problem.file} (image {image_id})", f"{problem.reason}: {problem.value}", _REMEDY)
