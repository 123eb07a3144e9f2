"""Formats of detector output: what one has to have, those that are known, and how a path's is found out.

A format is a subclass of :class:`RegionSource`, or of :class:`ListedSource` where images can be read one by one.
``docs/formats.md`` has an example of a user's own.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.files import fingerprint, publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.index import META_FILE
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import id_problem

# Each is asked whether a path is its own.
REGION_FORMATS = {
    "lmdb_store": "mmf_muvla.regions.lmdb_store:LmdbStore",
    "vinvl": "mmf_muvla.regions.vinvl:VinvlFolder",
    "scene_graph_benchmark": "mmf_muvla.regions.scene_graph_benchmark:SceneGraphPredictions",
    "oscar": "mmf_muvla.regions.oscar:OscarFiles",
    "bottom_up_tsv": "mmf_muvla.regions.bottom_up_tsv:BottomUpTsv",
    "lxmert_tsv": "mmf_muvla.regions.lxmert_tsv:LxmertTsv",
    "bottom_up_npz": "mmf_muvla.regions.bottom_up_npz:BottomUpNpz",
    "mmf_lmdb": "mmf_muvla.regions.mmf_features:MmfLmdb",
    "mmf_folder": "mmf_muvla.regions.mmf_features:MmfFeatureFolder",
}
# Files of certain names say what a folder is: what else lies there is ignored.
_KNOWN_BY_NAME = ("lmdb_store", "vinvl")
_UNDERSTOOD = (
    "Name a folder with features.tsv and predictions.tsv (VinVL) or predictions.tsv alone (scene_graph_benchmark), "
    "X.feature.tsv and X.label.tsv (Oscar), a TSV of bottom-up-attention or LXMERT, a folder with X.npz "
    "(bottom-up-attention.pytorch), with X.npy and X_info.npy (MMF) or with X.npy (ViLBERT) for every image, or an "
    "LMDB of one of these two; or say with region_options.format what it is"
)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_IMAGES_PER_SHARD = 32
_LIST = "images.list"

# A part of a source that is read in one go: whatever the source needs to find its images; can be pickled.
Shard = Any


@dataclass(frozen=True)
class Contents:
    """What is known of a source before its images are read."""

    num_images: int  # damaged ones included
    object_names: list[str]  # all that its images can have
    attribute_names: list[str]
    problems: list[BadRecord]  # what is known to be damaged by then
    remark: str = ""  # what was decided for the whole of the source, and why
    has_classes: bool = True  # otherwise all classes are -1, and no corpus can be made of it

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "problems": [problem.to_json() for problem in self.problems]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Contents:
        return cls(**{**content, "problems": [BadRecord.from_json(problem) for problem in content["problems"]]})


def without_classes(num_images: int, problems: list[BadRecord]) -> Contents:
    """The contents of a source that does not say what its regions are."""
    remark = "there are no object classes: enough for fine-tuning, not for a corpus"
    return Contents(num_images, [], [], problems, remark, has_classes=False)


class NameIds:
    """The numbers that names have in a store: their places in its lists of names."""

    def __init__(self, object_names: Iterable[str], attribute_names: Iterable[str]):
        self._objects = {name: number for number, name in enumerate(object_names)}
        self._attributes: dict[str | None, int] = {name: number for number, name in enumerate(attribute_names)}
        self._attributes[None] = -1

    def class_ids(self, names: Iterable[str]) -> np.ndarray:
        """Class ids, int32 [n]. A name that was not in ``Contents.object_names`` is a KeyError."""
        return np.array([self._objects[name] for name in names], np.int32)

    def attribute_ids(self, names: Iterable[str | None]) -> np.ndarray:
        """Attribute ids, int32 [n], -1 for ``None``. A name not in ``Contents.attribute_names`` is a KeyError."""
        return np.array([self._attributes[name] for name in names], np.int32)


@dataclass(frozen=True)
class ShardContent:
    """What there is of every image of a shard, in order; where the source has a ``lines_file``, of every line of it.

    The lines of problems in that file count from the shard's first line, as 1.
    """

    images: list[FoundImage | BadRecord] = field(default_factory=list)
    found: list[int] = field(default_factory=list)  # what ``RegionSource.leftovers`` is to be told

    def add(self, read: Callable[..., FoundImage], *arguments: Any) -> None:
        """Add what ``read`` finds, or the BadRecord that it raises."""
        try:
            self.images.append(read(*arguments))
        except BadRecord as problem:
            self.images.append(problem)


class RegionSource(ABC):
    """A folder or file of detector output, in one format. It is pickled to the processes that read.

    What it finds out before images are read, it keeps in files whose names begin with ``index``, and end with
    ``.json``, ``.list``, ``.npy`` or ``.sqlite``. Of a source without classes, ``labels`` are ``None`` when images are
    read.
    """

    lines_file: Path | None = None  # the file that has a line for every image, where there is one
    needs_classes = False  # whether a region without a class is damage

    pieces_per_shard = 4  # what :meth:`shards` gives, of which a shard of the store is made

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        self.path = path
        self.options = options
        self.labels = labels

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a path that exists is of this format."""
        return True

    @property
    def feature_dim(self) -> int:
        """Numbers per region feature."""
        return self.options.feature_dim

    def num_processes(self, num_workers: int) -> int:
        """How many processes are to read where ``num_workers`` are allowed."""
        return num_workers

    def fingerprint(self) -> dict[str, Any]:
        """What identifies its content, as JSON."""
        return fingerprint_of_names(self.path) if self.path.is_dir() else fingerprint(self.path)

    @abstractmethod
    def prepare(self, index: Path, executor: Executor) -> Contents:
        """Find out what there is; an InputError where nothing can be read, or it is not known how."""

    def names(self) -> tuple[Iterable[str], Iterable[str]]:
        """All names of objects and of attributes that images can have; by default those of the label map."""
        if self.labels is None:
            remedy = "Say with region_options.label_map what they stand for (objects_vocab.txt, for one)"
            raise InputError(str(self.path), "has numbers of object classes, whose names are not known", remedy)
        renamed = self.options.rename
        return {renamed.get(it, it) for it in self.labels.objects.values()}, set(self.labels.attributes.values())

    @abstractmethod
    def shards(self, index: Path) -> Iterator[Shard]:
        """The shards, in order; they do not depend on the number of workers."""

    @abstractmethod
    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        """The images of a shard."""

    def leftovers(self, index: Path, found: np.ndarray) -> Iterable[BadRecord]:
        """When all shards have been read: what should have been among all that they have ``found``, and was not."""
        return ()


