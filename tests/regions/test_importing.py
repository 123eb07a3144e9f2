from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.errors import InputError
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import TAGS_SCHEMA, Regions, RegionStore

FEATURE_DIM = 8


def options(**changes: Any) -> RegionOptions:
    return RegionOptions(feature_dim=FEATURE_DIM, **changes)


def run(
    sources: list[Path], out: Path, policy: str = "skip", fraction: float = 1.0, num_workers: int = 1, **changes: Any
) -> dict[str, int]:
    """Import into ``out / "store"``."""
    return import_regions(sources, options(**changes), policy, fraction, out / "store", LocalExecutor(num_workers))


def beside(folder: Path) -> Path:
    """Where a store goes: not into what it is made of."""
    return folder.with_name(f"{folder.name}-out")


def import_one(folder: Path, policy: str = "skip", **changes: Any) -> Regions:
    run([folder], beside(folder), policy, **changes)
    store = RegionStore(beside(folder) / "store")
    return store.get(store.ids[0])


def replace_line(file: Path, line: int, change: Callable[[str], str]) -> None:
    lines = file.read_text().splitlines(keepends=True)
    lines[line - 1] = change(lines[line - 1])
    file.write_text("".join(lines))


def set_features(line: str, matrix: np.ndarray) -> str:
    image_id, _, _ = line.split("\t")
    return f"{image_id}\t{len(matrix)}\t{base64.b64encode(matrix.astype('<f4').tobytes()).decode()}\n"


def change_prediction(line: str, change: Callable[[dict[str, Any]], Any]) -> str:
    image_id, text = line.split("\t")
    content = json.loads(text)
    change(content)
    return f"{image_id}\t{json.dumps(content)}\n"


# --- what is good


def test_everything_arrives(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    image = fake_image("17", attributes=[["brown", "furry"], None])
    folder = vinvl([image, fake_image("18", names=["zebra", "apple"])])
    counts = run([folder], tmp_path)

    assert counts == {
        "images": 2, "regions": 4, "skipped": 0, "images_without_regions": 0,
        "boxes_mended": 0, "boxes_clipped": 0, "regions_without_area": 0, "regions_dropped": 0,
    }  # fmt: skip
    store = RegionStore(tmp_path / "store")
    assert store.ids == ["17", "18"]
    assert store.object_names == ["apple", "car", "dog", "zebra"]
    assert store.attribute_names == ["brown"]
    regions = store.get("17")
    assert (regions.width, regions.height) == (640, 480)
    np.testing.assert_array_equal(regions.image_feature_0, image.matrix()[:, :FEATURE_DIM].astype(np.float16))
    np.testing.assert_allclose(regions.bbox, image.boxes, atol=1e-3)
    assert regions.class_id.tolist() == [2, 1]
    assert regions.attribute_id.tolist() == [0, -1]
    np.testing.assert_allclose(regions.confidence, [0.9, 0.8], rtol=1e-6)
    assert regions.tags(store.object_names, store.attribute_names) == ["brown dog", "car"]

    (block,) = store.blocks()
    assert store.num_blocks == 1
    assert block.schema == TAGS_SCHEMA
    assert block.column("image_id").to_pylist() == ["17", "18"]
    assert block.column("class_id").to_pylist() == [[2, 1], [3, 0]]
    assert block.column("attribute_id").to_pylist() == [[0, -1], [-1, -1]]
    np.testing.assert_allclose(block.column("confidence").to_pylist(), [[0.9, 0.8], [0.9, 0.8]], rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "vinvl"]
    shards, tables = ["regions-000000.safetensors"], ["index.arrow", "tags.arrow"]
    names = sorted([*shards, *tables, "manifest.json", "skipped.jsonl", "store.json"])
    assert sorted(path.name for path in store.path.iterdir()) == names


def test_predictions_may_be_in_another_order(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("1"), fake_image("2", width=500), fake_image("3")])
    predictions = folder / "predictions.tsv"
    predictions.write_text("".join(reversed(predictions.read_text().splitlines(keepends=True))))
    # The images are of different sizes, so that a mix-up would show.
    images = [fake_image("1", width=700), fake_image("2", width=800), fake_image("3", width=900)]
    folder = vinvl(images)
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join(reversed(lines)))
    run([folder], tmp_path, "error")
    store = RegionStore(tmp_path / "store")
    assert [store.get(image_id).width for image_id in store.ids] == [700, 800, 900]


