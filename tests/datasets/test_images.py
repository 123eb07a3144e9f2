"""Region features by key: three formats that give the same, and what becomes of damage."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.datasets.images import ImageSource, open_images
from mmf_muvla.errors import InputError
from mmf_muvla.regions.store import Regions, RegionStoreWriter
from tests.regions.mmf_files import (
    FEATURE_DIM,
    MmfImage,
    info_file,
    set_npy_header,
    write_lmdb,
    write_mmf_folder,
    write_mmf_lmdb,
)

IDS = ("7", "val/12", "val/COCO_a.b")


def images() -> list[MmfImage]:
    return [MmfImage(image_id) for image_id in IDS]


def write_store(path: Path) -> Path:
    with RegionStoreWriter(path, ["thing"], [], FEATURE_DIM) as store:
        for image in images():
            store.put(
                Regions(
                    image_id=image.image_id,
                    width=640,
                    height=480,
                    image_feature_0=image.features[:3].astype(np.float16),
                    bbox=image.info["bbox"][:3],
                    class_id=np.zeros(3, np.int32),
                    attribute_id=np.full(3, -1, np.int32),
                    confidence=np.ones(3, np.float32),
                )
            )
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "store": write_store,
    "folder": lambda path: write_mmf_folder(path, images()),
    "lmdb": lambda path: write_mmf_lmdb(path, images()),
    "lmdb file": lambda path: write_mmf_lmdb(path, images(), subdir=False),
}


@pytest.fixture(params=list(WRITERS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / "images")


def check(source: ImageSource) -> None:
    """Three of the four rows are regions; see :class:`MmfImage`."""
    for image in images():
        found = source.get(image.image_id)
        assert (found.image_id, found.width, found.height) == (image.image_id, 640, 480)
        np.testing.assert_array_equal(found.image_feature_0, image.features[:3].astype(np.float16))
        np.testing.assert_array_equal(found.bbox, [[0, 0, 10, 20], [5, 5, 100.5, 80], [1, 2, 640, 480]])
        assert (found.image_feature_0.dtype, found.bbox.dtype) == (np.float16, np.float32)


def test_all_formats_give_the_same(path: Path) -> None:
    source = open_images(path)
    assert (source.path, source.feature_dim) == (path, FEATURE_DIM)
    check(source)
    check(pickle.loads(pickle.dumps(source)))


def test_a_file_may_be_open_several_times(path: Path) -> None:
    first = open_images(path)
    first.get("7")
    second = open_images(str(path))
    check(second)
    check(first)


def test_keys(path: Path) -> None:
    source = open_images(path)
    assert "7" in source and "7.npy" in source and "val/12.npy" in source
    assert source.get("val/12.npy").image_id == "val/12"
    for absent in ("8", "12", "", "keys", "__meta__", "val", "../images/7", str(path / "7"), "7\0", "a\nb", "\udc80"):
        assert absent not in source
        with pytest.raises(InputError, match="has no image"):
            source.get(absent)


def test_an_lmdb_may_know_images_by_number(tmp_path: Path) -> None:
    source = open_images(write_mmf_lmdb(tmp_path / "images.lmdb", [MmfImage("9"), MmfImage("COCO_8"), MmfImage("8")]))
    nine, eight, coco_eight = (source.get(key) for key in ("COCO_train2014_000000000009.npy", "000008", "COCO_8"))
    np.testing.assert_array_equal(nine.image_feature_0, MmfImage("9").features[:3].astype(np.float16))
    np.testing.assert_array_equal(eight.image_feature_0, MmfImage("8").features[:3].astype(np.float16))
    np.testing.assert_array_equal(coco_eight.image_feature_0, MmfImage("COCO_8").features[:3].astype(np.float16))
    assert nine.image_id == "COCO_train2014_000000000009"
    assert "COCO_train2014_000000000007" not in source and "COCO_train2014_9x" not in source


def read_in_child(source: ImageSource, results: Any) -> None:
    check(source)
    results.put(source.get("7").image_feature_0.tolist())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_what_was_opened_here(path: Path, method: str) -> None:
    source = open_images(path)
    check(source)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=read_in_child, args=(source, results))
    child.start()
    assert results.get(timeout=60) == source.get("7").image_feature_0.tolist()
    child.join()
    assert child.exitcode == 0


def test_feature_dim_can_be_demanded(path: Path) -> None:
    assert open_images(path, FEATURE_DIM).feature_dim == FEATURE_DIM


def test_another_feature_dim_is_refused(tmp_path: Path) -> None:
    folder = write_mmf_folder(tmp_path / "mmf", images())
    for path in (write_store(tmp_path / "store"), folder, write_mmf_lmdb(tmp_path / "lmdb", images())):
        with pytest.raises(
            InputError, match=r"has features of 8 numbers, whereas model_config\.muvla\.trunk\.feature_dim=9"
        ) as error:
            open_images(path, 9)
        assert "Set model_config.muvla.trunk.feature_dim=8" in error.value.remedy
    write_mmf_folder(folder, [MmfImage("other", features=np.ones((4, 9), np.float32))])
    with pytest.raises(InputError, match="features have another shape"):
        open_images(folder, FEATURE_DIM).get("other")


def test_what_the_script_for_vinvl_writes(tmp_path: Path) -> None:
    boxes = np.array([[0.5, 0.25, 1, 1, 0.5, 0.75], [0, 0, 0.1, 0.1, 0.1, 0.1]], np.float32)
    image = MmfImage("a", features=np.concatenate([np.ones((2, FEATURE_DIM), np.float32), boxes], axis=1))
    image.info = {"bbox": boxes, "image_width": 640, "image_height": 480}
    source = open_images(write_mmf_folder(tmp_path / "mmf", [image]))
    assert source.feature_dim == FEATURE_DIM
    found = source.get("a")
    assert found.image_feature_0.tolist() == [[1.0] * FEATURE_DIM] * 2
    np.testing.assert_allclose(found.bbox, [[320, 120, 640, 480], [0, 0, 64, 48]], rtol=1e-6)


def test_neither_classes_nor_confidences_are_needed_and_all_regions_are_given(tmp_path: Path) -> None:
    many = np.tile(np.array([[0, 0, 10, 20]], np.float32), (150, 1))
    image = MmfImage("a", features=np.arange(150 * FEATURE_DIM, dtype=np.float32).reshape(150, FEATURE_DIM))
    image.info = {"bbox": many, "image_width": 640, "image_height": 480}
    found = open_images(write_mmf_folder(tmp_path / "mmf", [image])).get("a")
    assert found.image_feature_0[:, 0].tolist() == list(range(0, 150 * FEATURE_DIM, FEATURE_DIM))


def test_a_damaged_first_image_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = write_mmf_folder(tmp_path / "mmf", images())
    for image_id in IDS[1:]:
        info_file(folder, image_id).unlink()
    assert open_images(folder).feature_dim == FEATURE_DIM


# --- damage


class Call:
    """A pickle that calls something."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


