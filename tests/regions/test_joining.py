"""Region stores in several places that are used as one."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.artifacts.artifact import Artifact, read_manifest
from mmf_muvla.datasets.images import open_images
from mmf_muvla.errors import InputError
from mmf_muvla.interface.images import StoredImages
from mmf_muvla.interface.runs import _detection as detection_of
from mmf_muvla.pairing.commands import import_command
from mmf_muvla.regions import places
from mmf_muvla.regions.index import INDEX_FILE, STORES_FILE
from mmf_muvla.regions.places import PLACES_SCHEMA, Places
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.store import RegionStore, RegionStoreWriter
from mmf_muvla.regions.thumbnails import save_thumbnails

DIM = 6
NAMES = ["bus", "car", "dog", "zebra"]
ATTRIBUTES = ["big", "red"]


def make_image(image_id: str, classes: list[str], attributes: list[str | None], n_seed: int = 0) -> Regions:
    """With numbers of all names; ``write`` gives it those of the store."""
    random = np.random.default_rng(n_seed)
    n = len(classes)
    return Regions(
        image_id=image_id,
        width=64,
        height=48,
        image_feature_0=random.normal(size=(n, DIM)).astype(np.float16),
        bbox=random.random((n, 4)).astype(np.float32),
        class_id=np.array([NAMES.index(it) for it in classes], np.int32),
        attribute_id=np.array([-1 if it is None else ATTRIBUTES.index(it) for it in attributes], np.int32),
        confidence=random.random(n).astype(np.float32),
    )


def write(path: Path, images: list[Regions], names: list[str], attributes: list[str]) -> Path:
    with RegionStoreWriter(path, names, attributes, DIM) as writer:
        for image in images:
            class_id = [names.index(NAMES[it]) for it in image.class_id]
            attribute_id = [-1 if it < 0 else attributes.index(ATTRIBUTES[it]) for it in image.attribute_id]
            numbers = {"class_id": np.array(class_id, np.int32), "attribute_id": np.array(attribute_id, np.int32)}
            writer.put(replace(image, **numbers))
    return path


# Of more regions than a checksum takes one by one (16 * 509 bytes), and none at all.
IMAGES = [
    make_image("a", ["dog", "car"], [None, "red"], 1),
    make_image("b", ["zebra"] * 2100, ["red"] * 2100, 2),
    make_image("c", ["zebra", "dog"], [None, "big"], 3),
    make_image("d", [], [], 4),
    make_image("e", ["bus"], [None], 5),
]


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Two stores with different lists of names."""
    return [
        write(tmp_path / "disk1" / "one", IMAGES[:2], ["car", "dog", "zebra"], ["red"]),
        write(tmp_path / "disk2" / "two", IMAGES[2:], ["zebra", "bus", "dog"], ["big"]),
    ]


def join(stores: list[Path], out: Path) -> Path:
    import_command([f"regions=[{','.join(map(str, stores))}]", f"out={out}", "num_workers=1"])
    return out


def assert_same(found: RegionStore, expected: RegionStore) -> None:
    assert found.content == expected.content
    assert (len(found), found.num_regions, found.feature_dim) == (len(expected), expected.num_regions, DIM)
    assert (found.object_names, found.attribute_names) == (expected.object_names, expected.attribute_names)
    assert found.ids == expected.ids
    assert [it.to_pydict() for it in found.blocks()] == [it.to_pydict() for it in expected.blocks()]
    for image_id in expected.ids:
        for name, value in vars(expected.get(image_id)).items():
            np.testing.assert_array_equal(vars(found.get(image_id))[name], value)


