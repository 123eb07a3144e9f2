"""RefCOCO+'s published files, a pickle among them, become the task's files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.refcoco_plus.converter import convert_refcoco_plus
from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import PickleProblem, load_pickle


def pickle_as_python_2(value: Any, protocol: int) -> bytes:
    """What Python 2 writes: its ``str`` (here bytes and ASCII text) is not written as text.

    Protocol 0 is what it takes unless told otherwise; a file written as text has it.
    """
    return (b"\x80\x02" if protocol == 2 else b"") + _item(value, protocol) + b"."


def _item(value: Any, protocol: int) -> bytes:
    if isinstance(value, dict):
        pairs = b"".join(_item(key, protocol) + _item(entry, protocol) + b"s" for key, entry in value.items())
        return (b"}" if protocol == 2 else b"(d") + pairs
    if isinstance(value, list):
        return (b"]" if protocol == 2 else b"(l") + b"".join(_item(entry, protocol) + b"a" for entry in value)
    if value is None:
        return b"N"
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True) if protocol == 2 else b"I%d\n" % value
    if isinstance(value, str) and not value.isascii():
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
    content = value.encode() if isinstance(value, str) else value
    return b"U%c" % len(content) + content if protocol == 2 else b"S" + repr(content)[1:].encode() + b"\n"


def sentence(sent_id: int, text: Any) -> dict[str, Any]:
    small = text if isinstance(text, bytes) else text.lower()
    return {"tokens": small.split(), "raw": text, "sent_id": sent_id, "sent": small}


def ref(ref_id: int, ann_id: int, image_id: int, split: str, sentences: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "sent_ids": [entry["sent_id"] for entry in sentences],
        # It has the object's number in it, and is the name of no file.
        "file_name": f"COCO_train2014_{image_id:012d}_{ref_id}.jpg",
        "ann_id": ann_id,
        "sentences": sentences,
        "split": split,
        "image_id": image_id,
        "category_id": 1,
        "ref_id": ref_id,
    }


def image(image_id: int, width: int, height: int) -> dict[str, Any]:
    return {
        "license": 1,
        "file_name": f"COCO_train2014_{image_id:012d}.jpg",
        "height": height,
        "width": width,
        "id": image_id,
    }


def annotation(ann_id: int, image_id: int, bbox: Any) -> dict[str, Any]:
    return {"id": ann_id, "image_id": image_id, "bbox": bbox, "category_id": 1, "area": 1.0, "iscrowd": 0}


REFS = [
    ref(0, 1719310, 581857, "train", [sentence(0, "THE LADY"), sentence(1, "lady with  the blue shirt ")]),
    ref(1, 11, 581857, "train", [sentence(2, b"caf\xc3\xa9 sign"), sentence(3, "  "), sentence(4, b"caf\xe9")]),
    ref(2, 12, 99, "testA", [sentence(5, "man on top of the Große wall")]),
    ref(3, 13, 99, "val", [sentence(6, "left of nothing")]),
]
INSTANCES = {
    "info": {},
    "licenses": [],
    "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    "images": [image(581857, 427, 640), image(99, 100, 50)],
    "annotations": [
        annotation(1719310, 581857, [103.93, 299.99, 134.22, 177.42]),
        annotation(11, 581857, [0, 0, 427, 640]),
        # A hundredth of a pixel is rounding, more is not.
        annotation(12, 99, [50.0, 10.0, 50.01, 40.0]),
        annotation(13, 99, [-1, 10, 20.5, 40]),
    ],
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path, REFS, INSTANCES)


def write(folder: Path, refs: Any, instances: Any, protocol: int = 0) -> tuple[Path, Path]:
    (folder / "refs(unc).p").write_bytes(pickle_as_python_2(refs, protocol))
    (folder / "instances.json").write_text(json.dumps(instances))
    return folder / "refs(unc).p", folder / "instances.json"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("protocol", [0, 2])
def test_the_files(protocol: int, tmp_path: Path) -> None:
    counts = convert_refcoco_plus(*write(tmp_path, REFS, INSTANCES, protocol), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["testA.jsonl", "train.jsonl", "val.jsonl"]
    train = read(tmp_path / "out" / "train.jsonl")
    assert train[0] == {
        "sent_id": 0,
        "ref_id": 0,
        "ann_id": 1719310,
        "image_id": "COCO_train2014_000000581857",
        "file_name": "COCO_train2014_000000581857.jpg",
        "sentence": "the lady",
        "split": "train",
        # 103.93 + 134.22, 299.99 + 177.42
        "bbox": [103.93, 299.99, 238.15, 477.41],
    }
    assert [(line["sent_id"], line["sentence"]) for line in train] == [
        (0, "the lady"),
        (1, "lady with  the blue shirt"),
        (2, "café sign"),
        (4, "café"),
    ]
    assert [line["sentence"] for line in read(tmp_path / "out" / "testA.jsonl")] == ["man on top of the große wall"]
    assert [line["bbox"] for line in read(tmp_path / "out" / "val.jsonl")] == [[-1.0, 10.0, 19.5, 50.0]]
    assert list(counts) == ["train", "val", "testA"]
    got = counts["train"]
    assert (got.records, got.written, got.empty_expressions, got.objects, got.images) == (5, 4, 1, 2, 1)
    assert [count.boxes_beyond_image for count in counts.values()] == [0, 1, 0]


def test_mmf_reads_the_result(files: tuple[Path, Path], tmp_path: Path) -> None:
    database = pytest.importorskip("mmf.datasets.databases.annotation_database")
    convert_refcoco_plus(*files, tmp_path)
    entries = database.AnnotationDatabase(None, str(tmp_path / "train.jsonl"))
    assert [entries[number]["ref_id"] for number in range(len(entries))] == [0, 0, 1, 1]


def test_images_by_number_and_unknown_ones(files: tuple[Path, Path], tmp_path: Path) -> None:
    options = Options(image_ids={"581857"}, unknown_images="skip", image_key="{image_id}")
    counts = convert_refcoco_plus(*files, tmp_path / "out", options)
    assert {line["image_id"] for line in read(tmp_path / "out" / "train.jsonl")} == {"581857"}
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["train.jsonl"]
    assert list(counts) == ["train"]
    counts = convert_refcoco_plus(*files, tmp_path / "out", Options(image_ids=()))
    assert [(count.written, count.unknown_images) for count in counts.values()] == [(4, 4), (1, 1), (1, 1)]
    with pytest.raises(InputError, match="none of its records"):
        convert_refcoco_plus(*files, tmp_path / "x", Options(image_ids=(), unknown_images="skip"))


class Call:
    """Calls something when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any):
        self._reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused(protocol: int, files: tuple[Path, Path], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    files[0].write_bytes(pickle.dumps([REFS[2], Call(os.mkdir, str(victim))], protocol))
    with pytest.raises(InputError, match="which could run code"):
        convert_refcoco_plus(*files, tmp_path / "out")
    assert not victim.exists() and not (tmp_path / "out").exists()
    pickle.loads(files[0].read_bytes())
    assert victim.exists(), "an attack that does nothing proves nothing"


def test_files_that_are_no_such_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    refs, instances = files
    whole = refs.read_bytes()
    refs.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"refs\(unc\)\.p: cannot be read"):
        convert_refcoco_plus(refs, instances, tmp_path / "out")
    refs.write_bytes(pickle_as_python_2({"refs": []}, 0))
    with pytest.raises(InputError, match="holds a dict, not a list"):
        convert_refcoco_plus(refs, instances, tmp_path / "out")
    refs.write_bytes(pickle_as_python_2([], 0))
    with pytest.raises(InputError, match="none of its records"):
        convert_refcoco_plus(refs, instances, tmp_path / "out")
    with pytest.raises(InputError, match="cannot be read"):
        convert_refcoco_plus(tmp_path / "absent.p", instances, tmp_path / "out")
    refs.write_bytes(whole)
    instances.write_text(json.dumps({"images": []}))
    with pytest.raises(InputError, match="has no list 'annotations'"):
        convert_refcoco_plus(refs, instances, tmp_path / "out")
    assert not (tmp_path / "out").exists()