NAN = np.full((4, FEATURE_DIM), 0.5, np.float32)
NAN[1, 2] = np.nan
BOXES = MmfImage("7").info["bbox"]
OUTSIDE = np.where([[False], [True], [False], [False]], [5, 5, 700, 80], BOXES).astype(np.float32)
NAN_BOX = np.where([[False], [True], [False], [False]], [np.nan, 5, 7, 80], BOXES).astype(np.float32)
FLAT = np.where([[False], [False], [True], [False]], [5, 5, 5, 80], BOXES).astype(np.float32)

DAMAGED_IMAGES: dict[str, tuple[MmfImage, str]] = {
    "NaN": (MmfImage("7", features=NAN), "not a finite number: nan at region 1, number 2"),
    "too large": (
        MmfImage("7", features=np.full((4, FEATURE_DIM), 1e5, np.float32)),
        "does not fit into 16 bits: 100000.0 at region 0, number 0",
    ),
    "outside": (MmfImage("7", info={"bbox": OUTSIDE}), r"box outside the image: region 1: \[5.0, 5.0, 700.0, 80.0\]"),
    "NaN box": (MmfImage("7", info={"bbox": NAN_BOX}), r"box is not finite: region 1: \[nan"),
    "flat": (MmfImage("7", info={"bbox": FLAT}), "box of no area: region 2"),
    "no size": (MmfImage("7", info={"image_width": None}), "image_width is not a size in pixels: None"),
    "no boxes": (MmfImage("7", info={"bbox": None}), "there is no bbox"),
    "few features": (MmfImage("7", features=np.ones((2, FEATURE_DIM), np.float32)), "3 of 2 features, 4 boxes"),
    "no regions": (MmfImage("7", info={"num_boxes": 0}), "image without regions"),
    "integers": (MmfImage("7", features=np.ones((4, FEATURE_DIM), np.int64)), "int64"),
    "relative": (MmfImage("7", info={"bbox": BOXES / 640}), "boxes seem to be relative"),
    "detector's size": (
        MmfImage("7", info={"image_width": 1067, "image_height": 800, "cls_prob": np.full(4, 0.5)}),
        "image size seems to be the detector's.*: 1067 x 800",
    ),
}


