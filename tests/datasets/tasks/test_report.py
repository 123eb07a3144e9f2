"""Images that nobody knows and texts in two splits are reported; nothing is written where nothing fits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.command import convert_command
from mmf_muvla.errors import InputError
from tests.datasets.small_tasks import write_regions
from tests.datasets.tasks import test_nlvr2, test_refcoco_plus, test_snli_ve, test_vqa2
from tests.datasets.tasks.test_command import rows, write_vqa2

TASK_FILES: dict[str, dict[str, list[Any]]] = {
    "nlvr2": {
        "train.json": [test_nlvr2.example("train-1-0-0"), test_nlvr2.example("train-2-0-0")],
        "dev.json": [test_nlvr2.example("dev-850-0-0"), test_nlvr2.example("train-2-0-0")],
    },
    "visual_entailment": {
        "snli_ve_train.jsonl": [test_snli_ve.example("1.jpg#0r1n"), test_snli_ve.example("2.jpg#0r1n")],
        # Another pair by its number, and the same to who reads it.
        "snli_ve_test.jsonl": [
            test_snli_ve.example("3.jpg#0r1n"),
            test_snli_ve.example("2.jpg#1r2e", sentence2="animals  are Moving."),
        ],
    },
}


def write_lines(folder: Path, task: str) -> None:
    for name, records in TASK_FILES[task].items():
        (folder / name).write_text("".join(f"{json.dumps(record)}\n" for record in records))


def convert(task: str, folder: Path, *options: str) -> None:
    convert_command([f"task={task}", f"source={folder}", f"out={folder / 'out'}", "min_occurrences=1", *options])


# ---- splits


@pytest.mark.parametrize(("task", "pair"), [("nlvr2", "train-2-0-img0"), ("visual_entailment", "'2'")])
def test_a_pair_in_two_splits_is_counted_and_reported(
    task: str, pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_lines(tmp_path, task)
    convert(task, tmp_path)
    table = rows(capsys.readouterr().out)
    assert table["pairs in other splits"] == ["0", "1"] and table["written"] == ["2", "2"]
    assert table["images in other splits"] == (["0", "2"] if task == "nlvr2" else ["0", "1"])
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("1 of the texts with their images" in message and pair in message for message in messages)


def test_images_in_two_splits_and_questions_there_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    questions = {
        "train": [test_vqa2.question(1, 5), test_vqa2.question(2, 5, "How many?"), test_vqa2.question(3, 6)],
        "val": [test_vqa2.question(4, 5, "Why?"), test_vqa2.question(5, 8), test_vqa2.question(6, 8)],
        "test": [test_vqa2.question(7, 9)],
        # It is a part of test.
        "test-dev": [test_vqa2.question(7, 9)],
    }
    for split, entries in questions.items():
        test_vqa2.write_questions(tmp_path / f"{split}.json", entries)
    convert("vqa2", tmp_path, *(f"questions.{split}={split}.json" for split in questions), "image_key={image_id}")
    table = rows(capsys.readouterr().out)
    assert table["images in other splits"] == ["0", "1", "0", "0"]
    assert table["pairs in other splits"] == ["0"] * 4
    assert table["repeated"] == ["0", "1", "0", "0"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "1 of the images in val are in train as well, e.g. '5': "
        "scores on the one may come from learning the other by heart"
    ]


def test_expressions_of_two_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = test_refcoco_plus.ref(7, 12, 99, "testB", [test_refcoco_plus.sentence(70, "Left of nothing")])
    test_refcoco_plus.write(tmp_path, [*test_refcoco_plus.REFS, again], test_refcoco_plus.INSTANCES)
    convert("refcoco_plus", tmp_path)
    table = rows(capsys.readouterr().out)
    # In the order in which they stand in the file: train, testA, val, testB.
    assert table["pairs in other splits"] == ["0", "0", "0", "1"]
    assert table["images in other splits"] == ["0", "1", "0", "1"]


# ---- images


@pytest.mark.parametrize(
    ("ids", "difference", "remedy"),
    [
        ("1\n2\n11\n", "say 'COCO_train2014_000000000001', image_ids=.* has '1'", r"image_key=\{image_id\}"),
        ("000001\n000002\n", "say 'COCO_train2014_000000000001', image_ids=.* has '000001'", r"\{image_id:06d\}"),
        ("COCO_train2014_000000000001.jpg\n", "has 'COCO_train2014_000000000001.jpg'", r"image_key=\{name\}\.jpg"),
        ("a picture\n", "has 'a picture'", "image_key=…"),
        ("\n", "has none at all", "Give the regions that belong to the annotations"),
    ],
)
def test_no_image_is_known(ids: str, difference: str, remedy: str, tmp_path: Path) -> None:
    write_vqa2(tmp_path)
    (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(InputError, match=rf"none of the 6 records is of images there: .*{difference}.*{remedy}"):
        convert("vqa2", tmp_path, f"image_ids={tmp_path / 'ids.txt'}")
    with pytest.raises(InputError, match=rf"none of the 2 records is of images there: .*{difference}.*{remedy}"):
        convert("vqa2", tmp_path, f"image_ids={tmp_path / 'ids.txt'}", "unknown_images=skip")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("out*"))
    if "{" in remedy:
        template = remedy.replace("\\", "").removeprefix("image_key=")
        convert("vqa2", tmp_path, f"image_ids={tmp_path / 'ids.txt'}", f"image_key={template}")


def test_no_image_is_known_to_a_region_store(tmp_path: Path) -> None:
    write_regions(tmp_path / "regions", images=3)
    for task in TASK_FILES:
        (tmp_path / task).mkdir()
        write_lines(tmp_path / task, task)
    with pytest.raises(InputError, match=r"the annotations say 'train-1-0-img0', image_ids=.*regions has '0'"):
        convert("nlvr2", tmp_path / "nlvr2", f"image_ids={tmp_path / 'regions'}")
    # There are 0, 1 and 2 of 1, 2 and 3.
    convert("visual_entailment", tmp_path / "visual_entailment", f"image_ids={tmp_path / 'regions'}")


def test_hardly_any_image_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_vqa2(tmp_path)
    # One of two is no reason to worry, none of two is.
    (tmp_path / "ids.txt").write_text("COCO_train2014_000000000001\n")
    convert("vqa2", tmp_path, f"image_ids={tmp_path / 'ids.txt'}")
    assert rows(capsys.readouterr().out)["unknown images"] == ["1", "2", "2"]
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2
    assert messages[0].startswith("val: 2 of 2 records are of images that are not there: the annotations say 'COCO_val")


@pytest.mark.parametrize("content", [b"\xff\xfe1\n", b"\x80abc"])
def test_image_ids_that_are_no_text(content: bytes, tmp_path: Path) -> None:
    write_vqa2(tmp_path)
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(InputError, match="image_ids=.*is no text in UTF-8"):
        convert("vqa2", tmp_path, f"image_ids={tmp_path / 'ids.txt'}")


# ---- damaged records


def test_what_is_left_out_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path, "nlvr2")
    with (tmp_path / "dev.json").open("a") as file:
        file.write('{"sentence": NaN}\n[]\n')
    with pytest.raises(InputError, match=r"dev\.json, line 3: sentence is nan"):
        convert("nlvr2", tmp_path)
    assert not list(tmp_path.glob("out*")), "train is not written without val"
    convert("nlvr2", tmp_path, "on_bad_record=skip")
    assert rows(capsys.readouterr().out)["bad records"] == ["0", "2"]
    listed = [json.loads(line) for line in (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()]
    assert [(entry["split"], entry["where"].rpartition(", ")[2]) for entry in listed] == [
        ("val", "line 3"),
        ("val", "line 4"),
    ]
    assert listed[1]["problem"] == "is [], not a JSON object"
    write_lines(tmp_path, "nlvr2")
    convert("nlvr2", tmp_path)
    assert not (tmp_path / "out" / "left_out.jsonl").exists()


def test_objects_without_a_split_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refs = [*test_refcoco_plus.REFS, None, {"ref_id": 8, "split": 7}]
    test_refcoco_plus.write(tmp_path, refs, test_refcoco_plus.INSTANCES)
    with pytest.raises(InputError, match="object number 4: has no split"):
        convert("refcoco_plus", tmp_path)
    convert("refcoco_plus", tmp_path, "on_bad_record=skip")
    assert rows(capsys.readouterr().out)["bad records"] == ["0", "0", "0", "2"]
