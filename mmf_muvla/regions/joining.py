"""Region stores in several places become one, which says where they are and has tables of all their images.

No features are copied. Classes of all stores are put into one list of names, and numbered anew: all that is made of the
joined store is what would be made of a single one, imported from the same images in the same order.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.artifact import Artifact, Work, read_manifest
from mmf_muvla.errors import InputError
from mmf_muvla.regions.index import INDEX_FILE, META_FILE, Tagged, read_meta, write_tags
from mmf_muvla.regions.members import Numbers, write_places_of
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.places import Repeated, write_places
from mmf_muvla.regions.shards import SUFFIX
from mmf_muvla.regions.store import RegionStore

_NO_CLASSES = "Name stores of a detector that gives classes; for fine-tuning, join these with tools/import_regions.py"


def holds_stores(sources: Sequence[Path]) -> bool:
    """Whether sources are region stores; an InputError where some are and others are not."""
    stores = [path for path in sources if (path / META_FILE).is_file()]
    if stores and len(stores) < len(sources):
        other = next(path for path in sources if path not in stores)
        if not other.exists():
            raise InputError(str(other), "no such folder", "Name a region store, as the others are")
        remedy = f"Import {other} into a store of its own, and name stores alone; or name what the store was made of"
        raise InputError(str(stores[0]), f"is a region store already, and {other} is none", remedy)
    return bool(stores)


def joined_store(folder: Path, stores: Sequence[Path], options: RegionOptions, needs_classes: bool) -> Artifact:
    """A region store that is to be joined of others, in their order.

    Args:
        folder: the store.
        stores: their folders. Of one that was joined itself, the stores that it was joined of are used.
        options: how detector output would have been read. Only ``feature_dim`` may be set, to what the stores have.
        needs_classes: whether a region without a class is an InputError.

    Raises:
        InputError: one of the stores cannot be read, or they have features of different sizes.
    """
    metas = [read_meta(path) for path in stores]
    expected = metas[0]["feature_dim"]
    for path, meta in zip(stores, metas, strict=True):
        if meta["feature_dim"] != expected:
            problem = f"has features of {meta['feature_dim']} numbers, and {stores[0]} has {expected}"
            raise InputError(str(path), problem, "Join stores of one detector")
    _check_options(options, expected, stores[0])

    def make(work: Work) -> dict[str, int]:
        return _Joining(stores, needs_classes).write(work)

    return Artifact(
        folder,
        make,
        name="regions",
        inputs={"stores": [{"content": meta["content"], **meta["files"][INDEX_FILE]} for meta in metas]},
        parameters={"needs_classes": needs_classes},
        places=[os.path.abspath(path) for path in stores],
        libraries=("numpy", "pyarrow"),
        checks_itself=(SUFFIX,),
    )


def _check_options(options: RegionOptions, dim: int, store: Path) -> None:
    usual = RegionOptions()
    if replace(options, feature_dim=usual.feature_dim) != usual:
        problem = "is a region store already, in which region_options change nothing"
        raise InputError(str(store), problem, "Leave region_options out, or import again with them")
    if options.feature_dim not in (dim, usual.feature_dim):
        problem = f"has features of {dim} numbers, whereas region_options.feature_dim={options.feature_dim}"
        raise InputError(str(store), problem, "Leave region_options out")


class _Joining:
    def __init__(self, stores: Sequence[Path], needs_classes: bool):
        folders = [member.path for store in stores for member in RegionStore(store).members]
        self._stores, self._needs_classes = [RegionStore(folder) for folder in folders], needs_classes
        self._names = [
            sorted({name for store in self._stores for name in getattr(store, kind)})
            for kind in ("object_names", "attribute_names")
        ]
        self._numbers = [Numbers((it.object_names, it.attribute_names), self._names) for it in self._stores]
        self._first_shards: list[int] = []  # of each store

    def write(self, work: Work) -> dict[str, int]:
        """Write the folder; the stores' own counts, added up."""
        repeated = write_places(work.folder / INDEX_FILE, self._rows())
        if repeated:
            raise self._twice(repeated)
        write_places_of(work.folder, [Path(os.path.abspath(store.path)) for store in self._stores])
        described = [
            {"first_shard": first, "index": read_meta(store.path)["files"][INDEX_FILE]}
            for first, store in zip(self._first_shards, self._stores, strict=True)
        ]
        with work.progress.bar(sum(map(len, self._stores)), "regions", "image") as bar:

            def images() -> Iterator[Tagged]:
                for checksums, batch in self._tags():
                    yield checksums, batch
                    bar.update(len(checksums))

            objects, attributes = self._names
            dim = self._stores[0].feature_dim
            num_images, num_regions = write_tags(work.folder, images(), objects, attributes, dim, stores=described)
        counts = Counter[str]()
        for store in self._stores:
            counts.update((read_manifest(store.path) or {"counts": {}})["counts"])
        return {**{"skipped": 0}, **counts, "images": num_images, "regions": num_regions}

    def _rows(self) -> Iterator[pa.RecordBatch]:
        """The rows of all indexes, with other numbers of shards: known when the store before has been read."""
        following = 0
        for store in self._stores:
            first = following
            self._first_shards.append(first)
            for batch in store.places.batches:
                shards = batch.column("shard").to_numpy() + np.int32(first)
                following = max(following, int(shards.max(initial=first)) + 1)
                yield batch.set_column(batch.schema.get_field_index("shard"), "shard", pa.array(shards))

    def _tags(self) -> Iterator[Tagged]:
        for store, numbers in zip(self._stores, self._numbers, strict=True):
            checksums, first = _checksums(store), 0
            for batch in store.blocks():
                part = checksums[first : first + len(batch)]
                first += len(batch)
                if self._needs_classes:
                    _refuse_without_classes(store, batch)
                yield numbers.of_tags((part, batch))

    def _twice(self, repeated: Sequence[Repeated]) -> InputError:
        shard, _, image_id = repeated[0]
        second = max(number for number, first in enumerate(self._first_shards) if first <= shard)
        first = next(store for store in self._stores if image_id in store)
        problem = f"image {image_id} is in {first.path} as well, and {len(repeated) - 1} more are in two stores"
        return InputError(str(self._stores[second].path), problem, "Import one of the two without these images")