def test_several_folders(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folders = [vinvl([fake_image("1")], "a"), vinvl([fake_image("2", names=["ant", "car"])], "b")]
    run(folders, tmp_path, "error")
    store = RegionStore(tmp_path / "store")
    assert store.ids == ["1", "2"]
    assert store.object_names == ["ant", "car", "dog"]


def test_most_confident_regions_are_kept_in_their_order(vinvl: Any, fake_image: Any) -> None:
    image = fake_image(
        "1",
        boxes=[[0, 0, 10.0 * n, 10.0 * n] for n in range(1, 6)],
        names=list("abcde"),
        confidence=[0.2, 0.9, 0.5, 0.5, 0.7],
    )
    regions = import_one(vinvl([image]), max_regions=3)
    # 0.9, 0.7 and the first of the two with 0.5.
    np.testing.assert_allclose(regions.confidence, [0.9, 0.5, 0.7], rtol=1e-6)
    assert regions.bbox[:, 2].tolist() == [20, 30, 50]


def test_classes_can_be_renamed(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("1", names=["tvmonitor", "car"])])
    run([folder], tmp_path, rename={"tvmonitor": "tv monitor"})
    assert RegionStore(tmp_path / "store").object_names == ["car", "tv monitor"]


# --- boxes


@pytest.mark.parametrize("size", [(640, 480), (500, 375), (375, 500), (1280, 400)])
def test_rect_in_the_detectors_scale_is_mended(vinvl: Any, fake_image: Any, size: tuple[int, int]) -> None:
    width, height = size
    scale = min(800 / min(size), 1333 / max(size))
    boxes = [[10.0, 20.0, 110.0, 220.0], [50.0, 30.0, float(width), float(height)]]
    # With a box of its own in each row, the box counts, of one image as of many; see test_rect_scale.py for the others.
    for relative in (True, False):
        numbers = range(1, 2 if relative else 31)
        images = [
            fake_image(str(n), width=width, height=height, boxes=boxes, rect_scale=scale, relative=relative)
            for n in numbers
        ]
        folder = vinvl(images, f"relative_{relative}")
        counts = run([folder], beside(folder), "error")
        assert counts["boxes_mended"] == len(images)
        np.testing.assert_allclose(RegionStore(beside(folder) / "store").get("1").bbox, boxes, atol=1e-3)


def test_rounding_of_the_detectors_image_is_no_mismatch(vinvl: Any, fake_image: Any) -> None:
    # 427 x 640 becomes 800 x 1199, not 1199.06: the axes have different factors.
    image = fake_image("1", width=427, height=640, boxes=[[5, 5, 427, 640], [1, 600, 50, 640]])
    folder = vinvl([image])
    factors = [800 / 427, 1199 / 640] * 2

    def resize(content: dict[str, Any]) -> None:
        for entry in content["objects"]:
            entry["rect"] = [round(side * factor) for side, factor in zip(entry["rect"], factors, strict=True)]

    replace_line(folder / "predictions.tsv", 1, lambda line: change_prediction(line, resize))
    np.testing.assert_allclose(import_one(folder, "error").bbox, image.boxes, atol=1e-3)


def test_rect_scale_can_be_prescribed(vinvl: Any, fake_image: Any) -> None:
    # The image is larger than what the detectors saw, so that rect fits into it either way, and ends at no edge.
    image = fake_image("1", width=2000, height=1600, boxes=[[100, 100, 400, 500]], names=["dog"], confidence=[0.9])
    image.relative = False
    folder = vinvl([image])
    assert import_one(folder, "error").bbox.tolist() == [[100, 100, 400, 500]]
    assert import_one(folder, "error", rect_scale="detector").bbox.tolist() == [[200, 200, 800, 1000]]
    # At the edge of a smaller detector's image, and of no other: that is not to be guessed.
    image.boxes[0][3] = 600
    folder = vinvl([image], "edge")
    with pytest.raises(InputError, match="it cannot be known whether 'rect'"):
        import_one(folder, "error")
    assert import_one(folder, "error", rect_scale="original").bbox.tolist() == [[100, 100, 400, 600]]
    assert import_one(folder, "error", rect_scale="detector").bbox.tolist() == [[200, 200, 800, 1200]]


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize(
    "boxes",
    [
        [[-0.5, 10, 30, 40], [600, 400, 640.9, 480.5]],
        [[-8, -6, 30, 40], [600, 400, 648, 488]],
        [[-20, 10, 30, 40], [600, 400, 640, 485]],
    ],
)
def test_boxes_out_by_some_pixels_are_clipped_and_counted(
    vinvl: Any, fake_image: Any, boxes: list[list[float]], relative: bool
) -> None:
    folder = vinvl([fake_image("1", boxes=boxes, relative=relative)])
    counts = run([folder], beside(folder), "error")
    assert (counts["boxes_clipped"], counts["boxes_mended"], counts["regions"]) == (2, 0, 2)
    bbox = RegionStore(beside(folder) / "store").get("1").bbox
    expected = np.clip(boxes, 0, [640, 480, 640, 480])
    np.testing.assert_allclose(bbox, expected, atol=1e-3)