class ListedSource(RegionSource):
    """A format whose images can be listed and read one by one."""

    @abstractmethod
    def image_ids(self, problems: list[BadRecord]) -> Iterable[str]:
        """The ids of all images, in the order in which they are to be read; what is damaged goes to ``problems``."""

    @abstractmethod
    def read_image(self, image_id: str, names: NameIds) -> FoundImage:
        """Read an image; a BadRecord where it is damaged or has no regions."""

    def prepare(self, index: Path, executor: Executor) -> Contents:
        objects, attributes = map(sorted, self.names())
        count, problems = self.list_images(index)
        return Contents(count, objects, attributes, problems)

    def list_images(self, index: Path) -> tuple[int, list[BadRecord]]:
        """Write the list of images; their number, damaged ones included, and these."""
        problems: list[BadRecord] = []
        count = 0
        with publish_file(beside(index, _LIST)) as file, file.open("w", encoding="utf-8", newline="\n") as images:
            for image_id in self.image_ids(problems):
                if self.is_usable(image_id, problems):
                    images.write(f"{image_id}\n")
                    count += 1
        return count + len(problems), problems

    def is_usable(self, image_id: str, problems: list[BadRecord]) -> bool:
        """Whether an image can have that id; if not, it is among the problems."""
        problem = id_problem(image_id)
        if problem:
            bad = Place(self.path, None, "")
            problems.append(bad("image id cannot be used", problem, "Give the image another name"))
        return problem is None

    def shards(self, index: Path) -> Iterator[Shard]:
        with beside(index, _LIST).open(encoding="utf-8", newline="\n") as images:
            while image_ids := [line.removesuffix("\n") for line in islice(images, _IMAGES_PER_SHARD)]:
                yield image_ids

    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        content = ShardContent()
        for image_id in shard:
            content.add(self.read_image, image_id, names)
        return content


