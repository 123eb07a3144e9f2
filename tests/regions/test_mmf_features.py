"""Detector output as MMF's scripts write it."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.commands import import_command
from mmf_muvla.regions import sources
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.index import store_files
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from tests.regions.mmf_files import (
    FEATURE_DIM,
    NAMES,
    MmfImage,
    write_labels,
    write_lmdb,
    write_mmf_folder,
    write_mmf_lmdb,
)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path)


def run(sources: list[Path], out: Path, labels: Path | None, num_workers: int = 1, **changes: Any) -> RegionStore:
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(labels) if labels else None, **changes)
    import_regions(sources, options, "error", 0, out / "store", LocalExecutor(num_workers))
    return RegionStore(out / "store")


def check(store: RegionStore, image: MmfImage) -> None:
    regions = store.get(image.image_id)
    assert (regions.width, regions.height) == (640, 480)
    np.testing.assert_array_equal(regions.image_feature_0, image.features[:3].astype(np.float16))
    np.testing.assert_array_equal(regions.bbox, image.info["bbox"][:3])
    assert [store.object_names[number] for number in regions.class_id] == ["tree", "dog", "car"]
    assert regions.attribute_id.tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(regions.confidence, image.info["cls_prob"][:3].max(axis=1))


def test_folders_inside_of_folders(tmp_path: Path, labels: Path) -> None:
    images = [MmfImage("b"), MmfImage("a"), MmfImage("val/2/x.y"), MmfImage("val/10")]
    store = run([write_mmf_folder(tmp_path / "mmf", images)], tmp_path, labels)
    assert store.ids == ["a", "b", "val/10", "val/2/x.y"]
    assert store.object_names == sorted(NAMES)
    for image in images:
        check(store, image)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("subdir", [True, False])
def test_lmdb(protocol: int, subdir: bool, tmp_path: Path, labels: Path) -> None:
    images = [MmfImage("b"), MmfImage("a/1")]
    store = run([write_mmf_lmdb(tmp_path / "mmf.lmdb", images, protocol, subdir)], tmp_path, labels)
    assert store.ids == ["b", "a/1"]
    for image in images:
        check(store, image)


def test_folder_and_lmdb_give_the_same_and_workers_make_no_difference(
    tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_IMAGES_PER_SHARD", 3)
    images = [MmfImage(f"{number:02d}") for number in range(10)]
    folder, database = write_mmf_folder(tmp_path / "mmf", images), write_mmf_lmdb(tmp_path / "mmf.lmdb", images)
    stores = [
        run([source], tmp_path / str(number), labels, num_workers)
        for number, (source, num_workers) in enumerate([(folder, 1), (folder, 2), (database, 1), (database, 2)])
    ]
    contents = [{path.name: path.read_bytes() for path in store_files(store.path)} for store in stores]
    assert all(content == contents[0] for content in contents)


def test_all_kinds_of_sources_together(tmp_path: Path, labels: Path, vinvl: Any, fake_image: Any) -> None:
    sources = [
        vinvl([fake_image("v", names=["dog", "zebra"])]),
        write_mmf_folder(tmp_path / "mmf", [MmfImage("f")]),
        write_mmf_lmdb(tmp_path / "mmf.lmdb", [MmfImage("l")]),
    ]
    store = run(sources, tmp_path, labels)
    assert store.ids == ["v", "f", "l"]
    assert store.object_names == ["car", "dog", "red bird", "tree", "zebra"]
    check(store, MmfImage("f"))


def test_numbers_of_vinvl_predictions_can_have_names(tmp_path: Path, labels: Path, vinvl: Any, fake_image: Any) -> None:
    store = run([vinvl([fake_image("v", names=[1, "zebra"])])], tmp_path, labels, rename={"car": "auto"})
    assert store.object_names == ["auto", "zebra"]


def test_names_can_be_moved_and_changed(tmp_path: Path, labels: Path) -> None:
    image = MmfImage("a", info={"objects": np.array([3, 1, 2, 0])})
    folder = write_mmf_folder(tmp_path / "mmf", [image])
    store = run([folder], tmp_path, labels, label_offset=-1, rename={"dog": "hound"})
    assert [store.object_names[number] for number in store.get("a").class_id] == ["tree", "hound", "car"]


def test_what_the_script_for_vinvl_writes(tmp_path: Path) -> None:
    boxes = np.array([[0.5, 0.25, 1, 1, 0.5, 0.75], [0, 0, 0.1, 0.1, 0.1, 0.1]], np.float32)
    image = MmfImage("a", features=np.concatenate([np.ones((2, FEATURE_DIM), np.float32), boxes], axis=1))
    image.info = {
        "bbox": boxes,
        "labels": np.array([1, 4]),
        "scores": np.array([0.75, 0.5], np.float32),
        "attr_labels": np.array([[7, 3, 0], [0, 0, 0]]),
        "attr_scores": np.zeros((2, 3), np.float32),
        "box_features": np.ones((2, FEATURE_DIM), np.float32),
        "image_width": 640,
        "image_height": 480,
    }
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"idx_to_label": {"1": "dog", "4": "car"}, "idx_to_attribute": {"7": "red"}}))
    store = run([write_mmf_folder(tmp_path / "mmf", [image])], tmp_path, labels)
    regions = store.get("a")
    np.testing.assert_allclose(regions.bbox, [[320, 120, 640, 480], [0, 0, 64, 48]], rtol=1e-6)
    assert regions.image_feature_0.shape == (2, FEATURE_DIM)
    assert regions.confidence.tolist() == [0.75, 0.5]
    assert regions.tags(store.object_names, store.attribute_names) == ["red dog", "car"]
    # Boxes that are relative are known as such without the features' own as well.
    image.features = image.features[:, :FEATURE_DIM]
    store = run([write_mmf_folder(tmp_path / "mmf2", [image])], tmp_path / "2", labels)
    np.testing.assert_allclose(store.get("a").bbox[0], [320, 120, 640, 480], rtol=1e-6)


def test_what_the_script_for_faster_rcnn_writes(tmp_path: Path, labels: Path) -> None:
    # It notes as num_boxes how many were asked for, cuts all but the features to them, and gives one probability each.
    few = MmfImage("few", info={"num_boxes": 100, "cls_prob": np.array([0.9, 0.8, 0.7, 0.6], np.float32)})
    few.info["bbox"][3] = [0, 0, 5, 5]
    many = MmfImage("many", info={"num_boxes": 2, "cls_prob": np.array([0.9, 0.8], np.float32)})
    many.info |= {"bbox": many.info["bbox"][:2], "objects": many.info["objects"][:2]}
    store = run([write_mmf_folder(tmp_path / "mmf", [few, many])], tmp_path, labels)
    assert store.get("few").confidence.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert len(store.get("many")) == 2


def test_sizes_as_the_script_for_faster_rcnn_notes_them(tmp_path: Path, labels: Path) -> None:
    image = MmfImage("a", info={"cls_prob": np.full(4, 0.5), "image_width": 1067, "image_height": 800})
    folder = write_mmf_folder(tmp_path / "mmf", [image])
    with pytest.raises(
        InputError, match=r"image size seems to be the detector's, .*: 1067 x 800\. .*rect_scale=original"
    ):
        run([folder], tmp_path, labels)
    assert run([folder], tmp_path, labels, rect_scale="original").get("a").width == 1067


def test_other_names_and_types_of_the_same(tmp_path: Path, labels: Path) -> None:
    plain = MmfImage("a")
    other = MmfImage("b", features=plain.features.astype(np.float64))
    other.info = {
        "boxes": plain.info["bbox"].astype(">f8"),
        "objects": [2.0, 0, 1, 0],
        "conf": plain.info["cls_prob"].max(axis=1),
        "num_boxes": np.array(3),
        "image_w": np.int64(640),
        "image_h": 480.0,
    }
    fortran = MmfImage("c", features=np.asfortranarray(plain.features))
    fortran.info = plain.info
    store = run([write_mmf_folder(tmp_path / "mmf", [plain, other, fortran])], tmp_path, labels)
    records = [store.get(image_id) for image_id in ("a", "b", "c")]
    for record in records[1:]:
        for name in ("image_feature_0", "bbox", "class_id", "confidence"):
            np.testing.assert_array_equal(getattr(record, name), getattr(records[0], name))


@pytest.mark.parametrize("given", [None, np.zeros((4, 9), np.float64)])
def test_confidence_is_one_where_there_is_none(given: Any, tmp_path: Path, labels: Path) -> None:
    image = MmfImage("a", info={"cls_prob": given})
    assert run([write_mmf_folder(tmp_path / "mmf", [image])], tmp_path, labels).get("a").confidence.tolist() == [1] * 3


def test_most_confident_regions_are_kept(tmp_path: Path, labels: Path) -> None:
    image = MmfImage("a", info={"cls_prob": None, "scores": np.array([0.5, 0.25, 0.75, 1.0])})
    store = run([write_mmf_folder(tmp_path / "mmf", [image])], tmp_path, labels, max_regions=2)
    assert store.get("a").confidence.tolist() == [0.5, 0.75]


def test_changes_of_a_folder_are_noticed(tmp_path: Path, labels: Path) -> None:
    folder = write_mmf_folder(tmp_path / "mmf", [MmfImage("a")])
    assert run([folder], tmp_path, labels).ids == ["a"]
    write_mmf_folder(folder, [MmfImage("b")])
    assert run([folder], tmp_path, labels).ids == ["a", "b"]


def test_the_command(tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_mmf_folder(tmp_path / "mmf", [MmfImage("a"), MmfImage("b", info={"num_boxes": 9})])
    import_command(
        [f"regions={folder}", f"out={tmp_path / 'out' / 'store'}", f"region_options.label_map={labels}",
         f"region_options.feature_dim={FEATURE_DIM}", "max_skipped_fraction=0.5", "num_workers=1"]
    )  # fmt: skip
    assert "images 1, regions 3, skipped 1" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["store"]


# --- what does not stop an import


def write_kind(kind: str, path: Path, images: list[MmfImage]) -> Path:
    return (write_mmf_folder if kind == "folder" else write_mmf_lmdb)(path, images)


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
def test_boxes_are_clipped_and_regions_of_no_area_dropped(kind: str, tmp_path: Path, labels: Path) -> None:
    images = [MmfImage("out"), MmfImage("flat"), MmfImage("relative")]
    images[0].info["bbox"][:3] = [[-6, 0, 10, 20], [5, 5, 100.5, 484], [1, -3, 650, 490]]
    images[1].info["bbox"][1] = [7, 8, 7, 20]
    relative = np.array([[0, 0, 0.5, 1.01], [0.2, 0.3, 0.2, 0.6], [-0.02, 0.1, 0.3, 1]], np.float32)
    images[2].info |= {"bbox": np.concatenate([relative, relative[:, 2:] - relative[:, :2]], axis=1), "cls_prob": None}
    images[2].features, images[2].info["objects"] = images[2].features[:3], np.array([0, 1, 2])
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(labels))
    source = write_kind(kind, tmp_path / "mmf", images)
    counts = import_regions([source], options, "error", 0, tmp_path / "store")
    assert (counts["boxes_clipped"], counts["regions_without_area"], counts["skipped"]) == (5, 2, 0)
    store = RegionStore(tmp_path / "store")
    assert store.get("out").bbox.tolist() == [[0, 0, 10, 20], [5, 5, 100.5, 480], [1, 0, 640, 480]]
    assert store.get("flat").bbox.tolist() == [[0, 0, 10, 20], [1, 2, 640, 480]]
    np.testing.assert_array_equal(store.get("flat").image_feature_0, images[1].features[[0, 2]].astype(np.float16))
    np.testing.assert_allclose(store.get("relative").bbox, [[0, 0, 320, 480], [0, 48, 192, 480]], atol=1e-3)


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
def test_images_without_regions_are_counted_apart(kind: str, tmp_path: Path, labels: Path) -> None:
    empty = {"bbox": [], "objects": [], "cls_prob": [], "num_boxes": 0}
    images = [
        MmfImage("good"),
        MmfImage("zero", info={"num_boxes": 0}),
        MmfImage("nothing", features=np.zeros((0, FEATURE_DIM), np.float32), info=empty),
        MmfImage("not counted", features=np.zeros((0, FEATURE_DIM), np.float32), info={**empty, "num_boxes": None}),
        MmfImage("flat", info={"bbox": np.zeros((4, 4), np.float32)}),
    ]
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(labels))
    source = write_kind(kind, tmp_path / "mmf", images)
    counts = import_regions([source], options, "error", 0, tmp_path / "store")
    assert (counts["images"], counts["skipped"], counts["images_without_regions"]) == (1, 0, 4)
    listed = [json.loads(line) for line in (tmp_path / "store" / "skipped.jsonl").read_text().splitlines()]
    assert {entry["reason"] for entry in listed} == {"image without regions"}
    assert {entry["id"]: entry["value"] for entry in listed} == {
        "zero": "0 regions",
        "nothing": "0 regions",
        "not counted": "0 regions",
        "flat": "none of its 3 boxes has an area",
    }


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
@pytest.mark.parametrize("wanted", [2048, 9, 3])
def test_another_feature_size_is_one_message(kind: str, wanted: int, tmp_path: Path, labels: Path) -> None:
    images = [MmfImage("broken", features=np.ones(3)), *(MmfImage(str(number)) for number in range(40))]
    options = RegionOptions(feature_dim=wanted, label_map=str(labels))
    source = write_kind(kind, tmp_path / "mmf", images)
    with pytest.raises(InputError) as error:
        import_regions([source], options, "skip", 1.0, tmp_path / "store")
    assert error.value.where == str(source)
    assert f"has rows of 8 numbers, whereas region_options.feature_dim={wanted}" in error.value.problem
    assert "Set region_options.feature_dim=8" in error.value.remedy


# --- what is no source


def test_a_label_map_is_needed(tmp_path: Path) -> None:
    for source in (write_mmf_folder(tmp_path / "f", [MmfImage("a")]), write_mmf_lmdb(tmp_path / "l", [MmfImage("a")])):
        with pytest.raises(InputError, match=r"Say with region_options.label_map") as error:
            run([source], tmp_path, None)
        assert error.value.where == str(source)


def test_other_things_are_named(tmp_path: Path, labels: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.jpg").write_bytes(b"")
    file = tmp_path / "features.zip"
    file.write_bytes(b"PK\x03\x04 something")
    # A copy, for the store itself is open.
    read = run([write_mmf_folder(tmp_path / "f", [MmfImage("a")])], tmp_path, labels)
    store = Path(shutil.copytree(read.path, tmp_path / "copy"))
    other = write_lmdb(tmp_path / "other", {b"a": b"b"})
    for source, message in (
        (folder, "holds no detector output that is understood (it has 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg)"),
        (file, "is compressed (zip)"),
        (tmp_path / "absent", "no such folder"),
        (store, "is a region store already"),
        (other, "has no list of images under 'keys'"),
    ):
        with pytest.raises(InputError) as error:
            run([source], tmp_path / "out", labels)
        assert error.value.where == str(source)
        assert message in error.value.problem
        assert error.value.remedy
