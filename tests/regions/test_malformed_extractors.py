"""Every field of the other extractors' files, broken in each way that is to be expected, and some that are meant ill.

As in :mod:`tests.regions.test_malformed_regions`, of three images the second is damaged.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from tests.regions import extractor_files as files
from tests.regions.extractor_files import Detected, detected, in_base64
from tests.regions.mmf_files import write_labels, write_lmdb
from tests.regions.test_malformed_regions import IDS, check_policies, objects_of, run

GOOD = [detected(image_id) for image_id in IDS]
Lines = list[bytes]


def lines_of(write: Callable[[Path, Any], Path], folder: Path, name: str) -> Lines:
    return (write(folder, GOOD) / name).read_bytes().splitlines(keepends=True)


# --- TSV files of bottom-up-attention and LXMERT


def check_damaged(lines: Lines, case: tuple[Callable[[Lines], Any], str], folder: Path, label_map: Path | None) -> None:
    """The second image is the one that is left out, with the message."""
    change, message = case
    change(lines)
    source = folder / "damaged.tsv"
    source.write_bytes(b"".join(lines))
    check_policies(source, folder / "good", folder, label_map, message, "", ["11", "33"])


def column(number: int, value: bytes) -> Callable[[Lines], None]:
    """Set a column of the second line."""

    def change(lines: Lines) -> None:
        columns = lines[1].rstrip(b"\r\n").split(b"\t")
        columns[number] = value
        lines[1] = b"\t".join(columns) + b"\r\n"

    return change


def numbers(number: int, dtype: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Lines], None]:
    """Change the numbers of a column of the second line."""
    import base64

    def apply(lines: Lines) -> None:
        raw = base64.b64decode(lines[1].rstrip(b"\r\n").split(b"\t")[number])
        column(number, in_base64(change(np.frombuffer(raw, dtype).copy())).encode())(lines)

    return apply


def at(place: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.concatenate([array[:place], [value], array[place + 1 :]]).astype(array.dtype)


BUA: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "id empty": (column(0, b""), "image id cannot be used: '' cannot be"),
    "id not UTF-8": (column(0, b"2\xff"), r"image id cannot be used: b'2\\xff'"),
    "id too long": (column(0, b"2" * 512), "the id has 512 bytes, at most 511"),
    "id twice": (column(0, b"11"), "image id occurs twice: 11"),
    "width zero": (column(1, b"0"), "image_w is not a size in pixels: b'0'"),
    "width negative": (column(1, b"-640"), "image_w is not a size in pixels: b'-640'"),
    "height a fraction": (column(2, b"480.0"), "image_h is not a size in pixels: b'480.0'"),
    "height absurd": (column(2, b"9" * 5000), "image_h is not a size in pixels: b'999"),
    "count a word": (column(3, b"five"), "number of regions is not a number: b'five'"),
    "count negative": (column(3, b"-5"), "number of regions is not a number: b'-5'"),
    "count too small": (column(3, b"4"), "boxes have the wrong number of bytes: 80 bytes, expected 64"),
    "count too large": (column(3, b"6"), "boxes have the wrong number of bytes: 80 bytes, expected 96"),
    "count absurd": (column(3, b"999999999"), "80 bytes, expected 15999999984"),
    "boxes missing": (column(4, b""), "boxes have the wrong number of bytes: 0 bytes"),
    "boxes not base64": (column(4, b"!!!!"), "boxes are not base64"),
    "boxes cut": (lambda lines: column(4, lines[1].split(b"\t")[4][:-2])(lines), "boxes are not base64"),
    "boxes cut within a number": (column(4, b"AAAA"), "3 bytes, which are no numbers of 4 bytes"),
    "box NaN": (numbers(4, "<f4", at(2, np.nan)), "box is not finite: region 0: .*nan"),
    "box infinite": (numbers(4, "<f4", at(6, np.inf)), "box is not finite: region 1"),
    "box outside": (numbers(4, "<f4", at(2, 900)), "box outside the image: region 0: .* in an image of 640 x 480"),
    "box reversed": (numbers(4, "<f4", at(18, -3)), "box ends before it begins: region 4"),
    "boxes relative": (numbers(4, "<f4", lambda it: it / 1000), "boxes seem to be relative to the image"),
    "features not base64": (column(5, b"[0.5]"), "features are not base64"),
    "features beyond ASCII": (column(5, "é".encode()), "features are not base64"),
    "features cut": (lambda lines: column(5, lines[1].split(b"\t")[5][:40])(lines), "30 bytes, expected 160"),
    "features of another width": (numbers(5, "<f4", lambda it: it[:35]), "140 bytes, expected 160 .5 regions x 8"),
    "feature NaN": (numbers(5, "<f4", at(11, np.nan)), "feature is not a finite number: nan at region 1, number 3"),
    "feature too large": (numbers(5, "<f4", at(0, 1e6)), "feature does not fit into 16 bits: 1000000.0 at region 0"),
    "a column too few": (lambda lines: lines.__setitem__(1, b"22\t640\t480\n"), "line has not 6 columns: it has 3"),
    "a column too many": (column(5, b"AAAA\tAAAA"), "line has not 6 columns: it has 7"),
    "line empty": (lambda lines: lines.__setitem__(1, b"\n"), "line has not 6 columns: it has 1"),
    "line of zeros": (lambda lines: lines.__setitem__(1, bytes(1000) + b"\n"), "line has not 6 columns"),
}


@pytest.mark.parametrize("case", BUA)
def test_bottom_up_tsv(case: str, tmp_path: Path) -> None:
    lines = lines_of(files.write_bottom_up, tmp_path / "good", "test_36.tsv")
    check_damaged(lines, BUA[case], tmp_path, None)


LXMERT: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "height zero": (column(1, b"0"), "img_h is not a size in pixels: b'0'"),
    "width a word": (column(2, b"wide"), "img_w is not a size in pixels: b'wide'"),
    "classes not base64": (column(3, b"dog"), "objects_id are not base64"),
    "classes too few": (numbers(3, "<i8", lambda it: it[:4]), "objects_id have the wrong number of bytes: 32 bytes"),
    "classes of 32 bits": (numbers(3, "<i8", lambda it: it.astype("<i4")), "20 bytes, which are no numbers of 8 bytes"),
    "class beyond the map": (numbers(3, "<i8", at(2, 4)), "class is not in the label map: region 2: 4"),
    "class negative": (numbers(3, "<i8", at(2, -1)), "class is not in the label map: region 2: -1"),
    "confidence NaN": (numbers(4, "<f4", at(1, np.nan)), "confidence is not between 0 and 1: region 1: nan"),
    "confidence too high": (numbers(4, "<f4", at(1, 1.5)), "confidence is not between 0 and 1: region 1: 1.5"),
    "confidences too many": (numbers(4, "<f4", lambda it: np.append(it, it)), "objects_conf have the wrong number"),
    "attributes cut": (column(5, b"AAA"), "attrs_id are not base64"),
    "attribute confidences cut": (column(6, b"AAAA"), "attrs_conf have the wrong number of bytes: 3 bytes"),
    "count a word": (column(7, b"x"), "number of regions is not a number"),
    "box NaN": (numbers(8, "<f4", at(2, np.nan)), "box is not finite: region 0"),
    "feature infinite": (numbers(9, "<f4", at(0, np.inf)), "feature is not a finite number: inf"),
    "a column too few": (column(8, b"x"), "boxes are not base64"),
    "bottom-up-attention's line": (
        lambda lines: lines.__setitem__(1, files.bottom_up_line(GOOD[1]).encode() + b"\n"),
        "line has not 10 columns: it has 6",
    ),
}


@pytest.mark.parametrize("case", LXMERT)
def test_lxmert_tsv(case: str, tmp_path: Path) -> None:
    lines = lines_of(files.write_lxmert, tmp_path / "good", "test_obj36.tsv")
    check_damaged(lines, LXMERT[case], tmp_path, write_labels(tmp_path))


@pytest.mark.parametrize("name", ["bottom_up", "lxmert"])
def test_a_file_that_is_cut(name: str, tmp_path: Path) -> None:
    write, file = {
        "bottom_up": (files.write_bottom_up, "test_36.tsv"),
        "lxmert": (files.write_lxmert, "test_obj36.tsv"),
    }[name]
    labels = write_labels(tmp_path) if name == "lxmert" else None
    whole = (write(tmp_path / "whole", GOOD) / file).read_bytes()
    source = tmp_path / "cut.tsv"
    source.write_bytes(whole[:-30])
    counts = run(source, tmp_path, "skip", labels)
    assert (counts["images"], counts["skipped"]) == (2, 1)
    with pytest.raises(InputError, match="has rows of 8 numbers, whereas region_options.feature_dim=2048"):
        from mmf_muvla.regions.importing import import_regions
        from mmf_muvla.regions.options import RegionOptions

        import_regions([source], RegionOptions(label_map=labels and str(labels)), "skip", 1.0, tmp_path / "other")


# --- scene_graph_benchmark


def entry(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["objects"][1].update(changes)


SGB: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "feature missing": (lambda it: it["objects"][1].pop("feature"), "object has no feature: object 1: None"),
    "feature a list": (entry(feature=[0.5] * 8), r"object has no feature: object 1: \[0.5"),
    "feature not base64": (entry(feature="!!!!"), "features are not base64: object 1: "),
    "feature beyond ASCII": (entry(feature="ééé"), "features are not base64: object 1"),
    "feature cut": (entry(feature=in_base64(GOOD[1].features[1])[:20]), "wrong number of bytes: object 1: 15 bytes"),
    "feature of another width": (entry(feature=in_base64(np.ones(9, np.float32))), "36 bytes, expected 32"),
    "feature with a box, of one alone": (
        entry(feature=in_base64(np.ones(14, np.float32))),
        "features of objects differ in length: there are 8 and 14 numbers",
    ),
    "feature NaN": (entry(feature=in_base64(np.full(8, np.nan, np.float32))), "not a finite number: nan at region 1"),
    "rect NaN": (entry(rect=[0, 0, float("nan"), 9]), r"rect is not four numbers: object 1: \[0, 0, nan, 9\]"),
    "rect of three": (entry(rect=[0, 0, 9]), "rect is not four numbers: object 1"),
    "rect reversed": (entry(rect=[9, 9, 5, 5]), "box ends before it begins: region 1"),
    "class a number": (entry(**{"class": 3.5}), "class is not a name: object 1: 3.5"),
    "conf too high": (entry(conf=1.5), "conf is not between 0 and 1: object 1: 1.5"),
    "objects missing": (lambda it: it.pop("objects"), "predictions have no list 'objects'"),
    "object a word": (lambda it: it["objects"].__setitem__(1, "dog"), "object is not a JSON object: object 1: dog"),
    "a size of words": (lambda it: it.update(image_w="w", image_h=480), "image_w and image_h are not a size in pixels"),
}


@pytest.mark.parametrize("case", SGB)
def test_scene_graph_benchmark(case: str, tmp_path: Path) -> None:
    change, message = SGB[case]
    good = files.write_sgb(tmp_path / "good", GOOD)
    source = files.write_sgb(tmp_path / "damaged", GOOD)
    image_id, text = (good / "predictions.tsv").read_text().splitlines()[1].split("\t")
    content = json.loads(text)
    change(content)
    replace_line(source / "predictions.tsv", f"{image_id}\t{json.dumps(content)}".encode())
    check_policies(source, good, tmp_path, None, message, "predictions.tsv", ["11", "33"])


SGB_LINES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "line is not 'image id, tab, JSON'"),
    "no tab": (b"22 {}", "line is not 'image id, tab, JSON'"),
    "no JSON": (b"22\t{", "predictions are not JSON"),
    "nested": (b"22\t" + b"[" * 100_000, "predictions are not JSON"),
    "many values": (b"22\t[" + b"{}," * 600_000 + b"{}]", "predictions are not JSON: more than 500,000 values"),
    "id empty": (b"\t{}", "image id cannot be used"),
    "id not UTF-8": (b'2\xff\t{"objects": []}', "image id cannot be used"),
    "id twice": (files.sgb_line(GOOD[0]).encode(), "image id occurs twice: 11"),
}


def replace_line(file: Path, line: bytes) -> None:
    lines = file.read_bytes().splitlines()
    lines[1] = line
    file.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("case", SGB_LINES)
def test_lines_of_scene_graph_benchmark(case: str, tmp_path: Path) -> None:
    line, message = SGB_LINES[case]
    good, source = (files.write_sgb(tmp_path / name, GOOD) for name in ("good", "damaged"))
    replace_line(source / "predictions.tsv", line)
    check_policies(source, good, tmp_path, None, message, "", ["11", "33"])


def test_images_without_objects(tmp_path: Path) -> None:
    source = files.write_sgb(tmp_path / "source", GOOD)
    replace_line(source / "predictions.tsv", b'22\t{"objects": []}')
    counts = run(source, tmp_path, "error", None)
    assert (counts["images"], counts["images_without_regions"], counts["skipped"]) == (2, 1, 0)


# --- Oscar


OSCAR: dict[str, tuple[bytes, str, int]] = {
    "no tab": (b"22", "line is not 'image id, tab, JSON'", 1),
    "no JSON": (b"22\t{", "features are not JSON", 1),
    "nested": (b"22\t" + b"[" * 100_000, "features are not JSON", 1),
    "a list": (b"22\t[]", "features are not an object with 'features' in base64", 1),
    "features a list": (b'22\t{"num_boxes": 5, "features": [0.5]}', "features are not an object", 1),
    "count missing": (b'22\t{"features": "AAAA"}', "number of regions is not a number: b'None'", 1),
    "count a fraction": (b'22\t{"num_boxes": 5.0, "features": "AAAA"}', "number of regions is not a number: b'5.0'", 1),
    "count absurd": (b'22\t{"num_boxes": 1' + b"0" * 3000 + b', "features": "AAAA"}', "is not a number", 1),
    "features cut": (b'22\t{"num_boxes": 5, "features": "AAAA"}', "3 bytes, expected 160", 1),
    "features not base64": (b'22\t{"num_boxes": 5, "features": "!"}', "features are not base64", 1),
    "features half a character": (b'22\t{"num_boxes": 5, "features": "\\ud800"}', "features are not base64", 1),
    "fewer regions than labels": (
        f'22\t{{"num_boxes": 1, "features": "{in_base64(GOOD[1].features[0])}"}}'.encode(),
        "features and predictions differ in the number of regions: 1 and 5",
        1,
    ),
    "another id": (files.oscar_lines(detected("44"))[0].encode(), "no usable line of test.label.tsv starts with 44", 2),
}


@pytest.mark.parametrize("case", OSCAR)
def test_features_of_oscar(case: str, tmp_path: Path) -> None:
    line, message, listed = OSCAR[case]
    good, source = (files.write_oscar(tmp_path / name, GOOD) for name in ("good", "damaged"))
    replace_line(source / "test.feature.tsv", line)
    # An image whose line cannot be read has labels that are left over, unless its id is known.
    check_policies(source, good, tmp_path, None, message, "test.feature.tsv", ["11", "33"], listed)


def test_labels_of_oscar(tmp_path: Path) -> None:
    good, source = (files.write_oscar(tmp_path / name, GOOD) for name in ("good", "damaged"))
    objects = GOOD[1].objects()
    objects[2]["rect"] = [0, 0, None, 9]
    replace_line(source / "test.label.tsv", f"22\t{json.dumps(objects)}".encode())
    message = r"rect is not four numbers: object 2: \[0, 0, None, 9\]"
    check_policies(source, good, tmp_path, None, message, "test.label.tsv", ["11", "33"])
    (source / "test.label.tsv").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        run(source, tmp_path / "empty", "skip", None)


@pytest.mark.parametrize("content", ["feature: [", "- feature", "feature: absent.tsv", "a: 1", "feature: {a: 1}", ""])
def test_yamls_that_name_nothing(content: str, tmp_path: Path) -> None:
    file = files.write_oscar(tmp_path, GOOD) / "test.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match="not a file beside it|of no format that is understood"):
        run(file, tmp_path, "skip", None)


# --- bottom-up-attention.pytorch


def arrays(**changes: Any) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = {**files.npz_arrays(GOOD[1]), **changes}
        np.savez_compressed(file, **{name: value for name, value in content.items() if value is not None})

    return change


def info(**changes: Any) -> Callable[[Path], None]:
    return arrays(info={**files.npz_arrays(GOOD[1])["info"], **changes})


def member(content: bytes, name: str = "x.npy", **entry: Any) -> Callable[[Path], None]:
    """Replace a member by other bytes."""

    def change(file: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            members = {it: archive.read(it) for it in archive.namelist()} | {name: content}
        with zipfile.ZipFile(file, "w", **entry) as archive:
            for it, value in members.items():
                archive.writestr(it, value)

    return change


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(change(file.read_bytes()))


def announce(shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return content.getvalue() + bytes(160)


def zeros_of(size: int) -> bytes:
    return npy(np.zeros((size // 32, 8), np.float32))


def lie(file: Path) -> None:
    """Say of x that it has a hundred bytes, though it unpacks to thirty megabytes."""
    member(zeros_of(3 * 10**7), compression=zipfile.ZIP_DEFLATED)(file)
    size = len(zeros_of(3 * 10**7)).to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(size, (100).to_bytes(4, "little")))


class Attack:
    """Would write a file when it is unpickled."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch victim",)