def test_stores_with_other_names_are_one_store(stores: list[Path], tmp_path: Path) -> None:
    whole = RegionStore(write(tmp_path / "whole", IMAGES, NAMES, ATTRIBUTES))
    joined = join(stores, tmp_path / "joined")
    assert {path.name for path in joined.iterdir()} == {
        "store.json", "stores.txt", "index.arrow", "tags.arrow", "manifest.json",
    }  # fmt: skip
    assert_same(RegionStore(joined), whole)
    assert_same(pickle.loads(pickle.dumps(RegionStore(joined))), whole)
    assert "x" not in RegionStore(joined)
    # The numbers are other ones than in the stores.
    assert RegionStore(stores[1]).get("c").class_id.tolist() == [0, 2]
    assert RegionStore(joined).get("c").class_id.tolist() == [3, 2]


def test_joined_stores_are_joined_again(stores: list[Path], tmp_path: Path) -> None:
    whole = RegionStore(write(tmp_path / "whole", IMAGES[2:] + IMAGES[:2], NAMES, ATTRIBUTES))
    one = join(stores[1:], tmp_path / "one")
    both = join([one, stores[0]], tmp_path / "both")
    assert (both / STORES_FILE).read_text().split() == [str(stores[1]), str(stores[0])]
    assert_same(RegionStore(both), whole)
    shutil.rmtree(one)
    assert_same(RegionStore(both), whole)


def test_whoever_reads_a_store_reads_a_joined_one(stores: list[Path], tmp_path: Path) -> None:
    save_thumbnails(stores[1] / "thumbnails-000000.arrow", [b"picture c", b"picture d", b"picture e"])
    joined = join(stores, tmp_path / "joined")
    assert [RegionStore(joined).thumbnail(image_id) for image_id in "adx"] == [None, b"picture d", None]
    images = open_images(joined, DIM)
    assert images.feature_dim == DIM
    assert images.get("e.npy").class_id.tolist() == [0]
    named = StoredImages(joined, DIM)
    assert list(named) == ["a", "b", "c", "d", "e"]
    assert named["c"].tags == ["zebra", "big dog"]


def test_how_regions_were_detected_is_known_of_a_joined_store(stores: list[Path], tmp_path: Path) -> None:
    Artifact(stores[1], name="regions", parameters={"detector": "some/detector"}).seal({"skipped": 3}, 0.0)
    joined = join(stores, tmp_path / "joined")
    assert detection_of({"features": {"train": str(joined)}}) == {"detector": "some/detector"}
    # What the stores have counted is counted.
    assert (read_manifest(joined) or {})["counts"] == {"skipped": 3, "images": 5, "regions": 2105}


def test_a_store_that_has_moved_is_named_with_the_remedy(stores: list[Path], tmp_path: Path) -> None:
    joined = join(stores, tmp_path / "joined")
    moved = stores[0].rename(tmp_path / "elsewhere")
    with pytest.raises(InputError) as caught:
        RegionStore(joined)
    message = str(caught.value)
    assert str(stores[0]) in message
    assert "no such folder" in message
    assert f"write into {joined / STORES_FILE} where it is" in message
    # Relative to the folder of the list.
    (joined / STORES_FILE).write_text(f"../{moved.name}\n\n{stores[1]}\n")
    assert RegionStore(joined).get("a").class_id.tolist() == [2, 1]
    (joined / STORES_FILE).write_text(f"{stores[1]}\n{moved}\n")
    with pytest.raises(InputError, match="is another region store than the one that was joined"):
        RegionStore(joined)
    (joined / STORES_FILE).write_text(f"{moved}\n")
    with pytest.raises(InputError, match="has 1 lines, and 2 stores were joined"):
        RegionStore(joined)
    (joined / STORES_FILE).unlink()
    with pytest.raises(InputError, match=r"stores\.txt: is missing"):
        RegionStore(joined)


def test_joining_is_done_once(stores: list[Path], tmp_path: Path) -> None:
    joined = join(stores, tmp_path / "joined")
    written = (joined / INDEX_FILE).stat().st_ino
    join(stores, joined)
    assert (joined / INDEX_FILE).stat().st_ino == written
    join(stores[::-1], joined)
    assert RegionStore(joined).ids == ["c", "d", "e", "a", "b"]


