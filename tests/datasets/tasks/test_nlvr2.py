"""NLVR2's published files become the task's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.nlvr2.converter import convert_nlvr2
from mmf_muvla.errors import InputError


def example(identifier: str, label: Any = "True", **changes: Any) -> dict[str, Any]:
    """A record with all fields that the published files have."""
    record = {
        "validation": {"61": "False"},
        "sentence": "The left image shows two dogs.",
        "left_url": "https://example.com/a.jpg",
        "writer": "61",
        "label": label,
        "right_url": "https://example.com/b.jpg",
        "synset": "dog",
        "query": "two dogs38",
        "identifier": identifier,
        "extra_validations": {"154": "False"},
    }
    return record | changes


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


RECORDS = [
    example("dev-850-0-0"),
    example("dev-850-1-0", "False"),
    # Another sentence about another pair of the set, and the same numbers in another set.
    example("dev-850-2-1", "False", sentence="Zwei große Hunde."),
    example("dev-9-0-0", directory=7),
]


def test_nothing_is_lost(tmp_path: Path) -> None:
    source = write(tmp_path / "dev.json", RECORDS)
    counts = convert_nlvr2(source, tmp_path / "val.jsonl")
    assert read(tmp_path / "val.jsonl") == RECORDS
    assert (counts.records, counts.written, counts.true, counts.false, counts.sentences) == (4, 4, 2, 2, 3)
    assert (counts.unlabelled, counts.unknown_images, counts.bad_records) == (0, 0, 0)


def test_mmf_reads_the_result(tmp_path: Path) -> None:
    database = pytest.importorskip("mmf.datasets.databases.annotation_database")
    source = write(tmp_path / "dev.json", RECORDS)
    convert_nlvr2(source, tmp_path / "val.jsonl")
    entries = database.AnnotationDatabase(None, str(tmp_path / "val.jsonl"))
    assert [entries[number]["label"] for number in range(len(entries))] == ["True", "False", "False", "True"]


def test_labels_in_other_forms_and_missing_ones(tmp_path: Path) -> None:
    hidden = example("test2-1-0-2")
    del hidden["label"]
    source = write(
        tmp_path / "test2.json",
        [example("test2-1-0-0", True), example("test2-1-0-1", "false"), hidden, example("test2-1-0-3", None)],
    )
    counts = convert_nlvr2(source, tmp_path / "out.jsonl")
    assert [record.get("label") for record in read(tmp_path / "out.jsonl")] == ["True", "False", None, None]
    assert (counts.written, counts.unlabelled, counts.true, counts.false) == (4, 2, 1, 1)
    counts = convert_nlvr2(source, tmp_path / "out.jsonl", Options(unlabelled="skip"))
    assert len(read(tmp_path / "out.jsonl")) == counts.written == 2
    assert counts.unlabelled == 2


def test_unknown_images_are_counted_and_left_out_if_wanted(tmp_path: Path) -> None:
    source = write(tmp_path / "dev.json", RECORDS)
    known = {"dev-850-0-img0", "dev-850-0-img1", "dev-850-1-img0", "dev-9-0-img0", "dev-9-0-img1"}
    counts = convert_nlvr2(source, tmp_path / "a.jsonl", Options(image_ids=known))
    assert (counts.written, counts.unknown_images) == (4, 2)
    counts = convert_nlvr2(source, tmp_path / "b.jsonl", Options(image_ids=known, unknown_images="skip"))
    assert (counts.written, counts.unknown_images, counts.sentences) == (2, 2, 2)
    assert [record["identifier"] for record in read(tmp_path / "b.jsonl")] == ["dev-850-0-0", "dev-9-0-0"]


BAD = {
    "identifier is 'dev-850-0'": example("dev-850-0"),
    "identifier is 'dev-850-0-0.png'": example("dev-850-0-0.png"),
    "identifier is None": {"sentence": "No dog.", "label": "True"},
    "sentence is '  '": example("dev-2-0-0", sentence="  "),
    "label of dev-2-0-0 is 'maybe'": example("dev-2-0-0", "maybe"),
    "identifier dev-850-0-0 is that of line 1 as well": example("dev-850-0-0"),
    "not a JSON object": [1, 2],
}


@pytest.mark.parametrize("problem", BAD)
def test_bad_records(problem: str, tmp_path: Path) -> None:
    source = write(tmp_path / "dev.json", [example("dev-850-0-0"), BAD[problem]])
    with pytest.raises(InputError) as error:
        convert_nlvr2(source, tmp_path / "val.jsonl")
    assert problem in error.value.problem
    assert error.value.where == f"{source}, line 2"
    assert error.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["dev.json"]
    counts = convert_nlvr2(source, tmp_path / "val.jsonl", Options(on_bad_record="skip"))
    assert (counts.records, counts.written, counts.bad_records) == (2, 1, 1)


def test_files_that_are_no_such_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        convert_nlvr2(tmp_path / "dev.json", tmp_path / "out.jsonl")
    source = tmp_path / "dev.json"
    source.write_bytes(b'{"sentence": "cut sho')
    with pytest.raises(InputError, match=r"line 1: is not JSON"):
        convert_nlvr2(source, tmp_path / "out.jsonl")
    source.write_bytes(b"\n\n")
    with pytest.raises(InputError, match="none of its records"):
        convert_nlvr2(source, tmp_path / "out.jsonl")
    source.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="line 1: is not JSON"):
        convert_nlvr2(source, tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["dev.json"]