NPZ: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (rewritten(lambda it: b""), "file cannot be read as .npz"),
    "text": (rewritten(lambda it: b"x, bbox"), "file cannot be read as .npz: File is not a zip file"),
    "cut": (rewritten(lambda it: it[:-100]), "file cannot be read as .npz"),
    "a byte changed": (
        rewritten(lambda it: it[:80] + bytes([it[80] ^ 255]) + it[81:]),
        "file cannot be read as .npz|x cannot be read",
    ),
    "an .npy": (rewritten(lambda it: npy(np.ones((5, 8)))), "file cannot be read as .npz"),
    "x missing": (arrays(x=None), "there is no x: there are bbox.npy, "),
    "x of integers": (arrays(x=np.ones((5, 8), int)), "features have another shape: array of int64"),
    "x of one axis": (arrays(x=np.ones(40, np.float32)), r"x are not numbers \[n, d\]: array of float32"),
    "x of words": (arrays(x=np.full((5, 8), "a")), "x are not numbers"),
    "x of objects": (arrays(x=objects_of([1, 2])), "x are not numbers"),
    "x NaN": (arrays(x=np.full((5, 8), np.nan, np.float32)), "feature is not a finite number: nan"),
    "x of another width": (arrays(x=np.ones((5, 9), np.float32)), r"shape \(5, 9\), expected \[n, 8\]"),
    "x too short": (member(npy(np.ones((5, 8), np.float32))[:-4]), "x have the wrong number of bytes: 156 bytes of"),
    "x of an absurd shape": (member(announce((10**12, 8))), "160 bytes of 32000000000000"),
    "x of no size": (member(announce((10**15, 0))), "160 bytes of 0"),
    "x no .npy": (member(b"0.5 0.5"), "x cannot be read: it cannot be read as an .npy file"),
    "x of gigabytes": (
        member(zeros_of(10**8), compression=zipfile.ZIP_DEFLATED),
        "arrays are too large: 1000.* bytes, at most 33554432 are read",
    ),
    "x larger than it says": (lie, "file cannot be read as .npz|x have the wrong number of bytes"),
    "x compressed otherwise": (
        member(npy(np.ones((5, 8), np.float32)), compression=zipfile.ZIP_LZMA),
        "compressed in another way than NumPy does",
    ),
    "bbox missing": (arrays(bbox=None), "there is no bbox"),
    "bbox too few": (arrays(bbox=GOOD[1].boxes[:3]), "num_boxes exceeds the regions: 5 of 5 features, 3 boxes"),
    "bbox of three": (arrays(bbox=np.ones((5, 3))), "bbox is not four numbers a region"),
    "bbox NaN": (arrays(bbox=np.full((5, 4), np.nan)), "box is not finite: region 0"),
    "bbox outside": (arrays(bbox=np.full((5, 4), [0, 0, 900, 9.0])), "box outside the image: region 0"),
    "bbox of objects": (arrays(bbox=objects_of([1, 2])), "bbox are not numbers"),
    "num_bbox too large": (arrays(num_bbox=6), "num_boxes exceeds the regions: 6 of 5 features"),
    "num_bbox negative": (arrays(num_bbox=-1), "num_boxes is not a number: -1"),
    "num_bbox a list": (arrays(num_bbox=[5, 5]), "num_bbox are not numbers"),
    "width zero": (arrays(image_w=0), "image_width is not a size in pixels: 0"),
    "height missing": (arrays(image_h=None), "image_height is not a size in pixels: None"),
    "height a fraction": (arrays(image_h=480.5), "image_height is not a size in pixels: 480.5"),
    "info a word": (arrays(info=np.array("x", object)), "info is not a dictionary"),
    "info of numbers": (arrays(info=np.ones(3)), "info cannot be used: it is an array of float64"),
    "info with code": (
        arrays(info=np.array({"objects_id": Attack()}, object)),
        "info cannot be used: .*could run code",
    ),
    "classes missing": (info(objects_id=None), "there is no objects"),
    "classes too few": (info(objects_id=np.arange(3)), "num_boxes exceeds the regions: 5 of .* 3 objects"),
    "class beyond the map": (info(objects_id=np.full(5, 9)), "class is not in the label map: region 0: 9"),
    "class a fraction": (info(objects_id=np.full(5, 0.5)), "class is not in the label map: region 0: 0.5"),
    "confidence NaN": (info(objects_conf=np.full(5, np.nan)), "confidence is not between 0 and 1"),
}


