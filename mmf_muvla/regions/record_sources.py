"""Sources that hold a record of arrays for every image, which is found by the image's id."""

from __future__ import annotations

import io
import math
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.reading.restricted_pickle import PickleProblem, read_npy_header
from mmf_muvla.regions.checks import FoundImage, Place, refuse_feature_size
from mmf_muvla.regions.image_records import ImageRecord
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import id_problem
from mmf_muvla.regions.sources import Contents, ListedSource, NameIds, fingerprint_of_names, without_classes

# So many images tell what features of a source are like.
IMAGES_TRIED = 16
# No image has so much, and one that has can still be read within 200 MB.
_MOST_BYTES = 32 * 2**20


class RecordSource(ListedSource):
    """Images of which each has a record, as :mod:`~mmf_muvla.regions.image_records` reads it."""

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels)
        self.file = path / "data.mdb" if (path / "data.mdb").is_file() else path

    @abstractmethod
    def __contains__(self, image_id: str) -> bool: ...

    @abstractmethod
    def first_ids(self) -> Iterable[str]:
        """The ids of :data:`IMAGES_TRIED` images, without a look at all that there are."""

    @abstractmethod
    def load(self, image_id: str) -> ImageRecord | None:
        """What there is of an image, ``None`` where there is nothing; a BadRecord where it is damaged."""

    def read_image(self, image_id: str, names: NameIds) -> FoundImage:
        image = self.load(image_id)
        if image is None:
            raise Place(self.file, None, image_id)("image is listed under 'keys' but has no record", image_id)
        return image.read(self.options, self.labels, names)

    def prepare(self, index: Path, executor: Executor) -> Contents:
        count, problems = self.list_images(index)
        first = islice(chain.from_iterable(self.shards(index)), IMAGES_TRIED)
        images = list(self._sound(first))
        self._check_feature_size(images)
        if images and not any(image.has_classes for image in images):
            return without_classes(count, problems)
        objects, attributes = map(sorted, self.names())
        return Contents(count, objects, attributes, problems)

    def _sound(self, image_ids: Iterable[str]) -> Iterator[ImageRecord]:
        for image_id in image_ids:
            with suppress(BadRecord):
                if image := self.load(image_id):
                    yield image

    def _check_feature_size(self, images: Iterable[ImageRecord]) -> None:
        """Refuse a source where all of the first images have another number of features than expected."""
        refusal = None
        for image in images:
            if image.has_features_of(self.options.feature_dim):
                return
            if refusal is None and image.features.ndim == 2 and len(image.features):
                width = image.features.shape[1]
                refusal = refuse_feature_size(self.path, width, image.feature_dim != width, self.options)
        if refusal:
            raise refusal


class RecordFolder(RecordSource):
    """A folder with files for every image, whose id is the file's path in it; folders inside of it count as well.

    Attributes:
        suffix: what the files' names end with.
    """

    suffix: str

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(cls._names_in(path))

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint_of_names(self.path, self.suffix)

    def __contains__(self, image_id: str) -> bool:
        # Annotations are not to choose files outside of the folder.
        is_inside = "\0" not in image_id and not ({"..", "/"} & set(PurePosixPath(image_id).parts))
        try:
            return is_inside and id_problem(image_id) is None and self.file_of(image_id).is_file()
        except OSError:  # the id is too long for the name of a file
            return False

    def first_ids(self) -> Iterator[str]:
        return islice(filter(None, map(self.id_of, self._names_in(self.path))), IMAGES_TRIED)

    def image_ids(self, problems: list[BadRecord]) -> Iterator[str]:
        for name in sorted(self._names_in(self.path)):
            image_id = self.id_of(name)
            if image_id is not None:
                yield image_id
            elif self.is_usable(name.removesuffix(self.suffix), problems):
                self.look_at_other(name, problems)

    def id_of(self, name: str) -> str | None:
        """The id of the image of a file, by its path in the folder; ``None`` where it is none of an image."""
        return name.removesuffix(self.suffix)

    def file_of(self, image_id: str) -> Path:
        """The file of an image, whether it is there or not."""
        return self.path / f"{image_id}{self.suffix}"

    def look_at_other(self, name: str, problems: list[BadRecord]) -> None:
        """Look at a file that is none of an image."""

    @classmethod
    def _names_in(cls, path: Path) -> Iterator[str]:
        for folder, _, files in os.walk(path):
            for name in files:
                if name.endswith(cls.suffix):
                    yield Path(folder, name).relative_to(path).as_posix()


def refuse_large(what: str, size: int, bad: Place) -> None:
    """Refuse what is more than an image can have."""
    if size > _MOST_BYTES:
        raise bad(f"{what} too large", f"{size} bytes, at most {_MOST_BYTES} are read")


@contextmanager
def explained(what: str, verb: str, bad: Place) -> Iterator[None]:
    """What a pickle, and a file, cannot be read for, as a BadRecord."""
    try:
        yield
    except PickleProblem as problem:
        raise bad(f"{what} cannot be {verb}", f"it {problem.problem[:400]}", problem.remedy) from problem
    except OSError as error:
        raise bad(f"{what} cannot be read", f"{error.strerror}") from error


def read_file(what: str, bad: Place) -> bytes:
    """All of an image's file; a BadRecord where it has more than an image can have."""
    with explained(what, "read", bad):
        refuse_large(f"file of {what} is", bad.file.stat().st_size, bad)
        return bad.file.read_bytes()


def dictionary_in(array: np.ndarray, what: str, bad: Place) -> dict[Any, Any]:
    """The dictionary that an array of objects holds; a BadRecord where it holds something else."""
    found = array.item() if array.shape == () else None
    if not isinstance(found, dict):
        raise bad(f"{what} is not a dictionary", f"array of shape {array.shape}: {shown(found)}")
    return found


def parse_npy(content: bytes, what: str, num_axes: int, bad: Place) -> np.ndarray:
    """The numbers of the content of an ``.npy`` file; a BadRecord where it holds others than it announces."""
    header = io.BytesIO(content)
    with explained(what, "read", bad):
        shape, is_fortran, dtype = read_npy_header(header)
    if dtype.kind not in "fiu" or len(shape) != num_axes:
        axes = ("", " [n]", " [n, d]")[num_axes]
        raise bad(f"{what} are not numbers{axes}", f"array of {dtype} of shape {shape}")
    expected = math.prod(shape) * dtype.itemsize
    size = len(content) - header.tell()
    if size != expected:
        raise bad(f"{what} have the wrong number of bytes", f"{size} bytes of {expected}")
    return np.frombuffer(content, dtype, offset=header.tell()).reshape(shape, order="F" if is_fortran else "C")