def test_a_box_may_be_clipped_in_one_file_and_not_in_the_other(vinvl: Any, fake_image: Any) -> None:
    for clipped, scale in ((0, 1.0), (1, 1.0), (0, 1.5), (1, 1.5)):
        boxes = [[-14.0, 20, 110, 220], [300, 100, 655, 500]]
        images = [fake_image("1", boxes=boxes, rect_scale=scale), fake_image("1", rect_scale=scale)]
        images[1].boxes = np.clip(boxes, 0, [640, 480, 640, 480]).tolist()
        folder = vinvl([images[clipped]], f"{clipped}_{scale}")
        (folder / "predictions.tsv").write_text(images[1 - clipped].prediction_line())
        counts = run([folder], beside(folder), "error")
        assert (counts["boxes_mended"], counts["boxes_clipped"]) == (scale != 1, 0 if clipped else 2)
        np.testing.assert_allclose(RegionStore(beside(folder) / "store").get("1").bbox, images[1].boxes, atol=1e-3)


# --- what is bad: a damaged second image of three

BAD_FEATURES: dict[str, tuple[Callable[[str], str], str]] = {
    "truncated line": (lambda line: line[:2] + "\n", "line has not three columns: it has 1"),
    "empty line": (lambda line: "\n", "line has not three columns: it has 1"),
    "missing column": (lambda line: line.replace("\t2\t", "\t"), "line has not three columns: it has 2"),
    "no number": (lambda line: line.replace("\t2\t", "\ttwo\t"), "number of regions is not a number: b'two'"),
    "no regions": (
        lambda line: line.replace("\t2\t", "\t0\t"),
        "features have the wrong number of bytes: 112 bytes, expected 0 (0 regions x 8 numbers x 4) or 0 ",
    ),
    "not base64": (lambda line: line[:-10] + "!!!!\n", "features are not base64"),
    "too short": (
        lambda line: set_features(line, np.zeros((2, 13))),
        "features have the wrong number of bytes: 104 bytes, expected 64 (2 regions x 8 numbers x 4) or 112 "
        "(2 regions x 14 numbers x 4)",
    ),
    "not a number": (
        lambda line: set_features(line, np.where(np.arange(28).reshape(2, 14) == 19, np.nan, 0.5)),
        "feature is not a finite number: nan at region 1, number 5",
    ),
    "infinite": (
        lambda line: set_features(line, np.where(np.arange(28).reshape(2, 14) == 3, -np.inf, 0.5)),
        "feature is not a finite number: -inf at region 0, number 3",
    ),
    "too large": (
        lambda line: set_features(line, np.where(np.arange(28).reshape(2, 14) == 14, 70000, 0.5)),
        "feature does not fit into 16 bits: 70000.0 at region 1, number 0",
    ),
    "box is not finite": (
        lambda line: set_features(line, np.where(np.arange(28).reshape(2, 14) == 8, np.nan, 0.5)),
        "box is not finite: region 0: [nan, 0.5, 0.5, 0.5]",
    ),
    "another number of regions": (
        lambda line: set_features(line, np.full((1, 14), 0.5)),
        "features and predictions differ in the number of regions: 1 and 2",
    ),
    "other boxes": (
        lambda line: set_features(line, np.tile([0.5] * 8 + [0.1, 0.1, 0.9, 0.9, 0.8, 0.8], (2, 1))),
        "rect and the features' box are different boxes: region 0: rect [10.0, 20.0, 110.0, 220.0], "
        "box [64.0, 48.0, 576.0, 432.0]",
    ),
    "unknown to the predictions": (
        lambda line: line.replace("22\t", "99\t", 1),
        "image has features but no predictions: no usable line of predictions.tsv starts with 99",
    ),
}