def open_regions(path: Path, options: RegionOptions, labels: LabelMap | None = None) -> RegionSource:
    """Open detector output in the format that ``options.format`` says, or in any that is known."""
    if not path.exists():
        raise InputError(str(path), "no such folder", _UNDERSTOOD)
    names = list(REGION_FORMATS) if options.format == "auto" else [options.format]
    found = [name for name in names if _format(name).recognises(path)]
    found = [name for name in found if name in _KNOWN_BY_NAME] or found
    if len(found) > 1:
        remedy = "Keep them in folders of their own, or say with region_options.format which is to be read"
        raise InputError(str(path), f"holds files of several formats: {', '.join(found)}", remedy)
    if found:
        return _format(found[0])(path, options, labels)
    if options.format != "auto":
        raise InputError(str(path), f"is not in the format {options.format}", "Correct region_options.format")
    if (path / META_FILE).is_file():
        raise InputError(str(path), "is a region store already", "Name what it was made of")
    if path.is_dir():
        problem = f"holds no detector output that is understood (it has {first_names(path)})"
        raise InputError(str(path), problem, _UNDERSTOOD)
    with path.open("rb") as file:
        begin = file.read(16)
    for magic, name in _COMPRESSED.items():
        if begin.startswith(magic):
            raise InputError(str(path), f"is compressed ({name})", "Unpack it, and name what comes out of it")
    raise InputError(str(path), f"is a file of no format that is understood (it begins with {begin!r})", _UNDERSTOOD)


def first_names(folder: Path) -> str:
    """Some of what is in a folder, for messages."""
    return ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"


def _format(name: str) -> type[RegionSource]:
    where = f"region_options.format={name}"
    known = f"auto, {', '.join(REGION_FORMATS)}, or a class of yours, as my_package.my_format:MyFormat"
    if name not in REGION_FORMATS and ":" not in name:
        raise InputError(where, "is no format", f"Choose {known}")
    try:
        found = pkgutil.resolve_name(REGION_FORMATS.get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
        remedy = "Correct the name, or put its folder into PYTHONPATH"
        raise InputError(where, f"cannot be imported ({error})", remedy) from error
    if not (isinstance(found, type) and issubclass(found, RegionSource)):
        raise InputError(where, "is no subclass of mmf_muvla.regions.sources.RegionSource", f"Choose {known}")
    return found


def fingerprint_of_names(path: Path, suffix: str = "") -> dict[str, Any]:
    """What identifies a folder of more files than can be read for it: their names, sizes and times of change."""
    digest = hashlib.blake2b(digest_size=16)
    count = 0
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(name for name in files if name.endswith(suffix)):
            file = os.path.join(folder, name)
            status = os.stat(file)
            relative = os.path.relpath(file, path)
            digest.update(os.fsencode(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n"))
            count += 1
    return {"files": count, "digest": digest.hexdigest()}


def class_names(numbers: Iterable[Any], labels: LabelMap, options: RegionOptions, bad: Place) -> list[str]:
    """The names of the detector's numbers of classes; one that has none is a BadRecord."""
    names = []
    for region, number in enumerate(numbers):
        name = labels.object_name(number) if isinstance(number, int | float) else None
        if name is None:
            remedy = "Check region_options.label_map and label_offset"
            raise bad("class is not in the label map", f"region {region}: {number}", remedy)
        names.append(options.rename.get(name, name))
    return names


def beside(index: Path, name: str) -> Path:
    """A file in which a source keeps what it finds out."""
    return index.with_name(f"{index.name}-{name}")
