from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy

from mmf_muvla.datasets.images import open_images
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.commands import import_command
from mmf_muvla.regions import index as region_index
from mmf_muvla.regions import places
from mmf_muvla.regions import store as region_store
from mmf_muvla.regions.index import META_FILE, TAGS_SCHEMA, store_files
from mmf_muvla.regions.shards import checksum
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


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store_files(store)}


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
    assert "\ud800" not in store
    for image in images:
        assert_equal(store.get(image.image_id), image)
    with pytest.raises(KeyError, match="image c is not in"):
        store.get("c")
    # What is read may be written to.
    store.get("a").bbox[:] = 0
    assert_equal(store.get("a"), images[1])


def test_a_shard_is_safetensors(tmp_path: Path) -> None:
    images = [make_regions("7"), make_regions("é", 1)]
    write(tmp_path / "store", images)
    tensors = safetensors.numpy.load_file(tmp_path / "store" / "regions-000000.safetensors")
    columns = ["attribute_id", "bbox", "class_id", "confidence", "image_feature_0"]
    assert sorted(tensors) == sorted([*columns, "checksum", "image_id", "image_size", "num_regions"])
    for name in columns:
        expected = np.concatenate([getattr(image, name) for image in images])
        np.testing.assert_array_equal(tensors[name], expected)
        assert tensors[name].dtype == expected.dtype
    assert tensors["image_size"].tolist() == [[640, 480]] * 2
    assert tensors["num_regions"].tolist() == [3, 1]
    assert tensors["image_id"].tobytes() == "7\né\n".encode()
    meta = json.loads((tmp_path / "store" / META_FILE).read_text())
    assert (meta["count"], meta["object_names"]) == (2, OBJECTS)


def test_equal_stores_are_equal_files(tmp_path: Path) -> None:
    images = [make_regions(str(number)) for number in range(50)]
    one, other = (write(tmp_path / name, images) for name in ("one", "other"))
    assert contents(one) == contents(other)
    assert RegionStore(one).content == RegionStore(other).content
    assert RegionStore(write(tmp_path / "third", images[1:])).content != RegionStore(one).content


def test_shards_and_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [make_regions(f"{number * 7919 % 1000}", number % 50) for number in range(300)]
    one = RegionStore(write(tmp_path / "one", images))
    monkeypatch.setattr(region_store, "_BYTES_PER_SHARD", 20_000)
    monkeypatch.setattr(region_index, "_IMAGES_PER_BLOCK", 64)
    monkeypatch.setattr(region_store, "_OPEN_SHARDS", 3)
    many = RegionStore(write(tmp_path / "many", images))
    assert len(store_files(many.path)) > 10
    assert (many.content, many.ids, many.num_regions) == (one.content, one.ids, one.num_regions)
    assert [block.num_rows for block in many.blocks()] == [64, 64, 64, 64, 44]
    for image in images:
        assert_equal(many.get(image.image_id), image)
    assert many.content != RegionStore(write(tmp_path / "reversed", images[::-1])).content


def test_blocks_hold_some_images_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_index, "_IMAGES_PER_BLOCK", 4)
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


def test_a_store_without_images(tmp_path: Path) -> None:
    store = RegionStore(write(tmp_path / "store", []))
    assert (len(store), store.ids, list(store.blocks()), "1" in store) == (0, [], [], False)


def test_ids_of_equal_digests_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alike(image_ids: Sequence[str]) -> np.ndarray:
        return np.array([len(image_id) for image_id in image_ids], np.uint64)

    monkeypatch.setattr(region_index, "image_digests", alike)
    monkeypatch.setattr(places, "image_digests", alike)
    images = [make_regions(str(number), 1 + number) for number in range(12)]
    store = RegionStore(write(tmp_path / "store", images))
    for image in images:
        assert_equal(store.get(image.image_id), image)
    assert "x" not in store


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
    # A shard that was not open is another store's by now.
    old._shard.cache_clear()
    with pytest.raises(InputError, match=r"regions-000000.safetensors \(image 1\): is damaged"):
        old.get("1")


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a region store"):
        RegionStore(tmp_path)
    with lmdb.open(str(tmp_path / "other")):
        pass
    with pytest.raises(InputError, match="is not a region store"):
        RegionStore(tmp_path / "other")
    store = write(tmp_path / "store", [make_regions("1")])
    (store / META_FILE).write_text('{"format": "muvla-regions", "version": 4}')
    with pytest.raises(InputError, match="is not a region store of this version"):
        RegionStore(store)


# --- damage