def _checksums(store: RegionStore) -> np.ndarray:
    """The checksums of a store's images in the order in which they were written, uint32 [n]."""
    # Images whose ids earlier ones have are not in the index, but have numbers in their shards.
    sizes = np.zeros(0, np.int64)
    for batch in store.places.batches:
        shard, image = (batch.column(name).to_numpy() for name in ("shard", "image"))
        sizes = np.pad(sizes, (0, max(0, int(shard.max(initial=-1)) + 1 - len(sizes))))
        np.maximum.at(sizes, shard, image.astype(np.int64) + 1)
    starts = np.cumsum(sizes) - sizes
    found, is_there = np.zeros(sizes.sum(), np.uint32), np.zeros(sizes.sum(), bool)
    for batch in store.places.batches:
        place = starts[batch.column("shard").to_numpy()] + batch.column("image").to_numpy()
        found[place], is_there[place] = batch.column("checksum").to_numpy(), True
    return found[is_there]


def _refuse_without_classes(store: RegionStore, batch: pa.RecordBatch) -> None:
    classes = batch.column("class_id")
    lowest = classes.values.to_numpy().min(initial=0)
    if lowest < 0 or not all(chain([True], classes.value_lengths().to_pylist())):
        lists = classes.to_pylist()
        image = next(number for number, ids in enumerate(lists) if not ids or min(ids) < 0)
        image_id = batch.column("image_id")[image].as_py()
        problem = "has regions without a class" if lists[image] else "is an image without regions"
        raise InputError(f"{store.path} (image {image_id})", problem, _NO_CLASSES)
