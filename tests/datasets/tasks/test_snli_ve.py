"""SNLI-VE's published files become the task's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.visual_entailment.converter import convert_snli_ve
from mmf_muvla.errors import InputError


def example(pair: str, label: Any = "neutral", **changes: Any) -> dict[str, Any]:
    """A record with the fields of the published files; a field that is changed to ``...`` is missing."""
    image = pair.partition("#")[0]
    record = {
        "Flikr30kID": image,
        "annotator_labels": [label],
        "captionID": pair[:-3],
        "gold_label": label,
        "pairID": pair,
        "sentence1": "Two dogs run.",
        "sentence1_binary_parse": "( ( Two dogs ) run )",
        "sentence1_parse": "(ROOT (S (NP (CD Two) (NNS dogs)) (VP (VB run))))",
        "sentence2": "Animals are moving.",
        "sentence2_binary_parse": "( Animals ( are moving ) )",
        "sentence2_parse": "(ROOT (S (NP (NNS Animals)) (VP (VBP are) (VP (VBG moving)))))",
    }
    return {key: value for key, value in (record | changes).items() if value is not ...}


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


RECORDS = [
    example("12.jpg#2r1e", "entailment"),
    example("12.jpg#2r1n", "neutral"),
    example("12.jpg#2r1c", "-"),
    example("345.jpg#0r1c", "contradiction"),
    example("345.jpg#0r1c", "contradiction"),
]


def test_nothing_is_lost_but_what_has_no_label(tmp_path: Path) -> None:
    source = write(tmp_path / "snli_ve_dev.jsonl", RECORDS)
    counts = convert_snli_ve(source, tmp_path / "val.jsonl")
    assert read(tmp_path / "val.jsonl") == [*RECORDS[:2], *RECORDS[3:]]
    assert (counts.records, counts.written, counts.unlabelled, counts.images, counts.repeated_pairs) == (5, 4, 1, 2, 1)
    assert (counts.entailment, counts.neutral, counts.contradiction) == (1, 1, 2)
    counts = convert_snli_ve(source, tmp_path / "val.jsonl", Options(unlabelled="keep"))
    assert read(tmp_path / "val.jsonl") == RECORDS
    assert (counts.written, counts.unlabelled, counts.neutral) == (5, 1, 1)


def test_mmf_reads_the_result(tmp_path: Path) -> None:
    databases = pytest.importorskip("mmf.datasets.databases.annotation_database")
    dataset = pytest.importorskip("mmf.datasets.builders.visual_entailment.dataset")
    convert_snli_ve(write(tmp_path / "snli_ve_dev.jsonl", RECORDS), tmp_path / "val.jsonl")
    entries = databases.AnnotationDatabase(None, str(tmp_path / "val.jsonl"))
    labels = [dataset.LABEL_TO_INT_MAPPING[entries[number]["gold_label"]] for number in range(len(entries))]
    assert labels == [0, 1, 2, 2]
    assert [entries[number]["Flikr30kID"].split(".")[0] for number in range(len(entries))] == ["12", "12", "345", "345"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"Flikr30kID": ..., "Flickr30K_ID": "77"}, "77"),
        ({"Flikr30kID": ..., "Flickr30kID": "77.jpg"}, "77.jpg"),
        ({"Flikr30kID": 77}, "77"),
        ({"Flikr30kID": ...}, "12.jpg"),
    ],
)
def test_the_image_is_found_under_every_name(fields: dict[str, Any], name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [example("12.jpg#2r1e", **fields)])
    options = Options(image_ids={name.removesuffix(".jpg")}, unknown_images="skip")
    counts = convert_snli_ve(source, tmp_path / "val.jsonl", options)
    assert (counts.written, counts.unknown_images) == (1, 0)
    assert read(tmp_path / "val.jsonl")[0]["Flikr30kID"] == name


def test_unknown_images(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", RECORDS)
    counts = convert_snli_ve(source, tmp_path / "val.jsonl", Options(image_ids={"345"}, unknown_images="skip"))
    assert (counts.written, counts.unknown_images, counts.images) == (2, 3, 1)
    with pytest.raises(InputError, match="none of its records"):
        convert_snli_ve(source, tmp_path / "b.jsonl", Options(image_ids=set(), unknown_images="skip"))
    assert not (tmp_path / "b.jsonl").exists()


BAD = {
    "pairID is None": example("12.jpg#2r1e", pairID=...),
    "sentence2 is ''": example("12.jpg#2r1e", sentence2=""),
    "gold_label is 'netural'": example("12.jpg#2r1e", "netural"),
    "does not say which image": example("12.jpg#2r1e", Flikr30kID=..., captionID=...),
    "the image is called '.jpg'": example("12.jpg#2r1e", Flikr30kID=".jpg"),
}


@pytest.mark.parametrize("problem", BAD)
def test_bad_records(problem: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [*RECORDS[:2], BAD[problem]])
    with pytest.raises(InputError) as error:
        convert_snli_ve(source, tmp_path / "val.jsonl")
    assert problem in error.value.problem
    assert error.value.where.startswith(f"{source}, line 3")
    assert not (tmp_path / "val.jsonl").exists()
    counts = convert_snli_ve(source, tmp_path / "val.jsonl", Options(on_bad_record="skip"))
    assert (counts.records, counts.written, counts.bad_records) == (3, 2, 1)