EXTRA = [sentence(90, "a cat")]
BAD_REFS = {
    "ann_id 77 is not in": ref(9, 77, 99, "val", EXTRA),
    "image_id is 99, but that of annotation 11 581857": ref(9, 11, 99, "val", EXTRA),
    "image_id 500 is not in": ref(9, 500, 500, "val", EXTRA),
    "ref_id is None": ref(9, 12, 99, "val", EXTRA) | {"ref_id": None},
    "sent_id 0 is there twice": ref(9, 12, 99, "val", [sentence(0, "again")]),
    "sentences are None": ref(9, 12, 99, "val", EXTRA) | {"sentences": None},
    "sent of sent_id 90 is None": ref(9, 12, 99, "val", [EXTRA[0] | {"sent": None}]),
    "bbox is None": ref(9, 501, 99, "val", EXTRA),
    "bbox is [0, 0, 10]": ref(9, 502, 99, "val", EXTRA),
    "bbox is [0, 0, 10, nan]": ref(9, 503, 99, "val", EXTRA),
    "bbox [0, 0, 10, 0] has no area": ref(9, 504, 99, "val", EXTRA),
    "bbox [100, 0, 10, 10] has no area inside of the image's 100 x 50 pixels": ref(9, 505, 99, "val", EXTRA),
    "width is 0.5": ref(9, 506, 98, "val", EXTRA),
}
BROKEN = {
    **INSTANCES,
    "images": [*INSTANCES["images"], image(98, 10, 10) | {"width": 0.5}],
    "annotations": [
        *INSTANCES["annotations"],
        annotation(500, 500, [0, 0, 1, 1]),
        annotation(501, 99, None),
        annotation(502, 99, [0, 0, 10]),
        annotation(503, 99, [0, 0, 10, float("nan")]),
        annotation(504, 99, [0, 0, 10, 0]),
        annotation(505, 99, [100, 0, 10, 10]),
        annotation(506, 98, [0, 0, 1, 1]),
    ],
}