@pytest.mark.parametrize("case", BAD_FEATURES)
def test_bad_features_stop_or_are_left_out(case: str, vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    change, message = BAD_FEATURES[case]
    folder = vinvl([fake_image("11"), fake_image("22"), fake_image("33")])
    features = folder / "features.tsv"
    replace_line(features, 2, change)
    image_id = features.read_text().splitlines()[1].split("\t")[0]
    with pytest.raises(InputError) as error:
        run([folder], tmp_path, "error")
    where = f"{features}, line 2 (image {image_id})" if image_id else f"{features}, line 2"
    assert error.value.where == where
    assert error.value.problem.startswith(message)
    assert error.value.remedy
    assert not (tmp_path / "store").exists()

    counts = run([folder], tmp_path, "skip")
    assert RegionStore(tmp_path / "store").ids == ["11", "33"]
    listed = [json.loads(line) for line in (tmp_path / "store" / "skipped.jsonl").read_text().splitlines()]
    assert counts["skipped"] == len(listed)
    assert (listed[0]["file"], listed[0]["line"], listed[0]["id"]) == (str(features), 2, image_id)
    assert f"{listed[0]['reason']}: {listed[0]['value']}".startswith(message)


def set_first(**changes: Any) -> Callable[[str], str]:
    return lambda line: change_prediction(line, lambda content: content["objects"][0].update(changes))


BAD_PREDICTIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "truncated": (lambda line: line[:60] + "\n", "predictions are not JSON"),
    "no objects": (lambda line: '22\t{"image_h": 1}\n', "predictions have no list 'objects': {'image_h': 1}"),
    "not an object": (lambda line: "22\t[]\n", "predictions have no list 'objects': []"),
    "no size": (
        lambda line: change_prediction(line, lambda content: content.update(image_w=0)),
        "image_w and image_h are not a size in pixels: 0 x 480",
    ),
    "rect of three": (set_first(rect=[1, 2, 3]), "rect is not four numbers: object 0: [1, 2, 3]"),
    "rect of words": (set_first(rect=[1, 2, 3, "4"]), "rect is not four numbers: object 0: [1, 2, 3, '4']"),
    "rect not finite": (set_first(rect=[1, 2, 3, float("nan")]), "rect is not four numbers: object 0: [1, 2, 3, nan]"),
    "class not a name": (set_first(**{"class": 7}), "class is not a name: object 0: 7"),
    "conf too high": (set_first(conf=1.5), "conf is not between 0 and 1: object 0: 1.5"),
    "conf missing": (set_first(conf=None), "conf is not between 0 and 1: object 0: None"),
    "attributes": (set_first(attributes="red"), "attributes are not a list of words: object 0: 'red'"),
    "object not an object": (
        lambda line: change_prediction(line, lambda content: content["objects"].__setitem__(0, 5)),
        "object is not a JSON object: object 0: 5",
    ),
}


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_bad_predictions_stop_or_are_left_out(case: str, vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    change, message = BAD_PREDICTIONS[case]
    folder = vinvl([fake_image("11"), fake_image("22"), fake_image("33")])
    predictions = folder / "predictions.tsv"
    replace_line(predictions, 2, change)
    with pytest.raises(InputError) as error:
        run([folder], tmp_path, "error")
    assert error.value.where == f"{predictions}, line 2 (image 22)"
    assert error.value.problem.startswith(message)
    counts = run([folder], tmp_path, "skip")
    assert RegionStore(tmp_path / "store").ids == ["11", "33"]
    assert counts["skipped"] == 1


@pytest.mark.parametrize(
    ("box", "relative", "message"),
    [
        ([10, 20, 680, 220], True, "box outside the image: region 0: [10.0, 20.0, 680.0, 220.0] in an image of 640 x"),
        ([-39, 20, 30, 220], False, "box outside the image: region 0: [-39.0, 20.0, 30.0, 220.0] in an image of 640 x"),
        ([10, 220, 30, 20], True, "box ends before it begins: region 0: [10.0, 220.0, 30.0, 20.0] in an image of 640"),
        ([40, 20, 10, 220], False, "box ends before it begins: region 0: [40.0, 20.0, 10.0, 220.0] in an image of 640"),
        # Another scale would make this box fit, but the other images say otherwise.
        ([10, 20, 900, 700], False, "box outside the image"),
    ],
)
def test_bad_boxes(box: list[float], relative: bool, message: str, vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    image = fake_image("22", boxes=[box, [300, 100, 640, 480]], relative=relative)
    others = [fake_image(str(number), relative=relative) for number in range(33, 45)]
    folder = vinvl([fake_image("11", relative=relative), image, *others])
    with pytest.raises(InputError) as error:
        run([folder], tmp_path, "error")
    assert error.value.where == f"{folder / 'features.tsv'}, line 2 (image 22)"
    assert error.value.problem.startswith(message)
    assert run([folder], tmp_path, "skip")["skipped"] == 1
    assert RegionStore(tmp_path / "store").ids == ["11", *(other.image_id for other in others)]


def test_image_id_twice(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("11"), fake_image("22")])
    features = folder / "features.tsv"
    features.write_text(features.read_text() + fake_image("11").feature_line())
    with pytest.raises(InputError, match=r"features.tsv, line 3 \(image 11\): image id occurs twice: 11"):
        run([folder], tmp_path, "error")
    other = vinvl([fake_image("22"), fake_image("44")], "other")
    counts = run([folder, other], tmp_path, "skip")
    assert RegionStore(tmp_path / "store").ids == ["11", "22", "44"]
    assert counts["skipped"] == 2


def test_predictions_without_features(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("11"), fake_image("22")])
    features = folder / "features.tsv"
    features.write_text(features.read_text().splitlines(keepends=True)[0])
    with pytest.raises(
        InputError, match=r"predictions.tsv, line 2 \(image 22\): image has predictions but no features"
    ):
        run([folder], tmp_path, "error")


