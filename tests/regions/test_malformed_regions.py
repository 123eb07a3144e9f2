"""Every field of every format of region input, broken in each way that is to be expected, and some that are meant ill.

Of three images the second is damaged. Under ``error`` a message names the file, the line or image, the value and a
remedy; under ``skip`` just that image is missing, counted and listed, and the others are as if it had never been there.
No code that the input contains is run.
"""

from __future__ import annotations

import base64
import contextlib
import copyreg
import functools
import json
import operator
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.index import store_files
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from tests.conftest import FakeImage, write_folder
from tests.regions.mmf_files import (
    FEATURE_DIM,
    MmfImage,
    info_file,
    set_npy_header,
    write_labels,
    write_lmdb,
    write_mmf_folder,
    write_mmf_lmdb,
)

IDS = ["11", "22", "33"]
VICTIM = "victim"


def run(source: Path, out: Path, policy: str, labels: Path | None) -> dict[str, int]:
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(labels) if labels else None)
    return import_regions([source], options, policy, 1.0, out / "store")


def records(store: RegionStore) -> dict[str, Any]:
    """All that the store holds, in a form that can be compared."""
    found = {}
    for image_id in store.ids:
        regions = store.get(image_id)
        names = regions.tags(store.object_names, store.attribute_names)
        arrays = (regions.image_feature_0, regions.bbox, regions.confidence)
        found[image_id] = (regions.width, regions.height, names, [array.tobytes() for array in arrays])
    return found


def check_policies(
    source: Path, good: Path, out: Path, labels: Path | None, message: str, file: str, left: list[str], listed: int = 1
) -> None:
    """Import under both policies.

    Args:
        source: what is damaged.
        good: the same, whole.
        out: for stores.
        labels: the label map.
        message: what the error has to say, a pattern.
        file: the file that it has to name, relative to ``source``.
        left: ids of the images that remain.
        listed: how many problems are listed.
    """
    with pytest.raises(InputError, match=message) as error:
        run(source, out / "error", "error", labels)
    named = str(source / file) if file else str(source)
    assert error.value.where.startswith(named)
    assert re.search(r", line \d+|\(image .+\)", error.value.where)
    assert ": " in error.value.problem
    assert len(error.value.problem) < 700
    assert error.value.remedy
    assert not (out / "error" / "store").exists()

    counts = run(source, out / "skip", "skip", labels)
    listed_in = out / "skip" / "store" / "skipped.jsonl"
    entries = [json.loads(line) for line in listed_in.read_text(encoding="utf-8").splitlines()]
    assert counts["skipped"] == len(entries) == listed
    assert entries[0]["file"].startswith(str(source))
    assert {"file", "line", "id", "reason", "value"} == entries[0].keys()
    assert counts["images"] == len(left)

    run(good, out / "whole", "error", labels)
    expected = records(RegionStore(out / "whole" / "store"))
    assert records(RegionStore(out / "skip" / "store")) == {image_id: expected[image_id] for image_id in left}


# --- VinVL


@dataclass
class Vinvl:
    """A folder of three images, as the lines of its two files."""

    features: list[bytes]
    predictions: list[bytes]

    def set_columns(
        self, *, image_id: bytes | None = None, count: bytes | None = None, data: bytes | None = None
    ) -> None:
        columns = self.features[1].rstrip(b"\n").split(b"\t")
        given = (image_id, count, data)
        columns = [old if new is None else new for old, new in zip(columns, given, strict=True)]
        self.features[1] = b"\t".join(columns) + b"\n"

    def set_matrix(self, change: Callable[[np.ndarray], Any]) -> None:
        data = base64.b64decode(self.features[1].split(b"\t")[2])
        matrix = np.frombuffer(data, "<f4").reshape(2, -1).copy()
        result = change(matrix)
        matrix = matrix if result is None else result
        self.set_columns(data=base64.b64encode(matrix.astype("<f4").tobytes()))

    def set_json(self, change: Callable[[dict[str, Any]], Any]) -> None:
        image_id, text = self.predictions[1].split(b"\t")
        content = json.loads(text)
        result = change(content)
        content = content if result is None else result
        self.predictions[1] = image_id + b"\t" + json.dumps(content).encode() + b"\n"

    def set_object(self, **changes: Any) -> None:
        self.set_json(lambda content: content["objects"][1].update(changes))

    def drop(self, key: str) -> None:
        self.set_json(lambda content: [content["objects"][1].pop(key), content][1])


def number_at(row: int, column: int, value: float) -> Callable[[Vinvl], None]:
    def change(folder: Vinvl) -> None:
        folder.set_matrix(lambda matrix: matrix.__setitem__((row, column), value))

    return change