def test_a_checksum_tells_each_bit(tmp_path: Path) -> None:
    """Also where a column is so long that its rows are XORed."""
    regions = make_regions("1", 7, 700)
    columns = [regions.image_feature_0, regions.bbox, regions.class_id]
    before = checksum("1", columns)
    for column in columns:
        content = column.view(np.uint8).reshape(-1)
        for bit in [*range(0, 8 * content.size, 13), 8 * content.size - 1]:
            content[bit // 8] ^= 1 << bit % 8
            assert checksum("1", columns) != before
            content[bit // 8] ^= 1 << bit % 8
    assert checksum("1", columns) == before != checksum("2", columns)


def all_that_is_read(path: Path) -> list[Any]:
    store = RegionStore(path)
    found: list[Any] = [store.object_names, store.attribute_names, store.feature_dim, store.num_regions]
    found += [store.num_blocks, store.content, len(store), store.ids, *(block.to_pydict() for block in store.blocks())]
    found += ["absent" in store]
    for image_id in ("0", "3", "12", "x"):
        regions = store.get(image_id)
        found += [
            (name, value.tolist() if isinstance(value, np.ndarray) else value) for name, value in vars(regions).items()
        ]
    return found


def test_damage_anywhere_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_store, "_BYTES_PER_SHARD", 400)
    images = [make_regions(str(number), 1 + number % 3) for number in range(16)] + [make_regions("x", 300)]
    store = write(tmp_path / "store", images)
    expected = all_that_is_read(store)
    choose = random.Random(0)
    errors = 0
    for file in store_files(store):
        content = file.read_bytes()
        flips = [8 * place + choose.randrange(8) for place in choose.sample(range(len(content)), 60)]
        for damage in [*flips, "cut", "empty", "gone"]:
            if isinstance(damage, int):
                changed = bytearray(content)
                changed[damage // 8] ^= 1 << damage % 8
                file.write_bytes(changed)
            elif damage == "gone":
                file.unlink()
            else:
                file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
            try:
                assert all_that_is_read(store) == expected, (file, damage)
            except InputError as error:
                errors += 1
                assert file.name in str(error) or (file.name == META_FILE and damage == "gone"), (file, damage)
            file.write_bytes(content)
    # Nothing else than what pads a shard, or what is read of others, may be changed without being noticed.
    assert errors > 0.4 * 63 * len(store_files(store))


# --- stores of a former version


def write_lmdb_store(path: Path, images: list[Regions], version: int = 2, broken: str = "") -> Path:
    meta = {"format": "muvla-regions", "version": version, "feature_dim": DIM, "count": len(images), "content": "0"}
    meta |= {"blocks": 2, "object_names": OBJECTS, "attribute_names": ATTRIBUTES}
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"__meta__", json.dumps(meta).encode())
        for number, block in enumerate((images[:3], images[3:])):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, TAGS_SCHEMA) as writer:
                names = ("image_id", "class_id", "attribute_id", "confidence")
                rows = [{name: getattr(image, name) for name in names} for image in block]
                writer.write_batch(pa.RecordBatch.from_pylist(rows, TAGS_SCHEMA))
            transaction.put(f"__block__{number:08d}".encode(), sink.getvalue().to_pybytes())
        for image in images:
            tensors = {name: value for name, value in vars(image).items() if isinstance(value, np.ndarray)}
            tensors["image_size"] = np.array([image.width, image.height], np.int32)
            record = safetensors.numpy.save(tensors)
            transaction.put(image.image_id.encode(), record[:-5] if image.image_id == broken else record)
    (path / "lock.mdb").unlink(missing_ok=True)
    return path


def test_a_store_of_a_former_version_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [make_regions(str(number), 1 + number % 200) for number in (5, 3, 150, 8, 11)]
    old, new = write_lmdb_store(tmp_path / "old", images), tmp_path / "new"
    for function in (RegionStore, open_images):
        with pytest.raises(InputError, match="former version") as error:
            function(old)
        assert error.value.remedy == f"Convert it: python tools/import_regions.py regions={old} out=NEW_FOLDER"
    import_command([f"regions={old}", f"out={new}", f"region_options.feature_dim={DIM}", "num_workers=1"])
    assert "images 5" in capsys.readouterr().out
    store = RegionStore(new)
    assert store.content == RegionStore(write(tmp_path / "expected", images)).content
    assert store.ids == [image.image_id for image in images]
    for image in images:
        assert_equal(store.get(image.image_id), image)


def test_a_damaged_store_of_a_former_version(tmp_path: Path) -> None:
    old = write_lmdb_store(tmp_path / "old", [make_regions(str(number)) for number in range(5)], broken="3")
    arguments = [f"regions={old}", f"out={tmp_path / 'new'}", "on_bad_record=error"]
    with pytest.raises(InputError, match="Set region_options.feature_dim=6"):
        import_command(arguments)
    with pytest.raises(InputError, match=r"old \(image 3\): record is damaged"):
        import_command([*arguments, f"region_options.feature_dim={DIM}"])
    shutil.rmtree(old)
    write_lmdb_store(old, [make_regions("1")], version=1)
    with pytest.raises(InputError, match="not a region store that can be converted"):
        import_command(arguments)


def test_a_store_of_a_former_version_is_replaced_by_a_writer(tmp_path: Path) -> None:
    path = write_lmdb_store(tmp_path / "store", [make_regions("1")])
    write(path, [make_regions("2")])
    assert RegionStore(path).ids == ["2"]