@pytest.mark.parametrize("writer", [write_mmf_folder, write_mmf_lmdb])
@pytest.mark.parametrize("kind", list(DAMAGED_IMAGES))
def test_damaged_images(kind: str, writer: Callable[..., Path], tmp_path: Path) -> None:
    damaged, message = DAMAGED_IMAGES[kind]
    source = open_images(writer(tmp_path / "images", [damaged, MmfImage("good")]))
    with pytest.raises(InputError, match=message) as caught:
        source.get("7")
    assert str(tmp_path) in caught.value.where and "image 7" in caught.value.where
    assert "tools/import_regions.py" in caught.value.remedy
    assert len(source.get("good").bbox) == 3


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGED_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no information": (lambda folder: info_file(folder, "7").unlink(), "has no X_info.npy beside it"),
    "features cut": (lambda folder: _cut(folder / "7.npy"), "wrong number of bytes"),
    "header cut": (lambda folder: os.truncate(folder / "7.npy", 9), "features cannot be read"),
    "empty": (lambda folder: os.truncate(folder / "7.npy", 0), "features cannot be read"),
    "information cut": (lambda folder: _cut(info_file(folder, "7")), "information cannot be used"),
    "absurd size": (
        lambda folder: set_npy_header(folder / "7.npy", shape=(10**12, FEATURE_DIM)),
        "wrong number of bytes: 128 bytes of 32000000000000",
    ),
    "pickled features": (
        lambda folder: np.save(folder / "7.npy", np.array([{}, {}], object), allow_pickle=True),
        r"features are not numbers \[n, d\]",
    ),
    "another information": (
        lambda folder: np.save(info_file(folder, "7"), np.array([1, "a"], object), allow_pickle=True),
        "information is not a dictionary",
    ),
}


@pytest.mark.parametrize("kind", list(DAMAGED_FILES))
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    damage, message = DAMAGED_FILES[kind]
    folder = write_mmf_folder(tmp_path / "mmf", images())
    source = open_images(folder)
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        source.get("7")
    assert "image 7" in caught.value.where
    check_others(source)


def check_others(source: ImageSource) -> None:
    assert [len(source.get(image_id).bbox) for image_id in IDS[1:]] == [3, 3]


@pytest.mark.parametrize("in_lmdb", [False, True])
def test_pickles_that_would_run_code(in_lmdb: bool, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    call = Call(os.system, f"touch '{victim}'")
    if in_lmdb:
        records = {b"keys": pickle.dumps([b"7", b"good"]), b"7": pickle.dumps(call)}
        records[b"good"] = pickle.dumps(MmfImage("good").record())
        source = open_images(write_lmdb(tmp_path / "images.lmdb", records))
    else:
        folder = write_mmf_folder(tmp_path / "mmf", [MmfImage("7"), MmfImage("good")])
        np.save(info_file(folder, "7"), np.array(call, object), allow_pickle=True)
        source = open_images(folder)
    with pytest.raises(InputError, match=r"image 7\): .*system, which could run code"):
        source.get("7")
    assert len(source.get("good").bbox) == 3
    assert not victim.exists()


def test_damaged_records_of_an_lmdb(tmp_path: Path) -> None:
    good = pickle.dumps(MmfImage("good").record())
    records = {b"keys": pickle.dumps([b"1"]), b"cut": good[:-200], b"list": pickle.dumps([1, 2]), b"good": good}
    records[b"no features"] = pickle.dumps({**MmfImage("a").record(), "features": None})
    records[b"empty"] = b""
    source = open_images(write_lmdb(tmp_path / "images.lmdb", records))
    for key, message in {
        "cut": "record cannot be used",
        "list": "record is not a dictionary",
        "no features": "features is not an array",
        "empty": "record cannot be used",
    }.items():
        with pytest.raises(InputError, match=rf"data\.mdb \(image {key}\): {message}"):
            source.get(key)


def test_a_damaged_record_of_a_store(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store")
    shard = path / "regions-000000.safetensors"
    content = bytearray(shard.read_bytes())
    # Features are the only numbers of 16 bits, and come behind the others.
    content[content.rindex(images()[IDS.index("7")].features[:3].astype(np.float16).tobytes())] ^= 1
    shard.write_bytes(content)
    source = open_images(path)
    with pytest.raises(InputError, match=r"\(image 7\): is damaged.*Import the regions again"):
        source.get("7")
    check_others(source)


@pytest.mark.parametrize("name", ["nothing", "empty", "text", "tsv", "lmdb", "cut"])
def test_what_is_no_source(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no LMDB at all\n" * 1000)
    (tmp_path / "tsv").mkdir()
    (tmp_path / "tsv" / "features.tsv").write_text("1\t1\tAAAA\n")
    write_lmdb(tmp_path / "lmdb", {b"a": b"b"})
    write_mmf_lmdb(tmp_path / "cut", images())
    _cut(tmp_path / "cut" / "data.mdb")
    message = {
        "nothing": "no such file or folder. Check",
        "empty": "holds no image features. Give a region store, a folder of features of MMF",
        "text": "is a file that is no LMDB, and images are not found in it by their ids",
        "tsv": "holds no image features.*make a store of other formats with tools/import_regions.py",
        "lmdb": "neither a region store nor one that MMF's",
        "cut": "cannot be read as a region store or an LMDB of MMF features .*bytes of",
    }[name]
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / name)


def test_a_folder_of_damage_alone(tmp_path: Path) -> None:
    folder = write_mmf_folder(tmp_path / "mmf", [DAMAGED_IMAGES["NaN"][0]])
    with pytest.raises(InputError, match="not a finite number: nan at region 1"):
        open_images(folder)
