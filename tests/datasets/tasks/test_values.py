"""What no task can use is found in time, and what it costs is bounded."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.nlvr2.converter import convert_nlvr2
from mmf_muvla.datasets.tasks.visual_entailment.converter import convert_snli_ve
from mmf_muvla.datasets.tasks.vqa2.converter import convert_vqa2
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.reading.json_values import MAX_TEXT, parse_json, problem_of
from tests.datasets.tasks import test_nlvr2, test_snli_ve, test_vqa2
from tests.datasets.tasks.hostile import HOSTILE_JSON, Text

# As bad in a field that nobody reads as elsewhere: the record would be written with it.
IN_ANY_FIELD = [name for name in HOSTILE_JSON if name != "huge text"]
SKIP = Options(on_bad_record="skip")


@pytest.mark.parametrize("name", IN_ANY_FIELD)
def test_a_record_with_a_hostile_value_is_a_bad_record(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source.jsonl", tmp_path / "out.jsonl"
    cases: list[tuple[Callable[..., Any], list[Any], dict[str, Any]]] = [
        (convert_nlvr2, test_nlvr2.RECORDS, test_nlvr2.example("dev-77-3-1")),
        (convert_snli_ve, test_snli_ve.RECORDS[:2], test_snli_ve.example("99.jpg#4r1c")),
    ]
    for convert, good, record in cases:
        text = Text()
        record["notes"] = {"inside": text.put(HOSTILE_JSON[name])}
        lines = [json.dumps(good[0]), text.dumps(record), *map(json.dumps, good[1:])]
        source.write_text("".join(f"{line}\n" for line in lines))
        with pytest.raises(InputError, match=r"source\.jsonl, line 2") as error:
            convert(source, out)
        assert len(str(error.value)) < 1000 and str(error.value).isprintable()
        counts = convert(source, out, SKIP)
        assert (counts.written, counts.bad_records) == (len(good), 1)
        assert [json.loads(line) for line in out.read_text().splitlines()] == good
        with pytest.raises(InputError, match=r"source\.jsonl, line 2"):
            list(read_json_lines(source))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("question_id", str(2**70), "question_id is .*out of range"),
        ("question_id", "1" + "0" * 400, "question_id is .*out of range"),
        ("image_id", "1e400", "image_id is inf, not a whole number"),
        ("image_id", "NaN", "image_id is nan, not a whole number"),
        ("image_id", '"a\\nb"', "cannot be an image id"),
        ("image_id", f'"{"k" * 600}"', "at most 511"),
        ("question", '"Is \\udc00 red?"', "half of a surrogate pair"),
        ("question", '"Is \\ud83d red?"', "half of a surrogate pair"),
        ("question", f'"{"what " * 3000}"', f"15,000 characters, more than {MAX_TEXT:,}"),
        ("question", '"Is it\\u0000?"', "NUL character"),
        ("question", '["Is", "it?"]', "not a text"),
        ("notes", '{"a": 1, "b": 2, "a": 3}', "a key stands twice"),
        ("notes", "[" * 70 + "]" * 70, "nested more than 64 levels"),
    ],
)
def test_a_bad_question_harms_no_other(field: str, value: str, problem: str, tmp_path: Path) -> None:
    text = Text()
    bad = {**test_vqa2.question(5, 5), field: text.put(value)}
    content = {"data_subtype": "val2014", "questions": [test_vqa2.QUESTIONS[0], bad, *test_vqa2.QUESTIONS[1:]]}
    (tmp_path / "q.json").write_text(text.dumps(content))
    with pytest.raises(InputError, match=rf"q\.json, question (number 1|5): .*{problem}"):
        convert_vqa2(tmp_path / "q.json", None, tmp_path / "imdb.npy", "test")
    counts = convert_vqa2(tmp_path / "q.json", None, tmp_path / "imdb.npy", "test", options=SKIP)
    assert (counts.records, counts.written, counts.bad_records) == (4, 3, 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b'{"questions": [{"question', b'{"questions": [' + b"[" * 100_000, b"\xfe\xff\xd8\x00"],
)
def test_a_file_that_cannot_be_read_at_all_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_bytes(content)
    with pytest.raises(InputError, match=r"q\.json: cannot be read as JSON"):
        convert_vqa2(tmp_path / "q.json", None, tmp_path / "imdb.npy", "test", options=SKIP)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_damage(encoding: str, tmp_path: Path) -> None:
    content = {"data_subtype": "val2014", "questions": test_vqa2.QUESTIONS}
    (tmp_path / "q.json").write_text(json.dumps(content), encoding=encoding)
    assert convert_vqa2(tmp_path / "q.json", None, tmp_path / "imdb.npy", "test").written == 3
    if encoding == "utf-8-sig":
        lines = "".join(f"{json.dumps(record)}\n" for record in test_nlvr2.RECORDS)
        (tmp_path / "dev.json").write_text(lines, encoding=encoding)
        assert convert_nlvr2(tmp_path / "dev.json", tmp_path / "out.jsonl").written == 4
        assert len(list(read_json_lines(tmp_path / "dev.json"))) == 4


BIG = 30_000_000
EXPENSIVE = {
    "long line": lambda: b'{"a": "' + b"x" * BIG + b'"}\n',
    "no line at all": lambda: b"\0" * BIG,
    "deep": lambda: b"[" * BIG + b"\n",
    "many lists in a line": lambda: b'{"a": [' + b"[]," * 100_000 + b"[]]}\n",
    "many digits": lambda: b'{"a": ' + b"9" * 900_000 + b"}\n",
    "many keys": lambda: b'{"' + b'":1,"'.join(b"%d" % number for number in range(30_000)) + b'":1}\n',
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_what_a_record_costs_is_bounded(name: str, tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_bytes(EXPENSIVE[name]() + (json.dumps(test_nlvr2.RECORDS[0]) + "\n").encode())

    def convert() -> int:
        try:
            return convert_nlvr2(tmp_path / "dev.json", tmp_path / "out.jsonl", SKIP).written
        except InputError:  # without a line's end the good record is a part of the bad one
            return 0

    begin = time.process_time()
    assert convert() == (name != "no line at all")
    seconds = time.process_time() - begin
    tracemalloc.start()
    convert()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6 and seconds < 2


UNHANDY = {
    "400 digits": 10**400,
    "5,000 digits": -(10**5000),
    "nested": [[[[[[[[]]]]]]]],
    "long": "x" * 10**7,
    "not of JSON": {"a": {1, 2}},
    "many": list(range(10**5)),
}


@pytest.mark.parametrize("name", UNHANDY)
def test_any_value_can_be_shown(name: str) -> None:
    assert 0 < len(shown(UNHANDY[name])) <= 40
    assert shown([1, 2]) == "[1, 2]" and shown("a\x1b") == r"'a\x1b'" and shown(-12) == "-12"


@pytest.mark.parametrize("value", [1, -1.5, 2**63 - 1, "ä€😀", None, True, [], {"a": [{"b": "c"}]}], ids=str)
def test_good_values_are_good(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert problem_of(parse_json(json.dumps(value))) is None