# name: (what to break, the message, how many problems there are)
F, P = "features.tsv", "predictions.tsv"
VINVL: dict[str, tuple[Callable[[Vinvl], Any], str, str, int]] = {
    # features.tsv: id
    "id missing": (lambda f: f.set_columns(image_id=b""), F, "image id cannot be used: '' cannot be", 2),
    "id not UTF-8": (lambda f: f.set_columns(image_id=b"2\xff"), F, r"image id cannot be used: b'2\\xff'", 2),
    "id too long": (lambda f: f.set_columns(image_id=b"2" * 512), F, "the id has 512 bytes, at most 511", 2),
    "id with a blank": (
        lambda f: f.set_columns(image_id=b" 22"),
        F,
        "no usable line of predictions.tsv starts with  22",
        2,
    ),
    "id with a leading zero": (lambda f: f.set_columns(image_id=b"022"), F, "starts with 022", 2),
    "id of another image": (lambda f: f.set_columns(image_id=b"11"), F, "line 2 .image 11.: ", 2),
    "features twice": (
        lambda f: f.features.append(f.features[2]),
        F,
        "line 4 .image 33.: image id occurs twice: 33",
        1,
    ),
    # count
    "count missing": (lambda f: f.set_columns(count=b""), F, "number of regions is not a number: b''", 1),
    "count a word": (lambda f: f.set_columns(count=b"two"), F, "number of regions is not a number: b'two'", 1),
    "count negative": (lambda f: f.set_columns(count=b"-2"), F, "number of regions is not a number: b'-2'", 1),
    "count a fraction": (lambda f: f.set_columns(count=b"2.0"), F, "number of regions is not a number", 1),
    "count zero": (lambda f: f.set_columns(count=b"0"), F, "wrong number of bytes: 112 bytes, expected 0", 1),
    "count too small": (lambda f: f.set_columns(count=b"1"), F, "wrong number of bytes: 112 bytes, expected 32", 1),
    "count too large": (lambda f: f.set_columns(count=b"3"), F, "wrong number of bytes: 112 bytes, expected 96", 1),
    "count absurd": (lambda f: f.set_columns(count=b"9" * 400), F, "number of regions is not a number: b'999", 1),
    # base64
    "data missing": (lambda f: f.set_columns(data=b""), F, "wrong number of bytes: 0 bytes", 1),
    "data not base64": (lambda f: f.set_columns(data=b"!!!!"), F, "features are not base64: ", 1),
    "data not padded": (
        lambda f: f.set_columns(data=f.features[1].split(b"\t")[2].strip().rstrip(b"=")),
        F,
        "not base64",
        1,
    ),
    "data cut": (lambda f: f.set_columns(data=f.features[1].split(b"\t")[2][:40]), F, "wrong number of bytes: 30", 1),
    "data with a blank": (
        lambda f: f.set_columns(data=b" " + f.features[1].split(b"\t")[2].strip()),
        F,
        "not base64",
        1,
    ),
    "data of JSON": (lambda f: f.set_columns(data=b"[0.5, 0.5]"), F, "features are not base64", 1),
    "data of another width": (lambda f: f.set_matrix(lambda m: m[:, :9]), F, "72 bytes, expected 64 .2 regions x 8", 1),
    "data of halves": (lambda f: f.set_columns(data=base64.b64encode(bytes(56))), F, "56 bytes", 1),
    # numbers
    "feature NaN": (number_at(1, 3, np.nan), F, "feature is not a finite number: nan at region 1, number 3", 1),
    "feature infinite": (number_at(0, 0, np.inf), F, "feature is not a finite number: inf at region 0, number 0", 1),
    "feature minus infinite": (number_at(0, 7, -np.inf), F, "feature is not a finite number: -inf at region 0", 1),
    "feature too large": (number_at(1, 1, 65520), F, "feature does not fit into 16 bits: 65520.0 at region 1", 1),
    "feature too small": (number_at(1, 1, -1e30), F, "feature does not fit into 16 bits: -1", 1),
    # boxes
    "box NaN": (number_at(0, 8, np.nan), F, r"box is not finite: region 0: \[nan, ", 1),
    "box infinite": (number_at(1, 11, np.inf), F, "box is not finite: region 1: ", 1),
    "box of another image": (
        lambda f: f.set_matrix(lambda m: m.__setitem__((0, slice(8, 12)), [0.7, 0.7, 0.9, 0.9])),
        F,
        "rect and the features' box are different boxes: region 0: rect",
        1,
    ),
    "box outside": (
        lambda f: (f.set_matrix(lambda m: m.__setitem__((1, 10), 1.2)), f.set_object(rect=[300, 100, 768, 480])),
        F,
        r"box outside the image: region 1: \[300.0, 100.0, 768.0, 480.0\] in an image of 640 x 480",
        1,
    ),
    "box negative": (
        lambda f: (f.set_matrix(lambda m: m.__setitem__((1, 8), -0.1)), f.set_object(rect=[-64, 100, 640, 480])),
        F,
        r"box outside the image: region 1: \[-64.0, ",
        1,
    ),
    "box reversed": (
        lambda f: (
            f.set_matrix(lambda m: m.__setitem__((1, [8, 10]), m[1, [10, 8]])),
            f.set_object(rect=[640, 100, 300, 480]),
        ),
        F,
        "box ends before it begins: region 1",
        1,
    ),
    # the line
    "line empty": (lambda f: f.features.__setitem__(1, b"\n"), F, "line has not three columns: it has 1", 2),
    "line of zeros": (lambda f: f.features.__setitem__(1, bytes(100) + b"\n"), F, "line has not three columns", 2),
    "line of four columns": (lambda f: f.set_columns(count=b"2\t2"), F, "line has not three columns: it has 4", 1),
    "line of blanks for tabs": (
        lambda f: f.features.__setitem__(1, f.features[1].replace(b"\t", b" ")),
        F,
        "it has 1",
        2,
    ),
    "line cut at the end of the file": (
        lambda f: (f.features.append(f.features.pop(1)[:30]), f.predictions),
        F,
        "line 3 .image 22.: features",
        1,
    ),
    "rows without predictions": (lambda f: f.predictions.pop(1), F, "image has features but no predictions", 1),
    "another number of objects": (lambda f: f.set_json(lambda c: [c["objects"].pop(), c][1]), F, "regions: 2 and 1", 1),
    "no objects": (lambda f: f.set_json(lambda c: c.update(objects=[])), F, "number of regions: 2 and 0", 1),
    # predictions.tsv: the line
    "prediction empty": (
        lambda f: f.predictions.__setitem__(1, b"\n"),
        P,
        "line 2: line is not 'image id, tab, JSON'",
        2,
    ),
    "prediction without features": (lambda f: f.features.pop(1), P, "image has predictions but no features", 1),
    "prediction twice": (
        lambda f: f.predictions.append(f.predictions[0]),
        P,
        "line 4 .image 11.: image id occurs twice",
        1,
    ),
    "prediction not UTF-8": (lambda f: f.predictions.__setitem__(1, b'22\t{"a": "\xff"}\n'), P, "not JSON: .*utf-8", 1),
    "prediction cut": (lambda f: f.predictions.__setitem__(1, f.predictions[1][:50] + b"\n"), P, "not JSON", 1),
    "prediction too deep": (lambda f: f.predictions.__setitem__(1, b"22\t" + b"[" * 200_000 + b"\n"), P, "not JSON", 1),
    "prediction of another kind": (lambda f: f.set_json(lambda c: [c]), P, "no list 'objects'", 1),
    "prediction null": (lambda f: f.predictions.__setitem__(1, b"22\tnull\n"), P, "no list 'objects': None", 1),
    "prediction of two columns more": (lambda f: f.predictions.__setitem__(1, b"22\tx\t{}\n"), P, "not JSON", 1),
    # its fields
    "objects missing": (lambda f: f.set_json(lambda c: [c.pop("objects"), c][1]), P, "no list 'objects'", 1),
    "objects not a list": (lambda f: f.set_json(lambda c: c.update(objects={"0": 1})), P, "no list 'objects'", 1),
    "object a list": (lambda f: f.set_json(lambda c: c["objects"].__setitem__(1, [])), P, r"object 1: \[\]", 1),
    "width missing": (
        lambda f: f.set_json(lambda c: [c.pop("image_w"), c][1]),
        P,
        "not a size in pixels: None x 480",
        1,
    ),
    "width zero": (lambda f: f.set_json(lambda c: c.update(image_w=0)), P, "not a size in pixels: 0 x 480", 1),
    "height negative": (
        lambda f: f.set_json(lambda c: c.update(image_h=-480)),
        P,
        "not a size in pixels: 640 x -480",
        1,
    ),
    "height a fraction": (lambda f: f.set_json(lambda c: c.update(image_h=480.5)), P, "640 x 480.5", 1),
    "height NaN": (lambda f: f.set_json(lambda c: c.update(image_h=np.nan)), P, "640 x nan", 1),
    "height a word": (lambda f: f.set_json(lambda c: c.update(image_h="480")), P, "640 x '480'", 1),
    "height absurd": (lambda f: f.set_json(lambda c: c.update(image_h=10**400)), P, "not a size in pixels", 1),
    "height true": (lambda f: f.set_json(lambda c: c.update(image_h=True)), P, "640 x True", 1),
    "rect missing": (lambda f: f.drop("rect"), P, "rect is not four numbers: object 1: None", 1),
    "rect of five": (lambda f: f.set_object(rect=[1, 2, 3, 4, 5]), P, "rect is not four numbers: object 1", 1),
    "rect of words": (lambda f: f.set_object(rect=["1", 2, 3, 4]), P, "rect is not four numbers: object 1", 1),
    "rect infinite": (lambda f: f.set_object(rect=[1, 2, 3, float("inf")]), P, "rect is not four numbers", 1),
    "rect NaN": (lambda f: f.set_object(rect=[float("nan"), 2, 3, 4]), P, "rect is not four numbers", 1),
    "class missing": (lambda f: f.drop("class"), P, "class is not a name: object 1: None", 1),
    "class a number": (lambda f: f.set_object(**{"class": 5}), P, "class is not a name: object 1: 5.*label_map", 1),
    "class blank": (lambda f: f.set_object(**{"class": "  "}), P, "class is not a name: object 1: '  '", 1),
    "class a list": (lambda f: f.set_object(**{"class": ["car"]}), P, r"class is not a name: object 1: \['car'\]", 1),
    "class half a character": (lambda f: f.set_object(**{"class": "\ud800"}), P, r"object 1: '\\ud800'", 1),
    "conf missing": (lambda f: f.drop("conf"), P, "conf is not between 0 and 1: object 1: None", 1),
    "conf too high": (lambda f: f.set_object(conf=1.01), P, "conf is not between 0 and 1: object 1: 1.01", 1),
    "conf negative": (lambda f: f.set_object(conf=-0.1), P, "conf is not between 0 and 1: object 1: -0.1", 1),
    "conf NaN": (lambda f: f.set_object(conf=float("nan")), P, "conf is not between 0 and 1: object 1: nan", 1),
    "conf a word": (lambda f: f.set_object(conf="0.5"), P, "conf is not between 0 and 1: object 1: '0.5'", 1),
    "attributes a word": (lambda f: f.set_object(attributes="red"), P, "attributes are not a list of words", 1),
    "attributes of numbers": (lambda f: f.set_object(attributes=[3]), P, "attributes are not a list of words", 1),
    "attributes half a character": (lambda f: f.set_object(attributes=["\udfff"]), P, "attributes are not a list", 1),
}