def test_damage_is_found_where_it_is(stores: list[Path], tmp_path: Path) -> None:
    joined = RegionStore(join(stores, tmp_path / "joined"))
    (shard,) = stores[1].glob("regions-*")
    content = bytearray(shard.read_bytes())
    content[content.index(IMAGES[2].image_feature_0.tobytes())] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=str(shard)):
        joined.get("c")
    assert len(joined.get("a")) == 2


@pytest.mark.parametrize("case", ["twice", "size", "mixed", "absent", "options", "feature_dim"])
def test_what_cannot_be_joined(case: str, stores: list[Path], tmp_path: Path) -> None:
    options = []
    if case == "twice":
        stores.append(write(tmp_path / "third", [IMAGES[4], IMAGES[0]], NAMES, ATTRIBUTES))
        expected = f"{stores[2]}: image e is in {stores[1]} as well, and 1 more are in two stores"
    elif case == "size":
        with RegionStoreWriter(tmp_path / "third", NAMES, ATTRIBUTES, 2):
            stores.append(tmp_path / "third")
        expected = f"{stores[2]}: has features of 2 numbers, and {stores[0]} has 6"
    elif case == "mixed":
        (tmp_path / "third").mkdir()
        stores.append(tmp_path / "third")
        expected = f"{stores[0]}: is a region store already, and {stores[2]} is none"
    elif case == "absent":
        stores.append(tmp_path / "third")
        expected = f"{stores[2]}: no such folder"
    elif case == "options":
        options = ["region_options.max_regions=10"]
        expected = f"{stores[0]}: is a region store already, in which region_options change nothing"
    else:
        options = ["region_options.feature_dim=7"]
        expected = f"{stores[0]}: has features of 6 numbers, whereas region_options.feature_dim=7"
    with pytest.raises(InputError) as caught:
        import_command([f"regions=[{','.join(map(str, stores))}]", f"out={tmp_path / 'out'}", *options])
    assert str(caught.value).startswith(expected)
    assert not (tmp_path / "out").exists()


def test_many_images_are_found_in_a_table_of_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    from mmf_muvla.regions.regions import image_digests

    monkeypatch.setattr(places, "_ROWS_AT_ONCE", 300)
    ids = [str(number) for number in range(1000)] + ["17", "999", "998"]

    def rows(start: int, end: int) -> Any:
        numbers = np.arange(start, end)
        columns = [image_digests(ids[start:end]), ids[start:end], numbers // 100, *[numbers % 100] * 3, numbers]
        arrays = [pa.array(it, field.type) for it, field in zip(columns, PLACES_SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=PLACES_SCHEMA)

    repeated = places.write_places(tmp_path / "many.arrow", (rows(at, min(at + 7, 1003)) for at in range(0, 1003, 7)))
    assert [tuple(it) for it in repeated] == [(10, 0, "17"), (10, 1, "999"), (10, 2, "998")]
    assert [path.name for path in tmp_path.iterdir()] == ["many.arrow"]
    many = Places(tmp_path / "many.arrow")
    assert len(many.batches) == 256
    for number in range(1000):
        assert many.find(str(number)) == (number // 100, *[number % 100] * 3, number)
    assert many.find("1000") is None
    digests = np.concatenate([it.to_numpy() for it in (batch.column("digest") for batch in many.batches)])
    assert (digests[1:] > digests[:-1]).all()
    # Few have a single batch, with the same rows.
    monkeypatch.setattr(places, "_ROWS_AT_ONCE", 2000)
    assert places.write_places(tmp_path / "few.arrow", [rows(0, 1003)]) == repeated
    assert len(MappedTable(tmp_path / "few.arrow").batches) == 1
    few, one = (pa.Table.from_batches(Places(tmp_path / it).batches) for it in ("few.arrow", "many.arrow"))
    assert few.equals(one)