@pytest.mark.parametrize("problem", BAD_REFS)
def test_bad_objects(problem: str, tmp_path: Path) -> None:
    files = write(tmp_path, [*REFS, BAD_REFS[problem]], BROKEN)
    with pytest.raises(InputError) as error:
        convert_refcoco_plus(*files, tmp_path / "out")
    assert problem in error.value.problem
    assert str(tmp_path) in error.value.where and error.value.remedy
    assert not (tmp_path / "out").exists()
    counts = convert_refcoco_plus(*files, tmp_path / "out", Options(on_bad_record="skip"))
    assert (counts["val"].written, counts["val"].bad_records) == (1, 1)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (sentence(91, "x") | {"sent": None}, "sent of sent_id 91 is None"),
        (sentence(91, "x") | {"sent": "a\0b"}, "sent of sent_id 91 "),
        (sentence(91, "x") | {"sent_id": "91"}, "sent_id is '91'"),
        (sentence(90, "x"), "sent_id 90 is there twice"),
        (sentence(0, "x"), "sent_id 0 is there twice"),
        (None, "a sentence is None, not a dictionary"),
    ],
)
def test_a_bad_expression_costs_no_other(bad: Any, problem: str, tmp_path: Path) -> None:
    last = ref(9, 12, 99, "val", EXTRA)
    last["sentences"] = [*EXTRA, bad, sentence(92, "a black cat")]
    files = write(tmp_path, [*REFS, last], INSTANCES)
    with pytest.raises(InputError, match=rf"object number 4 \(ref_id 9\): {problem}"):
        convert_refcoco_plus(*files, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    counts = convert_refcoco_plus(*files, tmp_path / "out", Options(on_bad_record="skip"))
    lines = read(tmp_path / "out" / "val.jsonl")
    assert [(line["sent_id"], line["sentence"]) for line in lines[1:]] == [(90, "a cat"), (92, "a black cat")]
    assert (counts["val"].records, counts["val"].written, counts["val"].bad_records) == (4, 3, 1)


def test_a_split_of_another_dataset(tmp_path: Path) -> None:
    files = write(tmp_path, [*REFS, ref(9, 12, 99, "test", EXTRA)], INSTANCES)
    with pytest.raises(InputError, match="object number 4: split is 'test'"):
        convert_refcoco_plus(*files, tmp_path / "out", Options(on_bad_record="skip"))


def test_strings_of_python_2_are_ascii_unless_said_otherwise() -> None:
    content = pickle_as_python_2([b"caf\xc3\xa9"], 0)
    with pytest.raises(PickleProblem):
        load_pickle(content)
    assert load_pickle(content, encoding="utf-8") == ["café"]
    assert load_pickle(content, encoding="latin-1") == ["cafÃ©"]