def vinvl_folder(path: Path, folder: Vinvl) -> Path:
    path.mkdir(parents=True)
    (path / F).write_bytes(b"".join(folder.features))
    (path / P).write_bytes(b"".join(folder.predictions))
    return path


def three_vinvl() -> Vinvl:
    images = [FakeImage(image_id) for image_id in IDS]
    return Vinvl(
        [image.feature_line().encode() for image in images], [image.prediction_line().encode() for image in images]
    )


# Both images of an id that two have are there for once: the first line counts, and what is then missing is missing.
LEFT = {"features twice": IDS, "prediction twice": IDS}


@pytest.mark.parametrize("case", VINVL)
def test_vinvl(case: str, tmp_path: Path) -> None:
    change, file, message, listed = VINVL[case]
    damaged = three_vinvl()
    change(damaged)
    source = vinvl_folder(tmp_path / "damaged", damaged)
    good = vinvl_folder(tmp_path / "good", three_vinvl())
    check_policies(source, good, tmp_path, None, message, file, LEFT.get(case, ["11", "33"]), listed)


# What looks odd, and is fine.
HARMLESS: dict[str, Callable[[Path], Any]] = {
    "other line ends": lambda folder: [
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n")) for name in (F, P)
    ],
    "a mark at the begin": lambda folder: [
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes()) for name in (F, P)
    ],
    "a mark at the begin of one file": lambda folder: (folder / P).write_bytes(
        b"\xef\xbb\xbf" + (folder / P).read_bytes()
    ),
    "no line end at the end": lambda folder: [
        (folder / name).write_bytes((folder / name).read_bytes()[:-1]) for name in (F, P)
    ],
    "another order": lambda folder: (folder / P).write_bytes(
        b"".join(reversed((folder / P).read_bytes().splitlines(keepends=True)))
    ),
    "lineidx of something else": lambda folder: [
        (folder / f"{name}.lineidx").write_text("0\n1\n99999\n") for name in ("features", "predictions")
    ],
    "lineidx of words": lambda folder: (folder / "features.lineidx").write_text("zero\n\n\xff"),
    "lineidx empty": lambda folder: (folder / "features.lineidx").write_text(""),
    "index of something else": lambda folder: (folder / "imageid2idx.json").write_text('{"11": 2}'),
    "other files": lambda folder: (folder / "x.npy").write_bytes(b"no array"),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_makes_no_difference(case: str, tmp_path: Path) -> None:
    folders = [vinvl_folder(tmp_path / name, three_vinvl()) for name in ("plain", "odd")]
    HARMLESS[case](folders[1])
    stores = []
    for folder in folders:
        run(folder, folder.with_name(f"{folder.name}-out"), "error", None)
        files = store_files(folder.with_name(f"{folder.name}-out") / "store")
        stores.append({path.name: path.read_bytes() for path in files})
    assert stores[0] == stores[1]


