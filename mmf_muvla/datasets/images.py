"""Region features of images by their keys, from a region store, or files in which images are found by their ids.

These are the feature folders and LMDBs of MMF and ViLBERT, and folders of bottom-up-attention.pytorch. A key is an
image id, with or without ``.npy`` at its end. In a folder it is the path ``X`` of ``X.npy``; many LMDBs have plain
numbers, so that ``COCO_train2014_000000000009`` is also found under ``9``. Class names are not needed, and all regions
are given, in the detector's order, since annotations may name regions by their number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import check_feature_dim
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.bottom_up_npz import BottomUpNpz
from mmf_muvla.regions.image_records import ImageRecord
from mmf_muvla.regions.index import META_FILE
from mmf_muvla.regions.lmdb_files import LmdbFile, is_lmdb_store, older_store
from mmf_muvla.regions.mmf_features import KEYS, MmfFeatureFolder, MmfLmdb
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.record_sources import RecordSource
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import open_regions
from mmf_muvla.regions.store import RegionStore

_REMEDY = (
    "Extract its features again, or copy them again; tools/import_regions.py checks all images at once, "
    "and its options mend what can be mended"
)
_IMPORT = (
    "Give a region store, a folder of features of MMF (X.npy, X_info.npy), ViLBERT (X.npy) or "
    "bottom-up-attention.pytorch (X.npz), or an LMDB; make a store of other formats with tools/import_regions.py"
)


class ImageSource(ABC):
    """Images by key. It can be pickled, and used on both sides of a fork."""

    path: Path
    feature_dim: int  # numbers per region feature

    @abstractmethod
    def __contains__(self, key: str) -> bool: ...

    @abstractmethod
    def first_key(self) -> str | None:
        """One of the keys, to show what they look like; ``None`` where there is no image."""

    @abstractmethod
    def _find(self, image_id: str) -> Regions | None: ...

    def get(self, key: str) -> Regions:
        """The regions of an image, at least one. MMF's have no classes (-1), and a confidence of 1.

        Raises:
            InputError: there is no such image, or what there is of it is damaged.
        """
        regions = self._find(key.removesuffix(".npy"))
        if regions is None:
            remedy = "Name the annotations' own features (dataset_config.NAME.features), or extract the image's"
            raise InputError(str(self.path), f"has no image {key!r}", remedy)
        return regions


def open_images(path: str | Path, feature_dim: int | None = None) -> ImageSource:
    """Open a region store, a folder of features (MMF's, ViLBERT's, bottom-up-attention.pytorch's), or an LMDB.

    Where it is not known how many numbers a region feature has, the first image tells.

    Raises:
        InputError: there is none of these, it holds no image that can be read, or it has features of another size.
    """
    path = Path(path)
    source: ImageSource
    if (path / META_FILE).is_file():
        source = _StoreImages(path)
    elif path.is_file() or (path / "data.mdb").is_file():
        source = _RecordImages(_open_lmdb(path), feature_dim)
    elif path.is_dir():
        source = _RecordImages(_open_folder(path), feature_dim)
    else:
        raise InputError(str(path), "no such file or folder", "Check dataset_config.NAME.features")
    check_feature_dim(path, source.feature_dim, feature_dim)
    return source


def _open_folder(path: Path) -> RecordSource:
    if BottomUpNpz.recognises(path):
        source = open_regions(path, RegionOptions())  # an InputError where there are files of others, too
        assert isinstance(source, RecordSource)
        return source
    return MmfFeatureFolder(path, RegionOptions())


def _open_lmdb(path: Path) -> MmfLmdb:
    if path.is_file() and not MmfLmdb.recognises(path):
        problem = "is a file that is no LMDB, and images are not found in it by their ids"
        raise InputError(str(path), problem, _IMPORT)
    if is_lmdb_store(path):
        raise older_store(path)
    if KEYS not in LmdbFile(path, "a region store or an LMDB of MMF features", "Copy it again, or make it again"):
        problem = "is an LMDB, but neither a region store nor one that MMF's lmdb_conversion.py has finished"
        raise InputError(str(path), problem, "Make it again, or name another one")
    return MmfLmdb(path, RegionOptions())


class _StoreImages(ImageSource):
    def __init__(self, path: Path):
        self.path = path
        self._store = RegionStore(path)
        self.feature_dim = self._store.feature_dim

    def __contains__(self, key: str) -> bool:
        return key.removesuffix(".npy") in self._store

    def first_key(self) -> str | None:
        return next((block.column("image_id")[0].as_py() for block in self._store.blocks()), None)

    def _find(self, image_id: str) -> Regions | None:
        with suppress(KeyError):
            return self._store.get(image_id)
        return None


class _RecordImages(ImageSource):
    def __init__(self, source: RecordSource, feature_dim: int | None):
        self.path = source.path
        self._source = source
        self.feature_dim = self._first_feature_dim(feature_dim)

    def __contains__(self, key: str) -> bool:
        return any(name in self._source for name in self._names(key.removesuffix(".npy")))

    def first_key(self) -> str | None:
        return next(iter(self._source.first_ids()), None)

    def _find(self, image_id: str) -> Regions | None:
        try:
            image = self._load(image_id)
            return None if image is None else replace(image.read_unnamed(self.feature_dim), image_id=image_id)
        except BadRecord as problem:
            raise _input_error(problem, image_id) from problem

    def _load(self, image_id: str) -> ImageRecord | None:
        """What there is of an image, ``None`` where there is nothing; raises BadRecord where it is damaged."""
        name = next((name for name in self._names(image_id) if name in self._source), None)
        return None if name is None else self._source.load(name)

    def _names(self, image_id: str) -> Iterator[str]:
        """What an image may be called: its id, or in an LMDB the number at the end of it, as in MMF's own reader."""
        yield image_id
        number = image_id.rpartition("_")[2]
        if isinstance(self._source, MmfLmdb) and number.isdecimal() and len(number) < 32:
            yield str(int(number))

    def _first_feature_dim(self, wanted: int | None) -> int:
        """The features' size: ``wanted`` where the first images allow it, else that of the first that can be used.

        Damaged images are passed over: they may never be asked for.
        """
        found: list[int] = []
        problems: list[InputError] = []
        for image_id in self._source.first_ids():
            try:
                image = self._load(image_id)
                if image and wanted and image.has_features_of(wanted):
                    return wanted
                if image:
                    image.read_unnamed(image.feature_dim)
                    found.append(image.feature_dim)
            except BadRecord as problem:
                problems.append(_input_error(problem, image_id))
        if found or wanted:
            return found[0] if found else wanted or 0
        raise problems[0] if problems else InputError(str(self.path), "holds no image features", _IMPORT)


def _input_error(problem: BadRecord, image_id: str) -> InputError:
    return InputError(f"{problem.file} (image {image_id})", f"{problem.reason}: {problem.value}", _REMEDY)
