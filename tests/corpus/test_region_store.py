from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import safetensors.numpy

from mmf_muvla.corpus import region_store
from mmf_muvla.corpus.region_store import Regions, RegionStore, RegionStoreWriter
from mmf_muvla.errors import InputError

OBJECTS, ATTRIBUTES, DIM = ["car", "dog"], ["red"], 6


def make_regions(image_id: str, n: int = 3, dim: int = DIM) -> Regions:
    random = np.random.default_rng(len(image_id) + n)
    return Regions(
        image_id=image_id,
        width=640,
        height=480,
        image_feature_0=random.normal(size=(n, dim)).astype(np.float16),
        bbox=random.random((n, 4)).astype(np.float32),
        class_id=random.integers(2, size=n).astype(np.int32),
        attribute_id=random.integers(-1, 1, size=n).astype(np.int32),
        confidence=random.random(n).astype(np.float32),
    )


def write(path: Path, images: list[Regions]) -> Path:
    with RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM) as writer:
        for image in images:
            writer.put(image)
    return path


def assert_equal(one: Regions, other: Regions) -> None:
    for field in dataclasses.fields(Regions):
        left, right = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(left, right)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype


def read_in_process(store: RegionStore, results: Any) -> None:
    results.put([store.get(image_id).image_feature_0.sum() for image_id in store.ids])


def test_round_trip(tmp_path: Path) -> None:
    images = [make_regions("b", 1), make_regions("a", 4)]
    store = RegionStore(write(tmp_path / "store", images))
    assert (len(store), store.num_regions, store.feature_dim) == (2, 5, DIM)
    assert (store.object_names, store.attribute_names) == (OBJECTS, ATTRIBUTES)
    assert store.ids == ["b", "a"]
    assert "a" in store
    assert "c" not in store
    assert "__meta__" not in store
    for image in images:
        assert_equal(store.get(image.image_id), image)
    with pytest.raises(KeyError, match="image c is not in"):
        store.get("c")
    # What is read may be written to.
    store.get("a").bbox[:] = 0
    assert_equal(store.get("a"), images[1])


def test_record_is_safetensors(tmp_path: Path) -> None:
    image = make_regions("7")
    write(tmp_path / "store", [image])
    with lmdb.open(str(tmp_path / "store"), readonly=True, lock=False) as environment, environment.begin() as txn:
        tensors = safetensors.numpy.load(txn.get(b"7"))
        meta = json.loads(txn.get(b"__meta__"))
    assert sorted(tensors) == ["attribute_id", "bbox", "class_id", "confidence", "image_feature_0", "image_size"]
    np.testing.assert_array_equal(tensors["image_feature_0"], image.image_feature_0)
    assert tensors["image_size"].tolist() == [640, 480]
    assert (meta["count"], meta["object_names"]) == (1, OBJECTS)


def test_equal_stores_are_equal_files(tmp_path: Path) -> None:
    images = [make_regions(str(number)) for number in range(50)]
    one, other = (write(tmp_path / name, images) for name in ("one", "other"))
    assert (one / "data.mdb").read_bytes() == (other / "data.mdb").read_bytes()
    assert RegionStore(one).content == RegionStore(other).content
    assert RegionStore(write(tmp_path / "third", images[1:])).content != RegionStore(one).content


def test_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_store, "_FIRST_MAP_SIZE", 64 * 1024)
    monkeypatch.setattr(region_store, "_BYTES_PER_COMMIT", 20_000)
    images = [make_regions(str(number), 40) for number in range(1000)]
    store = RegionStore(write(tmp_path / "store", images))
    assert (store.path / "data.mdb").stat().st_size > 64 * 1024
    assert_equal(store.get("999"), images[999])


def test_failure_leaves_no_store_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with pytest.raises(RuntimeError), RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM) as writer:
        writer.put(make_regions("1"))
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    write(path, [make_regions("1")])
    with pytest.raises(InputError), RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM) as writer:
        writer.put(make_regions("1", dim=5))
    assert RegionStore(path).ids == ["1"]
    assert os.listdir(tmp_path) == ["store"]


def test_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    good = make_regions("1")
    with RegionStoreWriter(tmp_path / "store", OBJECTS, ATTRIBUTES, DIM) as writer:
        writer.put(good)
        for changes, message in (
            ({}, "image 1: this image id is already in the store"),
            ({"image_id": "__ids__"}, "the store uses it itself"),
            ({"image_id": "a\nb"}, "line break"),
            ({"image_id": "x" * 512}, "the id has 512 bytes, at most 511"),
            ({"image_id": "2", "bbox": good.bbox[:2]}, r"image 2: bbox has shape \(2, 4\), expected \(3, 4\)"),
            ({"image_id": "2", "class_id": np.array([0, 1, 2])}, "class_id reaches from 0 to 2, but there are 2 names"),
            ({"image_id": "2", "attribute_id": np.array([0, -1, -2])}, "attribute_id reaches from -2 to 0"),
        ):
            with pytest.raises(InputError, match=message):
                writer.put(dataclasses.replace(good, **changes))
    assert RegionStore(tmp_path / "store").ids == ["1"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(method: str, tmp_path: Path) -> None:
    store = RegionStore(write(tmp_path / "store", [make_regions(str(number)) for number in range(20)]))
    here = [store.get(image_id).image_feature_0.sum() for image_id in store.ids]
    context = multiprocessing.get_context(method)
    results = context.Queue()
    processes = [context.Process(target=read_in_process, args=(store, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [here, here]
    for process in processes:
        process.join()
    assert store.get("3").image_feature_0.sum() == here[3]


def test_pickling_and_two_readers_in_a_process(tmp_path: Path) -> None:
    store = RegionStore(write(tmp_path / "store", [make_regions("1")]))
    other = pickle.loads(pickle.dumps(store))
    assert_equal(other.get("1"), store.get("1"))


def test_replaced_store_is_read_as_it_was_opened(tmp_path: Path) -> None:
    old = RegionStore(write(tmp_path / "store", [make_regions("1", 2)]))
    old.get("1")
    new = RegionStore(write(tmp_path / "store", [make_regions("1", 5)]))
    assert (len(old.get("1")), len(new.get("1"))) == (2, 5)


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a region store"):
        RegionStore(tmp_path)
    with lmdb.open(str(tmp_path / "other")):
        pass
    with pytest.raises(InputError, match="is not a region store of this version"):
        RegionStore(tmp_path / "other")
    store = write(tmp_path / "store", [make_regions("1")])
    shutil.copytree(store, tmp_path / "torn")
    for size, message in ((9000, "data.mdb has 9000 bytes of"), (100, "cannot be read as a region store")):
        with (tmp_path / "torn" / "data.mdb").open("r+b") as file:
            file.truncate(size)
        with pytest.raises(InputError, match=message):
            RegionStore(tmp_path / "torn")
