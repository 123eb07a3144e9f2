from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import safetensors.numpy

from mmf_muvla.errors import InputError
from mmf_muvla.regions import writer as region_writer
from mmf_muvla.regions.store import Regions, RegionStore, RegionStoreWriter

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
    monkeypatch.setattr(region_writer, "_FIRST_MAP_SIZE", 64 * 1024)
    monkeypatch.setattr(region_writer, "_BYTES_PER_BLOCK", 20_000)
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
            ({"image_id": "__block__00000000"}, "the store uses it itself"),
            ({"image_id": "__progress__"}, "the store uses it itself"),
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


# --- continuing after a kill


def put_some(writer: RegionStoreWriter, images: list[Regions], at_a_time: int = 3) -> None:
    """Write what has not been written, in commits of a few images; ``progress`` is how many there are."""
    start = writer.progress["images"] if writer.progress else 0
    while start < len(images):
        end = min(start + at_a_time, len(images))
        for image in images[start:end]:
            writer.put(image)
        writer.commit({"images": end, "note": "x" * end})
        start = end


def write_resumable(path: Path, images: list[Regions]) -> None:
    with RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM, resume=True) as writer:
        if not writer.finished:
            put_some(writer, images)


def run_and_kill(target: Any, arguments: tuple[Any, ...], seconds: float) -> bool:
    """Run a function in a process of its own and kill that after a while; whether it came to its end."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    code = process.exitcode
    process.close()
    assert code in (0, -signal.SIGKILL)
    return code == 0


def test_a_killed_writer_is_continued_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small enough that it has to grow several times, also while it is being continued.
    monkeypatch.setattr(region_writer, "_FIRST_MAP_SIZE", 64 * 1024)
    images = [make_regions(f"{number * 7919 % 1000:03d}", 1 + number % 50) for number in range(300)]
    write_resumable(tmp_path / "whole", images)
    expected = (tmp_path / "whole" / "data.mdb").read_bytes()
    assert len(expected) > 8 * 64 * 1024

    random = np.random.default_rng(0)
    kills = attempt = 0
    while kills < 15:
        path = tmp_path / f"killed-{attempt}"
        attempt += 1
        tries = 0
        # Longer and longer, so that a slow machine gets on as well.
        while not run_and_kill(write_resumable, (path, images), random.uniform(0.005, 0.06) * 1.1**tries):
            kills += 1
            tries += 1
        assert (path / "data.mdb").read_bytes() == expected
        assert os.listdir(path) == ["data.mdb"]
        assert not path.with_name(f"{path.name}.partial").exists()
    store = RegionStore(tmp_path / "killed-0")
    assert store.ids == [image.image_id for image in images]
    assert_equal(store.get(images[17].image_id), images[17])


@pytest.mark.parametrize("method", ["_open", "_write", "_finish", "_close"])
def test_a_writer_that_fails_anywhere_is_continued_to_the_same_bytes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [make_regions(str(number)) for number in range(9)]
    write_resumable(tmp_path / "whole", images)
    original = getattr(RegionStoreWriter, method)
    calls = 0

    def fail_later(self: RegionStoreWriter, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 5):
            # As abrupt as a kill can be made inside a process.
            os._exit(9)
        return original(self, *arguments, **options)

    monkeypatch.setattr(RegionStoreWriter, method, fail_later)
    context = multiprocessing.get_context("fork")
    for _ in range(8):
        process = context.Process(target=write_resumable, args=(tmp_path / "store", images))
        process.start()
        process.join()
        calls += 1
        if process.exitcode == 0:
            break
    assert (tmp_path / "store" / "data.mdb").read_bytes() == (tmp_path / "whole" / "data.mdb").read_bytes()


def test_a_store_that_is_written_but_not_in_place_is_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [make_regions(str(number)) for number in range(4)]
    path = tmp_path / "store"

    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(region_writer, "put_folder_in_place", fail)
    with pytest.raises(RuntimeError):
        write_resumable(path, images)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["store.partial"]
    with RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM, resume=True) as writer:
        assert writer.finished
        assert "3" in writer
    assert RegionStore(path).ids == ["0", "1", "2", "3"]


def test_what_was_not_committed_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with pytest.raises(RuntimeError), RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM, resume=True) as writer:
        assert writer.progress is None
        writer.put(make_regions("1"))
        writer.commit({"at": 1})
        writer.put(make_regions("2"))
        assert "2" in writer
        raise RuntimeError
    assert not path.exists()
    with RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM, resume=True) as writer:
        assert writer.progress == {"at": 1}
        assert "1" in writer
        assert "2" not in writer
        with pytest.raises(InputError, match="image 1: this image id is already in the store"):
            writer.put(make_regions("1"))
    assert RegionStore(path).ids == ["1"]


@pytest.mark.parametrize("change", ["objects", "attributes", "dim", "torn", "rubbish"])
def test_what_another_writer_left_is_not_continued(change: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with pytest.raises(RuntimeError), RegionStoreWriter(path, OBJECTS, ATTRIBUTES, DIM, resume=True) as writer:
        writer.put(make_regions("1"))
        writer.commit({})
        raise RuntimeError
    data = tmp_path / "store.partial" / "data.mdb"
    if change == "torn":
        os.truncate(data, 9000)
    if change == "rubbish":
        data.write_bytes(b"rubbish" * 2000)
    objects = ["car", "dog", "zebra"] if change == "objects" else OBJECTS
    attributes = [] if change == "attributes" else ATTRIBUTES
    dim = DIM + 1 if change == "dim" else DIM
    with RegionStoreWriter(path, objects, attributes, dim, resume=True) as writer:
        assert writer.progress is None
    store = RegionStore(path)
    assert (len(store), store.feature_dim, list(store.blocks())) == (0, dim, [])


def test_blocks_hold_some_images_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_writer, "_IMAGES_PER_BLOCK", 4)
    images = [make_regions(str(number), 1 + number % 3) for number in range(10)]
    store = RegionStore(write(tmp_path / "store", images))
    assert store.num_blocks == 3
    assert [block.num_rows for block in store.blocks()] == [4, 4, 2]
    rows = [row for block in store.blocks() for row in block.to_pylist()]
    for row, image in zip(rows, images, strict=True):
        assert row["image_id"] == image.image_id
        assert row["class_id"] == image.class_id.tolist()
        assert row["attribute_id"] == image.attribute_id.tolist()
        np.testing.assert_array_equal(np.array(row["confidence"], np.float32), image.confidence)


def test_content_does_not_depend_on_how_it_was_written(tmp_path: Path) -> None:
    images = [make_regions(str(number)) for number in range(10)]
    write_resumable(tmp_path / "resumable", images)
    one, other = RegionStore(tmp_path / "resumable"), RegionStore(write(tmp_path / "plain", images))
    assert one.content == other.content
    assert one.content != RegionStore(write(tmp_path / "reversed", images[::-1])).content