def test_a_file_without_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As a download leaves it that was given its size, but not its content.
    monkeypatch.setattr("mmf_muvla.regions.paired_files.LONGEST_LINE", 5000)
    damaged = three_vinvl()
    damaged.features.insert(1, bytes(20_000) + b"\n")
    source = vinvl_folder(tmp_path / "damaged", damaged)
    good = vinvl_folder(tmp_path / "good", three_vinvl())
    check_policies(source, good, tmp_path, None, "line is too long: 5000 bytes or more", F, IDS)


# --- MMF: what is wrong in both of its formats


def set_info(**changes: Any) -> Callable[[MmfImage], None]:
    return lambda image: image.info.update(changes)


def drop_info(*keys: str) -> Callable[[MmfImage], None]:
    return lambda image: [image.info.pop(key) for key in keys]


def set_features(change: Callable[[np.ndarray], Any]) -> Callable[[MmfImage], None]:
    def apply(image: MmfImage) -> None:
        image.features = change(image.features)

    return apply


def changed(array: np.ndarray, place: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


def set_box(row: int, box: list[float]) -> Callable[[MmfImage], None]:
    return lambda image: image.info.update(bbox=changed(image.info["bbox"], row, box))


def objects_of(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


MMF: dict[str, tuple[Callable[[MmfImage], Any], str]] = {
    "feature NaN": (
        set_features(lambda f: changed(f, (1, 2), np.nan)),
        "feature is not a finite number: nan at region 1",
    ),
    "feature infinite": (set_features(lambda f: changed(f, (0, 0), np.inf)), "feature is not a finite number: inf"),
    "feature too large": (set_features(lambda f: changed(f, (0, 0), 1e6)), "feature does not fit into 16 bits"),
    "features of one axis": (set_features(lambda f: f[0]), r"shape \(8,\)"),
    "features of three axes": (set_features(lambda f: f[None]), r"shape \(1, 4, 8\)"),
    "features too wide": (set_features(lambda f: np.ones((4, 9), np.float32)), r"shape \(4, 9\), expected \[n, 8\]"),
    "features too few": (set_features(lambda f: f[:2]), "num_boxes exceeds the regions: 3 of 2 features, 4 boxes"),
    "no features": (set_features(lambda f: f[:0]), "num_boxes exceeds the regions: 3 of 0 features"),
    "features of integers": (set_features(lambda f: f.astype(np.int64)), "array of int64"),
    "features of complex numbers": (set_features(lambda f: f.astype(np.complex64)), "array of complex64"),
    "features of words": (set_features(lambda f: f.astype(str)), "array of <U"),
    "boxes missing": (drop_info("bbox"), "there is no bbox: there are .*num_boxes, objects"),
    "boxes None": (set_info(bbox=None), "there is no bbox"),
    "boxes too few": (set_info(bbox=np.ones((2, 4))), "num_boxes exceeds the regions: 3 of 4 features, 2 boxes"),
    "boxes of three": (set_info(bbox=np.ones((4, 3))), r"bbox is not four numbers a region: shape \(3, 3\)"),
    "boxes of one axis": (set_info(bbox=np.ones(16)), "bbox is not an array of numbers with 2 axes"),
    "boxes of words": (set_info(bbox=np.full((4, 4), "a")), "bbox is not an array of numbers"),
    "boxes of objects": (set_info(bbox=np.full((4, 4), None, dtype=object)), "array of object of shape"),
    "boxes of ragged lists": (set_info(bbox=[[1, 2, 3, 4], [1, 2]]), "bbox is not an array"),
    "boxes a number": (set_info(bbox=7), "bbox is not an array: 7"),
    "boxes a dictionary": (set_info(bbox={"x": 1}), "bbox is not an array"),
    "box NaN": (set_box(1, [0, 0, np.nan, 9]), r"box is not finite: region 1: \[0.0, 0.0, nan, 9.0\]"),
    "box infinite": (set_box(1, [0, 0, np.inf, 9]), "box is not finite: region 1"),
    "box outside": (set_box(2, [0, 0, 700, 9]), r"box outside the image: region 2: \[0.0, 0.0, 700.0, 9.0\]"),
    "box reversed": (set_box(2, [9, 9, 5, 5]), "box ends before it begins: region 2"),
    "boxes relative": (set_info(bbox=np.full((4, 4), [0, 0, 0.5, 1])), "boxes seem to be relative to the image"),
    "objects missing": (drop_info("objects"), "there is no objects: there are .*bbox, num_boxes"),
    "objects None": (set_info(objects=None), "there is no objects"),
    "objects too few": (set_info(objects=np.array([1])), "num_boxes exceeds the regions: 3 of .* 1 objects"),
    "objects of two axes": (set_info(objects=np.ones((4, 1), int)), "objects is not an array of numbers with 1 axes"),
    "objects of words": (set_info(objects=np.array(["dog"] * 4)), "objects is not an array of numbers"),
    "objects of objects": (set_info(objects=objects_of(["dog", 1, 2, 3])), "objects is not an array of numbers"),
    "objects of fractions": (
        set_info(objects=np.array([0.5, 1, 2, 3])),
        "class is not in the label map: region 0: 0.5",
    ),
    "objects NaN": (set_info(objects=np.array([0, np.nan, 2, 3])), "class is not in the label map: region 1: nan"),
    "class beyond the map": (set_info(objects=np.array([0, 1, 4, 0])), "class is not in the label map: region 2: 4"),
    "class negative": (set_info(objects=np.array([0, -1, 2, 0])), "class is not in the label map: region 1: -1"),
    "num_boxes too large": (set_info(num_boxes=5), "num_boxes exceeds the regions: 5 of 4 features"),
    "num_boxes negative": (set_info(num_boxes=-1), "num_boxes is not a number: -1"),
    "num_boxes a fraction": (set_info(num_boxes=2.5), "num_boxes is not a number: 2.5"),
    "num_boxes NaN": (set_info(num_boxes=np.float32("nan")), "num_boxes is not a number: nan"),
    "num_boxes a word": (set_info(num_boxes="3"), "num_boxes is not a number: 3"),
    "num_boxes a list": (set_info(num_boxes=[3]), r"num_boxes is not a number: \[3\]"),
    "num_boxes true": (set_info(num_boxes=True), "num_boxes is not a number: True"),
    "num_boxes missing, and different arrays": (
        lambda i: i.info.update(num_boxes=None, objects=np.array([1, 2])),
        "arrays differ in the number of regions: 4 features, 4 boxes, 2 objects, 4 probabilities",
    ),
    "width missing": (drop_info("image_width"), "image_width is not a size in pixels: None"),
    "width zero": (set_info(image_width=0), "image_width is not a size in pixels: 0"),
    "height negative": (set_info(image_height=-480), "image_height is not a size in pixels: -480"),
    "height a fraction": (set_info(image_height=480.5), "image_height is not a size in pixels: 480.5"),
    "height infinite": (set_info(image_height=float("inf")), "image_height is not a size in pixels: inf"),
    "height an array": (set_info(image_height=np.array([480, 480])), "image_height is not a size in pixels"),
    "height absurd": (set_info(image_height=10**12), "image_height is not a size in pixels: 1000000000000"),
    "confidence NaN": (set_info(cls_prob=np.full((4, 4), np.nan)), "confidence is not between 0 and 1: region 0: nan"),
    "confidence too high": (
        set_info(cls_prob=np.full((4, 4), 1.5)),
        "confidence is not between 0 and 1: region 0: 1.5",
    ),
    "confidence negative": (set_info(cls_prob=np.full(4, -0.5)), "confidence is not between 0 and 1: region 0: -0.5"),
    "confidence too short": (set_info(scores=np.array([0.5])), "num_boxes exceeds the regions: 3 of .* 1 prob"),
    "confidence of words": (set_info(cls_prob=np.full((4, 4), "a")), "cls_prob are not numbers: array of <U1"),
    "confidence of no classes": (set_info(cls_prob=np.ones((4, 0))), r"cls_prob are not numbers: .* \(4, 0\)"),
    "confidence of three axes": (set_info(cls_prob=np.ones((4, 4, 1))), r"cls_prob are not numbers"),
}


def three_mmf(change: Callable[[MmfImage], Any] | None = None) -> list[MmfImage]:
    images = [MmfImage(image_id) for image_id in IDS]
    if change:
        change(images[1])
    return images


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
@pytest.mark.parametrize("case", MMF)
def test_mmf(case: str, kind: str, tmp_path: Path) -> None:
    change, message = MMF[case]
    write = write_mmf_folder if kind == "folder" else write_mmf_lmdb
    source, good = write(tmp_path / "damaged", three_mmf(change)), write(tmp_path / "good", three_mmf())
    file = "22" if kind == "folder" else "data.mdb"
    check_policies(source, good, tmp_path, write_labels(tmp_path), message, file, ["11", "33"])


# --- MMF's folders


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def save(path: Path, value: Any) -> None:
    np.save(path, value, allow_pickle=True)


MMF_FILES: dict[str, tuple[Callable[[Path, Path], Any], str, str]] = {
    "information missing": (lambda x, info: info.unlink(), "22_info.npy", "X.npy has no X_info.npy beside it"),
    "features missing": (lambda x, info: x.unlink(), "22_info.npy", "X_info.npy has no X.npy beside it"),
    "features empty": (lambda x, info: x.write_bytes(b""), "22.npy", "features cannot be read: it cannot be read as"),
    "features cut": (lambda x, info: rewrite(x, lambda b: b[:-5]), "22.npy", "wrong number of bytes: 123 bytes of 128"),
    "features cut in the header": (lambda x, info: rewrite(x, lambda b: b[:50]), "22.npy", "features cannot be read"),
    "features too long": (lambda x, info: rewrite(x, lambda b: b + b"more"), "22.npy", "132 bytes of 128"),
    "features of an absurd shape": (
        lambda x, info: set_npy_header(x, shape=(10**12, 8)),
        "22.npy",
        "128 bytes of 32000000000000",
    ),
    "features of no size": (lambda x, info: set_npy_header(x, shape=(10**12, 0)), "22.npy", "128 bytes of 0"),
    "features of a negative shape": (
        lambda x, info: set_npy_header(x, shape=(-4, -8)),
        "22.npy",
        "announces an array of shape",
    ),
    "features of another dtype": (lambda x, info: set_npy_header(x, descr="<f8"), "22.npy", "128 bytes of 256"),
    "features of objects": (lambda x, info: save(x, objects_of([1, 2])), "22.npy", "features are not numbers .n, d."),
    "features of dictionaries": (lambda x, info: save(x, np.array({"a": 1})), "22.npy", "features are not numbers"),
    "features of fields": (lambda x, info: save(x, np.zeros(3, "f4,f4")), "22.npy", "features are not numbers"),
    "features with a broken header": (
        lambda x, info: rewrite(x, lambda b: b.replace(b"'descr'", b"'dexcr'")),
        "22.npy",
        "features cannot be read",
    ),
    "features with code in the header": (
        lambda x, info: rewrite(x, lambda b: b.replace(b"'<f4'", b"1+11)")),
        "22.npy",
        "features cannot be read",
    ),
    "features that are text": (lambda x, info: x.write_text("0.5 0.5"), "22.npy", "features cannot be read"),
    "features that are a pickle": (
        lambda x, info: x.write_bytes(pickle.dumps(np.ones((4, 8)))),
        "22.npy",
        "features cannot be read",
    ),
    "information empty": (lambda x, info: info.write_bytes(b""), "22_info.npy", "information cannot be used"),
    "information cut": (lambda x, info: rewrite(info, lambda b: b[:-9]), "22_info.npy", "information cannot be used"),
    "information of numbers": (lambda x, info: save(info, np.ones(3)), "22_info.npy", "it is an array of float64"),
    "information of a list": (
        lambda x, info: save(info, objects_of([{}])),
        "22_info.npy",
        "not a dictionary: array of",
    ),
    "information of a word": (lambda x, info: save(info, np.array("x", object)), "22_info.npy", "not a dictionary"),
    "information without an array": (
        lambda x, info: rewrite(info, lambda b: b[:128] + pickle.dumps({"a": 1})),
        "22_info.npy",
        "does not hold the array",
    ),
    "information of another shape": (
        lambda x, info: set_npy_header(info, shape=(7,)),
        "22_info.npy",
        "does not hold the array",
    ),
    "information that is text": (lambda x, info: info.write_text("{}"), "22_info.npy", "information cannot be used"),
    "information that is a folder": (
        lambda x, info: (info.unlink(), info.mkdir()),
        "22_info.npy",
        "information cannot be read",
    ),
}


@pytest.mark.parametrize("case", MMF_FILES)
def test_mmf_files(case: str, tmp_path: Path) -> None:
    change, file, message = MMF_FILES[case]
    source, good = (write_mmf_folder(tmp_path / name, three_mmf()) for name in ("damaged", "good"))
    change(source / "22.npy", info_file(source, "22"))
    check_policies(source, good, tmp_path, write_labels(tmp_path), message, file, ["11", "33"])


# --- what is meant ill


class Call:
    """Calls something when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any):
        self._reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


def touch(victim: Path) -> str:
    return f"open({str(victim)!r}, 'w').close()"


ATTACKS: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda victim: Call(os.system, f"touch '{victim}'"),
    "os.mkdir": lambda victim: Call(os.mkdir, str(victim)),
    "eval": lambda victim: Call(eval, touch(victim)),
    "exec": lambda victim: Call(exec, touch(victim)),
    "getattr of a module": lambda victim: Call(map, Call(getattr, Call(__import__, "os"), "mkdir"), [str(victim)]),
    "attrgetter": lambda victim: Call(operator.attrgetter("mkdir"), Call(__import__, "os")),
    "partial": lambda victim: Call(functools.partial(os.mkdir, str(victim))),
    "object of another class": lambda victim: Call(copyreg._reconstructor, Path, object, None),
    "pickle in a pickle": lambda victim: Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(victim)))),
    "numpy runstring": lambda victim: Call(np.testing.runstring, touch(victim), {}),
    "numpy memmap": lambda victim: Call(np.memmap, str(victim), "u1", "w+", 0, (1,)),
    "numpy savetxt": lambda victim: Call(np.savetxt, str(victim), [1]),
    "numpy load": lambda victim: Call(np.load, str(victim)),
    "numpy array of any size": lambda victim: Call(np.ndarray, (10**11,)),
    "bytes of any size": lambda victim: Call(bytes, 10**11),
}


@pytest.mark.parametrize("place", ["info", "inside of an array", "record", "features", "keys", "beside the keys"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_is_run(attack: str, place: str, tmp_path: Path) -> None:
    victim = tmp_path / VICTIM
    evil = ATTACKS[attack](victim)
    labels = write_labels(tmp_path)
    if place in ("info", "inside of an array"):
        images = three_mmf(set_info(cls_prob=evil if place == "info" else objects_of([[evil]])))
        source, good = (write_mmf_folder(tmp_path / name, three_mmf()) for name in ("damaged", "good"))
        save(info_file(source, "22"), np.array(images[1].info, dtype=object))
        check_policies(
            source,
            good,
            tmp_path,
            labels,
            "information cannot be used: it (contains|cannot be read)",
            "22_info.npy",
            ["11", "33"],
        )
    elif place in ("record", "features"):
        good = write_mmf_lmdb(tmp_path / "good", three_mmf())
        source = write_mmf_lmdb(tmp_path / "damaged", three_mmf(set_features(lambda _: evil)))
        if place == "record":
            write_lmdb(source, {b"22": pickle.dumps(evil)})
        check_policies(
            source,
            good,
            tmp_path,
            labels,
            "record cannot be used: it (contains|cannot be read)",
            "data.mdb",
            ["11", "33"],
        )
    else:
        source = write_mmf_lmdb(tmp_path / "damaged", three_mmf())
        write_lmdb(source, {b"keys": pickle.dumps(evil if place == "keys" else [b"11", evil])})
        for policy in ("error", "skip"):
            with pytest.raises(InputError, match=r"record 'keys': (contains .*, which could run code|cannot be read)"):
                run(source, tmp_path / policy, policy, labels)
    assert not victim.exists()


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in ("numpy load", "attrgetter")])
def test_the_attacks_are_none_of_ours(attack: str, tmp_path: Path) -> None:
    # That they are pickles that a plain reader follows, where that is harmless.
    victim = tmp_path / VICTIM
    content = pickle.dumps(ATTACKS[attack](victim))
    if "any size" not in attack:
        with contextlib.suppress(TypeError):
            result = pickle.loads(content)
            if isinstance(result, map):
                list(result)
        assert victim.exists() or attack == "object of another class"


def test_torch_tensors_have_a_remedy(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    labels = write_labels(tmp_path)
    good = write_mmf_lmdb(tmp_path / "good", three_mmf())
    source = write_mmf_lmdb(tmp_path / "damaged", three_mmf(set_info(bbox=torch.ones(3, 4))))
    check_policies(source, good, tmp_path, labels, "torch tensors are not read.*numpy", "data.mdb", ["11", "33"])


# --- LMDBs


MMF_RECORDS: dict[str, tuple[dict[bytes, bytes], str]] = {
    "record cut": (
        {b"22": pickle.dumps({"features": np.ones((4, 8))})[:-40]},
        "record cannot be used: it cannot be read",
    ),
    "record empty": ({b"22": b""}, "record cannot be used: it cannot be read"),
    "record of JSON": ({b"22": b'{"features": []}'}, "record cannot be used: it cannot be read"),
    "record of a list": ({b"22": pickle.dumps([1, 2])}, r"record is not a dictionary: \[1, 2\]"),
    "record of an array": ({b"22": pickle.dumps(np.ones(3))}, "record is not a dictionary"),
    "record of nothing": ({b"22": pickle.dumps({})}, "features is not an array: None"),
    "record with features only": ({b"22": pickle.dumps({"features": np.ones((4, 8))})}, "image_width is not a size"),
    "id without a record": (
        {b"keys": pickle.dumps([b"11", b"99", b"33"])},
        r"listed under 'keys' but has no record: 99",
    ),
    "id twice": ({b"keys": pickle.dumps([b"11", b"33", b"33"])}, "image id occurs twice: 33"),
    "id not UTF-8": (
        {b"keys": pickle.dumps([b"11", b"\xff2", b"33"])},
        r"image id cannot be used: b'\\xff2' is not UTF-8",
    ),
    "id with a line break": (
        {b"keys": pickle.dumps([b"11", b"2\n2", b"33"])},
        "image id cannot be used: .* line break",
    ),
    "id empty": ({b"keys": pickle.dumps([b"11", b"", b"33"])}, "image id cannot be used"),
    "id half a character": ({b"keys": pickle.dumps(["11", "\ud800", "33"])}, "image id cannot be used"),
}


@pytest.mark.parametrize("case", MMF_RECORDS)
def test_mmf_records(case: str, tmp_path: Path) -> None:
    changes, message = MMF_RECORDS[case]
    source, good = (write_mmf_lmdb(tmp_path / name, three_mmf()) for name in ("damaged", "good"))
    write_lmdb(source, changes)
    file = "data.mdb" if case != "id twice" else ""
    if case == "id empty":
        # Nothing that could be named.
        with pytest.raises(InputError, match=message):
            run(source, tmp_path, "error", write_labels(tmp_path))
        return
    check_policies(source, good, tmp_path, write_labels(tmp_path), message, file, ["11", "33"])


BAD_KEYS: dict[str, tuple[bytes, str]] = {
    "not a list": (pickle.dumps({"11": 1}), "is no list"),
    "a word": (pickle.dumps("11"), "is no list .11."),
    "of numbers": (pickle.dumps([b"11", 22]), "entry 1 is 22, no id"),
    "of lists": (pickle.dumps([[b"11"]]), "entry 0 is"),
    "cut": (pickle.dumps([b"11", b"22"])[:-3], "cannot be read"),
    "text": (b"11\n22\n", "cannot be read"),
    "empty": (b"", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_lists_of_ids(case: str, tmp_path: Path) -> None:
    content, message = BAD_KEYS[case]
    source = write_mmf_lmdb(tmp_path / "damaged", three_mmf())
    write_lmdb(source, {b"keys": content})
    for policy in ("error", "skip"):
        with pytest.raises(InputError, match=message) as error:
            run(source, tmp_path / policy, policy, write_labels(tmp_path))
        assert error.value.where == f"{source / 'data.mdb'}, record 'keys'"


@pytest.mark.parametrize("size", [0, 100, 4096, 9000, -1])
def test_lmdbs_that_are_cut(size: int, tmp_path: Path) -> None:
    source = write_mmf_lmdb(tmp_path / "damaged", three_mmf())
    data = source / "data.mdb"
    os.truncate(data, data.stat().st_size + size if size < 0 else size)
    for policy in ("error", "skip"):
        with pytest.raises(InputError, match=r"cannot be read as an LMDB|has no list of images") as error:
            run(source, tmp_path / policy, policy, write_labels(tmp_path))
        assert error.value.where.startswith(str(source))


def test_nothing_in_it(tmp_path: Path) -> None:
    labels = write_labels(tmp_path)
    for source in (
        write_lmdb(tmp_path / "lmdb", {b"keys": pickle.dumps([])}),
        write_folder(tmp_path / "vinvl", [FakeImage("1", confidence=[2, 2])]),
    ):
        with pytest.raises(InputError, match="no image can be used"):
            run(source, tmp_path / f"{source.name}-out", "skip", labels)