@pytest.mark.parametrize("case", NPZ)
@pytest.mark.filterwarnings("ignore:.*pickle.*")
def test_bottom_up_npz(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    change, message = NPZ[case]
    good, source = (files.write_npz(tmp_path / name, GOOD) for name in ("good", "damaged"))
    change(source / "22.npz")
    check_policies(source, good, tmp_path, write_labels(tmp_path), message, "22.npz", ["11", "33"])
    assert not (tmp_path / "victim").exists()


# --- ViLBERT


def dictionary(**changes: Any) -> Callable[[Detected], dict[str, Any]]:
    return lambda image: {**files.vilbert_dictionary(image), **changes}


VILBERT: dict[str, tuple[Callable[[Detected], dict[str, Any]], str]] = {
    "features missing": (dictionary(features=None), "features is not an array: None"),
    "features NaN": (dictionary(features=np.full((5, 8), np.nan, np.float32)), "feature is not a finite number"),
    "features of one axis": (dictionary(features=np.ones(40, np.float32)), r"shape \(40,\)"),
    "boxes missing": (dictionary(bbox=None), "there is no bbox"),
    "box NaN": (dictionary(bbox=np.full((5, 4), np.nan)), "box is not finite"),
    "objects too few": (dictionary(objects=np.array([0])), "num_boxes exceeds the regions: 5 of .* 1 objects"),
    "probabilities of one class": (dictionary(cls_prob=np.ones((5, 1), np.float32)), "5 of .* 4 objects"),
    "probabilities too high": (dictionary(cls_prob=np.full((5, 5), 1.5, np.float32)), "confidence is not between"),
    "more classes than names": (dictionary(cls_prob=np.eye(5, 9, 5, np.float32)), "class is not in the label map"),
    "width missing": (dictionary(image_width=None), "image_width is not a size in pixels"),
}


@pytest.mark.parametrize("case", VILBERT)
def test_vilberts_files(case: str, tmp_path: Path) -> None:
    change, message = VILBERT[case]
    good, source = (files.write_vilbert(tmp_path / name, GOOD) for name in ("good", "damaged"))
    np.save(source / "22.npy", np.array(change(GOOD[1]), dtype=object), allow_pickle=True)
    check_policies(source, good, tmp_path, write_labels(tmp_path), message, "22.npy", ["11", "33"])


RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "features not base64": ({"features": b"!!!!"}, "features are not base64"),
    "features beyond ASCII": ({"features": "é"}, "features are not base64"),
    "features cut": ({"features": b"AAAA"}, "3 bytes, which are no numbers of 4 bytes"),
    "features of another count": ({"features": in_base64(np.ones(39, np.float32))}, "156 bytes, for 5 regions"),
    "features of another width": ({"features": in_base64(np.ones(45, np.float32))}, r"shape \(5, 9\), expected"),
    "boxes cut": ({"boxes": in_base64(GOOD[1].boxes)[:-4]}, "boxes have the wrong number of bytes"),
    "boxes too few": ({"boxes": in_base64(GOOD[1].boxes[:4])}, "boxes have the wrong number of bytes"),
    "boxes of five": ({"boxes": in_base64(np.ones((5, 5), np.float32))}, "bbox is not four numbers a region"),
    "count missing": ({"num_boxes": None}, "num_boxes is not a number: None"),
    "count negative": ({"num_boxes": -5}, "num_boxes is not a number: -5"),
    "count absurd": ({"num_boxes": 10**400}, "it contains a number of 1329 bits"),
    "count too large": ({"num_boxes": 6}, "have the wrong number of bytes: .* for 6 regions"),
    "count zero": ({"num_boxes": 0}, "have the wrong number of bytes: .* for 0 regions"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_vilberts_records(case: str, tmp_path: Path) -> None:
    changes, message = RECORDS[case]
    good, source = (files.write_vilbert_texts(tmp_path / name, GOOD) for name in ("good", "damaged"))
    write_lmdb(source, {b"22": pickle.dumps({**files.vilbert_record(GOOD[1], text=True), **changes})})
    check_policies(source, good, tmp_path, None, message, "data.mdb", ["11", "33"])