def test_line_of_predictions_without_tab(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("11"), fake_image("22")])
    replace_line(folder / "predictions.tsv", 2, lambda line: "rubbish\n")
    with pytest.raises(InputError, match=r"predictions.tsv, line 2: line is not 'image id, tab, JSON': b'rubbish"):
        run([folder], tmp_path, "error")


def test_image_ids_that_cannot_be_keys(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    for image_id in ("", "x" * 600):
        folder = vinvl([fake_image(image_id)])
        with pytest.raises(InputError, match="image id cannot be used"):
            run([folder], tmp_path, "error")


def test_of_equal_ids_the_first_counts(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image(str(number), width=700 + number) for number in range(9)])
    predictions = folder / "predictions.tsv"
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text(
        "".join([*reversed(lines), lines[3], lines[5], lines[3], fake_image("99").prediction_line()])
    )
    counts = run([folder], tmp_path)
    store = RegionStore(tmp_path / "store")
    assert [store.get(image_id).width for image_id in store.ids] == list(range(700, 709))
    listed = [json.loads(line) for line in (tmp_path / "store" / "skipped.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["id"]) for entry in listed] == [(10, "3"), (11, "5"), (12, "3"), (13, "99")]
    assert counts["skipped"] == 4


def test_predictions_without_a_single_good_line(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("11")])
    (folder / "predictions.tsv").write_text("rubbish\n")
    with pytest.raises(InputError, match="2 of 1 records are bad"):
        run([folder], tmp_path)


# --- another size of features


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("wanted", [2048, 13, 1])
def test_another_feature_size_is_one_message(
    relative: bool, wanted: int, vinvl: Any, fake_image: Any, tmp_path: Path
) -> None:
    folder = vinvl([fake_image(str(number), relative=relative) for number in range(30)])
    replace_line(folder / "features.tsv", 1, lambda line: line[:20] + "\n")
    for policy in ("error", "skip"):
        with pytest.raises(InputError) as error:
            import_regions([folder], RegionOptions(feature_dim=wanted), policy, 1.0, tmp_path / "s")
        assert error.value.where == str(folder / "features.tsv")
        rows = "rows of 14 numbers, 8 features and a box" if relative else "rows of 8 numbers"
        assert error.value.problem.startswith(f"has {rows}, whereas region_options.feature_dim={wanted}")
        assert "Set region_options.feature_dim=8, and model_config.muvla.trunk.feature_dim" in error.value.remedy


# --- how much may be bad


def test_too_many_bad_records_stop(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    images = [fake_image(str(number)) for number in range(10, 30)]
    for number in (3, 8):
        images[number].boxes[0][2] = 700.0  # further out than what is clipped
    folder = vinvl(images)
    with pytest.raises(InputError) as error:
        run([folder], tmp_path, "skip", 0.09)
    assert error.value.where == f"{folder / 'features.tsv'}, line 4"
    assert "2 of 20 records are bad, more than max_skipped_fraction=0.09 allows" in error.value.problem
    assert "box outside the image (2)" in error.value.problem
    assert not (tmp_path / "store").exists()
    assert run([folder], tmp_path, "skip", 0.1)["images"] == 18


def test_nothing_good(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("1", confidence=[2, 2])])
    with pytest.raises(InputError, match="no image can be used"):
        run([folder], tmp_path, "skip", 1.0)


@pytest.mark.parametrize("missing", ["features.tsv", "predictions.tsv"])
def test_missing_and_empty_files(missing: str, vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    folder = vinvl([fake_image("1")])
    (folder / missing).write_text("")
    with pytest.raises(InputError, match=f"{missing}: is empty"):
        run([folder], tmp_path)
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"has no {missing}"):
        run([folder], tmp_path)


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"no detector output that is understood \(it has nothing\)\. Name a folder with features.tsv"
    ):
        run([tmp_path / "empty"], tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        run([tmp_path / "absent"], tmp_path)
