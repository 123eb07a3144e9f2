"""Karpathy's split files: what is written of them, and what of images that are missing, doubled, or too many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.command import convert_command
from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.conversion.report import Report
from mmf_muvla.datasets.tasks.retrieval.converter import convert_retrieval
from mmf_muvla.errors import InputError
from mmf_muvla.report.corpus_captions import read_captions

SKIP = Options(on_bad_record="skip")


def image(number: int, split: str = "test", captions: int = 2, **others: Any) -> dict[str, Any]:
    ids = [10 * number + caption for caption in range(captions)]
    sentences = [{"raw": f"A dog, number {it}. ", "tokens": ["a", "dog"], "sentid": it, "imgid": number} for it in ids]
    return {
        "filename": f"{number}.jpg",
        "split": split,
        "imgid": number,
        "sentids": ids,
        "sentences": sentences,
    } | others


def write(folder: Path, images: list[Any], name: str = "dataset_flickr30k.json") -> Path:
    (folder / name).write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    return folder / name


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def convert(folder: Path, images: list[Any], options: Options | None = None) -> dict[str, Any]:
    (folder / "out").mkdir(exist_ok=True)
    return convert_retrieval(write(folder, images), folder / "out", options, Report())


def test_a_line_for_each_caption_of_each_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [image(3, "train"), image(1, "val"), image(2), image(4, "restval"), image(5)])
    out = tmp_path / "out"
    convert_command(["task=flickr30k_retrieval", f"source={tmp_path}", f"out={out}"])
    assert lines(out / "test.jsonl")[1:3] == [
        {"sentid": 21, "imgid": 2, "image_id": "2", "caption": "A dog, number 21."},
        {"sentid": 50, "imgid": 5, "image_id": "5", "caption": "A dog, number 50."},
    ]
    assert [it["imgid"] for it in lines(out / "train.jsonl")] == [3, 3, 4, 4]
    assert [*read_captions(out / "val.jsonl")] == [("1", "A dog, number 10."), ("1", "A dog, number 11.")]
    assert "images" in capsys.readouterr().out


def test_coco_has_names_and_numbers(tmp_path: Path) -> None:
    one = image(7, cocoid=42, filename="COCO_val2014_000000000042.jpg", filepath="val2014")
    write(tmp_path, [one, image(8, cocoid=43)], "dataset_coco.json")
    for key, expected in (("{name}", "COCO_val2014_000000000042"), ("{image_id}", "42")):
        out = tmp_path / expected
        convert_command(["task=coco_retrieval", f"source={tmp_path}", f"out={out}", f"image_key={key}"])
        assert lines(out / "test.jsonl")[0]["image_id"] == expected


def test_images_without_regions_are_counted_and_left_out(tmp_path: Path) -> None:
    images = [image(number) for number in range(1, 5)]
    counts = convert(tmp_path, images, Options(image_ids={"1", "3", "99"}))["test"]
    assert (counts.records, counts.written, counts.unknown_images, counts.images) == (8, 8, 4, 4)
    counts = convert(tmp_path, images, Options(image_ids={"1", "3", "99"}, unknown_images="skip"))["test"]
    assert (counts.records, counts.written, counts.unknown_images, counts.images) == (8, 4, 4, 2)
    assert {it["image_id"] for it in lines(tmp_path / "out" / "test.jsonl")} == {"1", "3"}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (image(1), r"images\[1\]: the image '1.jpg' has imgid 1, as '1.jpg' has"),
        (image(9, filename="other/1.png"), r"images\[1\]: the image 'other/1.png' has the key '1', as '1.jpg' has"),
        (image(9, sentences=image(1)["sentences"]), r"images\[1\]: sentid 10 is there twice"),
        (image(9, split="dev"), r"images\[1\]: split is 'dev'. It must be one of train, restval, val, test"),
        (image(9, split=None), r"images\[1\]: split is None"),
        (image(9, filename=""), r"images\[1\]: filename is ''"),
        (image(9, cocoid="x"), r"images\[1\]: cocoid is 'x', not a whole number"),
        (image(9, sentences={}), r"images\[1\]: sentences are \{\}, not a list"),
        (image(9, sentences=["a"]), r"images\[1\]: a sentence is 'a', not an object"),
        (image(9, sentences=[{"raw": 5, "sentid": 1}]), r"raw of sentid 1 is 5, not a text"),
        (image(9, sentences=[{"raw": " ", "sentid": 1}]), r"raw of sentid 1 has no words"),
        ([], r"images\[1\]: is \[\], not an object"),
    ],
)
def test_what_is_doubled_or_damaged_is_refused_or_left_out(tmp_path: Path, second: Any, message: str) -> None:
    images = [image(1), second, image(2)]
    with pytest.raises(InputError, match=message):
        convert(tmp_path, images)
    counts = convert(tmp_path, images, SKIP)
    assert sum(it.bad_records for it in counts.values()) >= 1
    assert [it["sentid"] for it in lines(tmp_path / "out" / "test.jsonl")] == [10, 11, 20, 21]


def test_captions_that_an_image_has_twice_are_kept_and_counted(tmp_path: Path) -> None:
    twice = image(1, sentences=[{"raw": text, "sentid": it} for it, text in enumerate(("A dog.", "a  dog.", "Two."))])
    counts = convert(tmp_path, [twice, image(2)])["test"]
    assert (counts.written, counts.repeated, counts.images) == (5, 1, 2)


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no file dataset_coco.json"):
        convert_command(["task=coco_retrieval", f"source={tmp_path}", f"out={tmp_path / 'o'}"])
    (tmp_path / "dataset_coco.json").write_text("{}")
    with pytest.raises(InputError, match="has no list 'images'"):
        convert_command(["task=coco_retrieval", f"source={tmp_path}", f"out={tmp_path / 'o'}"])
    write(tmp_path, [], "dataset_coco.json")
    with pytest.raises(InputError, match="none of its records is to be written"):
        convert_command(["task=coco_retrieval", f"source={tmp_path}", f"out={tmp_path / 'o'}"])
