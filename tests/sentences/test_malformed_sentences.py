"""Files of sentences that are damaged in all the ways one can think of: told, or left out, and nothing else lost."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.errors import InputError
from mmf_muvla.sentences import files as sentence_files
from mmf_muvla.sentences.importing import import_sentences
from mmf_muvla.sentences.options import SentenceOptions

LINE_FORMATS = {
    "text": [".txt", ".txt.gz"],
    "tsv": [".tsv", ".tsv.gz"],
    "jsonl": [".jsonl", ".jsonl.gz"],
}
# How each format is asked for the sentences and the images that they belong to.
OWNED = {
    "tsv": SentenceOptions(column=1, image_id_column=0),
    "jsonl": SentenceOptions(image_id_column="image_id"),
    "parquet": SentenceOptions(image_id_column="image_id"),
}
GOOD = ["the first good sentence", "the second good sentence", "a third, caf\u00e9 and \u732b and \U0001f408"]
SKIPPED = "skipped.jsonl"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed here, so that nothing has to be on disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def good_lines(kind: str) -> list[bytes]:
    if kind == "text":
        return [text.encode() for text in GOOD]
    if kind == "tsv":
        return [f"{100 + number}\t{text}".encode() for number, text in enumerate(GOOD)]
    return [json.dumps({"image_id": 100 + number, "caption": text}).encode() for number, text in enumerate(GOOD)]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def sentences_in(folder: Path) -> list[str]:
    table = MappedTable(folder / "sentences.arrow")
    return [text for block in table.blocks("sentence") for text in block]


def owners_in(folder: Path) -> dict[str, str]:
    """The image of each sentence."""
    table = MappedTable(folder / "owners.arrow")
    texts = sentences_in(folder)
    pairs = zip(table.blocks("image_id"), table.blocks("pool_row"), strict=True)
    return {texts[row]: image for ids, rows in pairs for image, row in zip(ids, rows, strict=True)}


def listed_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / SKIPPED).read_text(encoding="utf-8").splitlines()]


# --- Lines that are damaged -----------------------------------------------------------------------------------------


@dataclass
class BadLine:
    """A line that cannot be used.

    Attributes:
        name: of the case.
        kind: the format.
        line: the line, without its end.
        reason, value, remedy: parts of the message.
        options: how to read the file; ``None`` for the sentences alone.
    """

    name: str
    kind: str
    line: bytes
    reason: str
    value: str
    remedy: str = "on_bad_record=skip"
    options: SentenceOptions | None = field(default=None, repr=False)


def owned(name: str, kind: str, line: bytes, reason: str, value: str, remedy: str = "on_bad_record=skip") -> BadLine:
    return BadLine(name, kind, line, reason, value, remedy, OWNED[kind])


def jsonl(name: str, line: bytes, reason: str, value: str, remedy: str = "on_bad_record=skip") -> BadLine:
    return BadLine(name, "jsonl", line, reason, value, remedy)


TSV = SentenceOptions(column=1)
CAPTION = "a sentence that is fine"
BAD_LINES = [
    # Bytes that are no text.
    BadLine("cut multi-byte character", "text", b"a caf\xc3", "line is not UTF-8", "byte 0xc3 at position 5", "UTF-8"),
    BadLine("Latin-1", "text", b"a caf\xe9 in Rome", "line is not UTF-8", "byte 0xe9 at position 5", "UTF-8"),
    BadLine("overlong", "text", b"a long \xc0\x80 zero", "line is not UTF-8", "byte 0xc0 at position 7"),
    BadLine("encoded surrogate", "text", b"one \xed\xa0\x80 half", "line is not UTF-8", "byte 0xed at position 4"),
    BadLine("NUL", "text", b"a dog\x00 runs fast", "holds a control character", "'\\x00' at position 5"),
    BadLine("escape", "text", b"a \x1b[31mred\x1b[0m dog", "holds a control character", "'\\x1b' at position 2"),
    BadLine("backspace", "text", b"a dog \x08runs", "holds a control character", "'\\x08' at position 6"),
    BadLine("delete", "text", b"a dog \x7fruns", "holds a control character", "'\\x7f' at position 6"),
    BadLine("lone carriage return", "text", b"one dog runs\rtwo dogs", "carriage return", "at byte 12", "line feed"),
    BadLine("pickle", "text", pickle.dumps(list(range(9))), "line is not UTF-8", "byte 0x80 at position 0"),
    BadLine("Latin-1 in a tsv", "tsv", b"7\ta caf\xe9 in Rome", "line is not UTF-8", "byte 0xe9", "UTF-8", TSV),
    BadLine("NUL in a tsv", "tsv", b"7\ta\x00b c d", "holds a control character", "'\\x00' at position 1", options=TSV),
    BadLine("too few columns", "tsv", b"no tab is here", "line has no column 1", "it has 1", "column", TSV),
    BadLine("carriage return in a tsv", "tsv", b"7\tone dog\r8\ttwo dogs", "carriage return", "byte 9", options=TSV),
    BadLine("Latin-1 in jsonl", "jsonl", b'{"caption": "caf\xe9"}', "line is not UTF-8", "byte 0xe9 at position 16"),
    # Lines that are no JSON.
    jsonl("half an object", b'{"caption": "a dog ru', "line is not JSON", "a dog ru"),
    jsonl("text instead of JSON", b"a dog runs over a field", "line is not JSON", "a dog runs"),
    jsonl("trailing comma", b'{"caption": "a dog runs",}', "line is not JSON", "a dog runs"),
    jsonl("two objects", b'{"caption": "a b c"} {"caption": "d e f"}', "line is not JSON", "Extra data"),
    jsonl("single quotes", b"{'caption': 'a dog runs'}", "line is not JSON", "caption"),
    jsonl("raw tab in a string", b'{"caption": "a\tdog runs"}', "line is not JSON", "control character"),
    jsonl("too deep", b'{"caption": ' + b"[" * 100_000, "line is not JSON", "recursion"),
    jsonl("number of too many digits", b'{"caption": ' + b"9" * 5000 + b"}", "line is not JSON", "digits"),
    jsonl("NUL byte", b"\x00\x00\x00", "line is not JSON", "\\x00"),
    jsonl("list", b'["a dog runs"]', "line is not a JSON object", "a dog runs"),
    jsonl("string", b'"a dog runs"', "line is not a JSON object", "a dog runs"),
    jsonl("number", b"17", "line is not a JSON object", "17"),
    jsonl("null", b"null", "line is not a JSON object", "null"),
    # Objects without a sentence.
    jsonl("no key", b'{"url": "a"}', "no key sentence or caption or text", "it has url", "sentence_options.column"),
    jsonl("empty object", b"{}", "object has no key sentence or caption or text", "it has", "sentence_options.column"),
    jsonl("keys that are no text", b'{"\\ud800": 1}', "object has no key", "\\ud800", "sentence_options.column"),
    jsonl("a thousand keys", json.dumps({f"k{n}": n for n in range(1000)}).encode(), "no key", "k20, ", "column"),
    jsonl("the same key twice", b'{"caption": "a b c", "caption": "d e f"}', "object has a key twice", "'caption'"),
    jsonl("caption is null", b'{"caption": null}', "sentence is not text", "None"),
    jsonl("caption is a number", b'{"caption": 17}', "sentence is not text", "17"),
    jsonl("caption is NaN", b'{"caption": NaN}', "sentence is not text", "nan"),
    jsonl("caption is true", b'{"caption": true}', "sentence is not text", "True"),
    jsonl("caption is a list", b'{"caption": ["a dog runs"]}', "sentence is not text", "['a dog runs']"),
    jsonl("caption is an object", b'{"caption": {"en": "a dog"}}', "sentence is not text", "{'en': 'a dog'}"),
    jsonl("NUL escape", b'{"caption": "a\\u0000 b c"}', "holds a control character", "'\\x00' at position 1"),
    jsonl("high surrogate", b'{"caption": "one \\ud83d dog"}', "half a Unicode character", "'\\ud83d'"),
    jsonl("low surrogate", b'{"caption": "one \\udc08 dog"}', "half a Unicode character", "'\\udc08'"),
    # Sentences that belong to no image that could be named.
    owned("no image id", "jsonl", b'{"caption": "a b c"}', "object has no key image_id", "it has caption"),
    owned("id is null", "jsonl", b'{"caption": "a b c", "image_id": null}', "image id is not a name", "None"),
    owned("id is a float", "jsonl", b'{"caption": "a b c", "image_id": 7.0}', "image id is not a name", "7.0"),
    owned("id is true", "jsonl", b'{"caption": "a b c", "image_id": true}', "image id is not a name", "True"),
    owned("id is a list", "jsonl", b'{"caption": "a b c", "image_id": [7]}', "image id is not a name", "[7]"),
    owned("id is empty", "jsonl", b'{"caption": "a b c", "image_id": ""}', "image id is not a name", "''"),
    owned("id is half a character", "jsonl", b'{"caption": "a b c", "image_id": "\\ud800"}', "image id", "'\\ud800'"),
    owned("id holds NUL", "jsonl", b'{"caption": "a b c", "image_id": "7\\u0000"}', "image id holds", "'\\x00'"),
    owned("tsv id is empty", "tsv", b"\ta dog runs", "image id is not a name", "''"),
    owned("tsv id is Latin-1", "tsv", b"caf\xe9\ta dog runs", "line is not UTF-8", "byte 0xe9 at position 3", "UTF-8"),
    owned("tsv id alone", "tsv", b"7", "line has no column 1", "it has 1", "column"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "suffix"),
    [(case, suffix) for case in BAD_LINES for suffix in LINE_FORMATS[case.kind]],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_bad_line(case: BadLine, suffix: str, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than one block of it, but not of the longest.
    monkeypatch.setattr(sentence_files, "_BLOCK_BYTES", max(64, len(case.line)))
    first, second, third = good_lines(case.kind)
    if case.kind == "jsonl":
        # Blank lines are counted, and are not damage.
        content, bad, lines = b"\n".join((first, second, b"", case.line, third)), 4, 5
    else:
        content, bad, lines = b"\n".join((first, second, case.line, third, b"")), 3, 4
    file = write(tmp_path / f"file{suffix}", content)
    options = case.options or SentenceOptions(column=1 if case.kind == "tsv" else None)

    with pytest.raises(InputError) as caught:
        import_sentences([file], options, "error", 1.0, 1, work("strict"))
    assert caught.value.where == f"{file}, line {bad}"
    assert case.reason in caught.value.problem
    assert case.value in caught.value.problem
    assert case.remedy in caught.value.remedy
    assert len(str(caught.value)) < 600

    counts = import_sentences([file], options, "skip", 1.0, 1, work("lenient"))
    folder = work("lenient").folder
    assert sentences_in(folder) == GOOD
    assert (counts["lines"], counts["skipped"], counts["sentences"]) == (lines, 1, 3)
    if options.image_id_column is not None:
        assert owners_in(folder) == dict(zip(GOOD, ("100", "101", "102"), strict=True))
    (entry,) = [entry for entry in listed_in(folder) if entry["reason"] != "empty line"]
    assert (entry["file"], entry["line"]) == (str(file), bad)
    assert case.reason in entry["reason"] and entry["value"]

    with pytest.raises(InputError, match=f"1 of {lines} records are bad, more than max_skipped_fraction=0.01"):
        import_sentences([file], options, "skip", 0.01, 1, work("careful"))


# --- Rows of parquet that are damaged -------------------------------------------------------------------------------


def no_utf8(values: list[bytes], kind: pa.DataType) -> pa.Array:
    """Text that was never checked."""
    raw = pa.array(values, pa.binary() if kind == pa.string() else pa.large_binary())
    return pa.Array.from_buffers(kind, len(raw), raw.buffers())


def encoded(texts: list[str]) -> list[bytes]:
    return [text.encode() for text in texts]


BAD_ROWS: dict[str, tuple[Callable[[], pa.Table], str, str]] = {
    "null": (lambda: pa.table({"caption": [GOOD[0], None, *GOOD[1:]]}), "sentence is not text", "None"),
    "null in a dictionary": (
        lambda: pa.table({"caption": pa.array([GOOD[0], None, *GOOD[1:]]).dictionary_encode()}),
        "sentence is not text",
        "None",
    ),
    "NUL": (lambda: pa.table({"caption": [GOOD[0], "a\x00 b c", *GOOD[1:]]}), "control character", "'\\x00'"),
    "not UTF-8": (
        lambda: pa.table({"caption": no_utf8([GOOD[0].encode(), b"caf\xe9 in", *encoded(GOOD[1:])], pa.string())}),
        "line is not UTF-8",
        "byte 0xe9 at position 3",
    ),
    "not UTF-8 in large_string": (
        lambda: pa.table(
            {"caption": no_utf8([GOOD[0].encode(), b"\xff\xfea", *encoded(GOOD[1:])], pa.large_string())}
        ),
        "line is not UTF-8",
        "byte 0xff at position 0",
    ),
    "image id is null": (
        lambda: pa.table({"caption": [GOOD[0], CAPTION, *GOOD[1:]], "image_id": [100, None, 101, 102]}),
        "image id is not a name",
        "None",
    ),
    "image id is empty": (
        lambda: pa.table({"caption": [GOOD[0], CAPTION, *GOOD[1:]], "image_id": ["100", "", "101", "102"]}),
        "image id is not a name",
        "''",
    ),
    "image id is not UTF-8": (
        lambda: pa.table(
            {
                "caption": [GOOD[0], CAPTION, *GOOD[1:]],
                "image_id": no_utf8([b"100", b"\xe9", b"101", b"102"], pa.string()),
            }
        ),
        "line is not UTF-8",
        "byte 0xe9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row_group_size", [1, 100])
@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row(name: str, row_group_size: int, work: Any, tmp_path: Path) -> None:
    make, reason, value = BAD_ROWS[name]
    file, table = tmp_path / "file.parquet", make()
    pq.write_table(table, file, row_group_size=row_group_size)
    options = OWNED["parquet"] if "image_id" in table.column_names else SentenceOptions()
    with pytest.raises(InputError) as caught:
        import_sentences([file], options, "error", 1.0, 1, work("strict"))
    assert caught.value.where == f"{file}, line 2"
    assert reason in caught.value.problem and value in caught.value.problem
    assert "on_bad_record=skip" in caught.value.remedy

    counts = import_sentences([file], options, "skip", 1.0, 1, work("lenient"))
    folder = work("lenient").folder
    assert sentences_in(folder) == GOOD
    assert (counts["lines"], counts["skipped"]) == (4, 1)
    if options.image_id_column:
        assert owners_in(folder) == dict(zip(GOOD, ("100", "101", "102"), strict=True))
    (entry,) = listed_in(folder)
    assert (entry["file"], entry["line"]) == (str(file), 2) and reason in entry["reason"]


# --- Files that are damaged as a whole ------------------------------------------------------------------------------


def parquet(tmp_path: Path, name: str = "file.parquet", **columns: Any) -> Path:
    pq.write_table(pa.table(columns), tmp_path / name)
    return tmp_path / name


def absent(tmp_path: Path, name: str) -> Path:
    return tmp_path / name


def folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def empty(tmp_path: Path, name: str) -> Path:
    return write_raw(tmp_path, name, b"")


def write_raw(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def cut(tmp_path: Path, name: str, share: float) -> Path:
    """A file of which the end is missing."""
    texts = [f"{number} {os.urandom(40).hex()} words" for number in range(2000)]
    if name.endswith(".parquet"):
        content = parquet(tmp_path, name, caption=texts).read_bytes()
    else:
        lines = [json.dumps({"caption": text}) if ".jsonl" in name else text for text in texts]
        content = gzip.compress("\n".join(lines).encode())
    return write_raw(tmp_path, name, content[: int(len(content) * share)])


def two_captions(tmp_path: Path) -> Path:
    table = pa.Table.from_arrays([pa.array(GOOD), pa.array(GOOD)], names=["caption", "caption"])
    pq.write_table(table, tmp_path / "file.parquet")
    return tmp_path / "file.parquet"


def flipped_page(tmp_path: Path) -> Path:
    """A bit in the middle is wrong, which only a checksum can tell."""
    file = tmp_path / "file.parquet"
    table = pa.table({"caption": [f"{n} {n * n} words" for n in range(5000)]})
    pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
    content = file.read_bytes().replace(b"2500 6250000 words", b"2500 6250001 words")
    return write_raw(tmp_path, file.name, content)


BAD_FILES: dict[str, tuple[Callable[[Path], Path], SentenceOptions, str, str]] = {
    f"{what} {name}": (lambda path, make=make, name=name: make(path, name), SentenceOptions(), problem, remedy)
    for what, make, names, problem, remedy in [
        ("absent", absent, ["a.txt", "a.txt.gz", "a.tsv", "a.jsonl"], "no such text file", "Name an existing file"),
        ("absent", absent, ["a.parquet"], "no such parquet file", "Name an existing file"),
        ("folder", folder, ["a.txt", "a.txt.gz", "a.jsonl"], "no such text file", "Name an existing file"),
        ("folder", folder, ["a.parquet"], "cannot be read as a parquet file", "again"),
        ("empty", empty, ["a.txt", "a.tsv", "a.jsonl"], "0 distinct sentences can be used", "Give more text"),
        ("empty", empty, ["a.txt.gz", "a.jsonl.gz"], "is not a whole gzip file", "again"),
        ("empty", empty, ["a.parquet"], "cannot be read as a parquet file", "again"),
    ]
    for name in names
} | {
    "below a file": (lambda path: empty(path, "a.txt") / "b.txt", SentenceOptions(), "cannot be read", "Name a file"),
    "cut text": (lambda path: cut(path, "a.txt.gz", 0.5), SentenceOptions(), "not a whole gzip file", "again"),
    "cut jsonl": (lambda path: cut(path, "a.jsonl.gz", 0.9), SentenceOptions(), "not a whole gzip file", "again"),
    "cut header": (lambda path: cut(path, "a.txt.gz", 0.00002), SentenceOptions(), "not a whole gzip file", "again"),
    "cut checksum": (
        lambda path: write_raw(path, "a.txt.gz", gzip.compress(b"one two three\n")[:-4]),
        SentenceOptions(), "not a whole gzip file", "again",
    ),
    "wrong checksum": (
        lambda path: write_raw(path, "a.txt.gz", gzip.compress(b"one two three\n")[:-8] + bytes(8)),
        SentenceOptions(), "not a whole gzip file", "again",
    ),
    "not gzip": (
        lambda path: write_raw(path, "a.txt.gz", b"one two three\n"),
        SentenceOptions(), "not a whole gzip file", "again",
    ),
    "garbage after gzip": (
        lambda path: write_raw(path, "a.txt.gz", gzip.compress(b"one two three\n") + b"garbage"),
        SentenceOptions(), "not a whole gzip file", "again",
    ),
    "cut parquet": (lambda path: cut(path, "a.parquet", 0.5), SentenceOptions(), "as a parquet file", "again"),
    "text called parquet": (
        lambda path: write_raw(path, "a.parquet", b"one two three\n" * 100),
        SentenceOptions(), "cannot be read as a parquet file", "again",
    ),
    "pickle called parquet": (
        lambda path: write_raw(path, "a.parquet", pickle.dumps({"caption": GOOD})),
        SentenceOptions(), "cannot be read as a parquet file", "again",
    ),
    "damaged page": (flipped_page, SentenceOptions(), "cannot be read as a parquet file", "again"),
    "no rows": (
        lambda path: parquet(path, caption=pa.array([], pa.string())),
        SentenceOptions(), "0 distinct sentences", "Give more text",
    ),
    "no usual column": (
        lambda path: parquet(path, alt=GOOD, url=GOOD),
        SentenceOptions(), "has no column sentence or caption or text (it has alt, url)", "sentence_options.column",
    ),
    "very many columns": (
        lambda path: parquet(path, **{f"column{number}": [1] for number in range(2000)}),
        SentenceOptions(), "has no column sentence or caption or text (it has column0, column1", "options.column",
    ),
    "absent column": (
        lambda path: parquet(path, caption=GOOD),
        SentenceOptions(column="alt"), "has no column 'alt' (it has caption)", "sentence_options.column",
    ),
    "absent image id": (
        lambda path: parquet(path, caption=GOOD),
        SentenceOptions(image_id_column="image_id"), "has no column 'image_id' (it has caption)", "image_id_column",
    ),
    "column twice": (two_captions, SentenceOptions(), "has 2 columns 'caption'", "Set sentence_options.column"),
} | {
    f"sentences are {name}": (
        lambda path, values=values: parquet(path, caption=values),
        SentenceOptions(), f"column 'caption' holds {name}, not text", "Name a column of text",
    )
    for name, values in {
        "int64": [1, 2, 3],
        "double": [0.5, float("nan"), 1.0],
        "bool": [True, False, True],
        "null": pa.nulls(3),
        "binary": [text.encode() for text in GOOD],
        "list<": [[text] for text in GOOD],
        "struct<": [{"en": text} for text in GOOD],
    }.items()
} | {
    f"image ids are {name}": (
        lambda path, values=values: parquet(path, caption=GOOD, image_id=values),
        SentenceOptions(image_id_column="image_id"),
        f"column 'image_id' holds {name}", "Name a column of names or whole numbers",
    )
    for name, values in {
        # What pandas makes of numbers of which some are missing.
        "double": [1.0, float("nan"), 3.0],
        "bool": [True, False, True],
        "list<": [[1], [2], [3]],
        "date32": pa.array([1, 2, 3], pa.date32()),
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("on_bad_record", ["error", "skip"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(name: str, on_bad_record: str, work: Any, tmp_path: Path) -> None:
    make, options, problem, remedy = BAD_FILES[name]
    file = make(tmp_path)
    with pytest.raises(InputError) as caught:
        import_sentences([file], options, on_bad_record, 1.0, 1, work())
    assert str(file) in caught.value.where
    # Types have longer names where they consist of others.
    assert problem.replace("<, not text", "<") in caught.value.problem
    assert remedy in caught.value.remedy
    assert len(str(caught.value)) < 800


def test_a_file_that_is_damaged_does_not_pass_among_others(work: Any, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.txt", b"one two three\n"), empty(tmp_path, "bad.txt.gz")
    with pytest.raises(InputError, match="bad.txt.gz: is not a whole gzip file"):
        import_sentences([good, bad, good], SentenceOptions(), "skip", 1.0, 1, work())


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".txt.gz"])
def test_a_line_that_never_ends(suffix: str, work: Any, tmp_path: Path) -> None:
    file = tmp_path / f"file{suffix}"
    start = b"a good sentence\n\nfrom here on"
    if suffix == ".txt.gz":
        with gzip.open(file, "wb", compresslevel=1) as stream:
            stream.write(start)
            for _ in range(70):
                stream.write(bytes(2**20))
    else:
        file.write_bytes(start)
        # A hole: it takes no space.
        os.truncate(file, 70 * 2**20)
    with pytest.raises(InputError) as caught:
        import_sentences([file], SentenceOptions(), "skip", 1.0, 1, work())
    assert caught.value.where == f"{file}, line 3"
    assert "is longer than 64 MiB, and begins with b'from here on" in caught.value.problem
    assert "check its format" in caught.value.remedy


def test_a_long_line_is_only_too_long(work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.txt", b"one two three\n" + b"word " * 2**20 + b"\nfour five six\n")
    counts = import_sentences([file], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == ["one two three", "four five six"]
    assert (counts["too_long"], counts["skipped"]) == (1, 0)


def test_very_many_columns(work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.tsv", b"one two three" + b"\t" * 2**20 + b"\nfour five six\t1\n")
    counts = import_sentences([file], SentenceOptions(column=0), "error", 0.0, 1, work())
    assert (counts["sentences"], counts["lines"]) == (2, 2)
    with pytest.raises(InputError, match=r"line 2: line has no column 5: it has 2"):
        import_sentences([file], SentenceOptions(column=5), "error", 0.0, 1, work("second"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_file_in_another_encoding(encoding: str, work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.txt", "one two three\nfour five six\nseven eight nine\n".encode(encoding))
    with pytest.raises(InputError, match=r"file.txt, line 1: line (is not UTF-8|holds a control character)"):
        import_sentences([file], SentenceOptions(), "error", 0.0, 1, work())
    with pytest.raises(InputError, match="records are bad, more than max_skipped_fraction=0.5 allows"):
        import_sentences([file], SentenceOptions(), "skip", 0.5, 1, work("lenient"))


# --- What looks odd, and is fine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [1, 2**20])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"], ids=["LF", "CRLF", "CRCRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["", "no end"])
@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".jsonl", ".json"])
def test_line_ends_and_byte_order_marks(
    suffix: str, last: bool, end: bytes, mark: bytes, block_bytes: int, work: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sentence_files, "_BLOCK_BYTES", block_bytes)
    kind = {".txt": "text", ".tsv": "tsv"}.get(suffix, "jsonl")
    file = write(tmp_path / f"file{suffix}", mark + end.join(good_lines(kind)) + (end if last else b""))
    options = OWNED.get(kind, SentenceOptions())
    counts = import_sentences([file], options, "error", 0.0, 1, work())
    assert sentences_in(work().folder) == GOOD
    assert (counts["lines"], counts["skipped"], counts["empty"]) == (3, 0, 0)
    if kind != "text":
        assert owners_in(work().folder) == dict(zip(GOOD, ("100", "101", "102"), strict=True))


@pytest.mark.parametrize(
    "nothing", ["", "   ", "\t \t", "\u00a0\u2003", "\u200b\u2060", "\ufeff", "\u00ad", "\u200d \u200e", "\x0b\x0c"]
)
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_lines_without_anything_to_see(suffix: str, nothing: str, work: Any, tmp_path: Path) -> None:
    texts = [GOOD[0], nothing, *GOOD[1:]]
    if suffix == ".parquet":
        file = parquet(tmp_path, caption=texts)
    else:
        lines = [json.dumps({"caption": text}) if suffix == ".jsonl" else text for text in texts]
        file = write(tmp_path / f"file{suffix}", "\n".join(lines).encode())
    counts = import_sentences([file], SentenceOptions(min_words=1), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == GOOD
    assert (counts["empty"], counts["skipped"], counts["lines"]) == (1, 0, 4)
    assert [(entry["line"], entry["reason"]) for entry in listed_in(work().folder)] == [(2, "empty line")]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize("row_group_size", [1, 2, 100])
def test_kinds_of_text_in_parquet(kind: pa.DataType, row_group_size: int, work: Any, tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    table = pa.table({"image_id": pa.array(["100", "101", "102"]).cast(kind), "caption": pa.array(GOOD).cast(kind)})
    pq.write_table(table, file, row_group_size=row_group_size)
    import_sentences([file], OWNED["parquet"], "error", 0.0, 1, work())
    assert owners_in(work().folder) == dict(zip(GOOD, ("100", "101", "102"), strict=True))


def test_line_breaks_inside_of_a_sentence_are_spaces(work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.jsonl", b'{"caption": "a dog\\r\\nruns\\tover\\u2028a field"}\n')
    import_sentences([file], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == ["a dog runs over a field"]


# --- Content that wants to be run -----------------------------------------------------------------------------------


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, sentinel: Path):
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sentinel,))


def test_the_attack_would_work(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Attack(tmp_path / "sentinel")))
    assert (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.jsonl", "a.parquet", "a.txt.gz", "a.jsonl.gz"])
def test_pickles_are_not_loaded(name: str, protocol: int, work: Any, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    write(tmp_path / name, pickle.dumps(Attack(sentinel), protocol))
    for policy in ("error", "skip"):
        with pytest.raises(InputError):
            import_sentences([tmp_path / name], SentenceOptions(), policy, 1.0, 1, work(policy))
    assert not sentinel.exists()


def test_names_of_classes_in_json_are_text(work: Any, tmp_path: Path) -> None:
    record = {"caption": "!!python/object/apply:os.system [a b]", "__class__": "os.system", "py/object": "os.system"}
    file = write(tmp_path / "file.jsonl", json.dumps(record).encode())
    import_sentences([file], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == [record["caption"]]


def test_pickles_in_the_metadata_of_parquet_are_not_loaded(work: Any, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    attack = pickle.dumps(Attack(sentinel))
    # The kind of extension whose types old versions of Arrow unpickled.
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": attack}
    schema = pa.schema(
        [pa.field("caption", pa.string()), pa.field("more", pa.string(), metadata=metadata)],
        metadata={"pandas": attack, "pickle": attack},
    )
    file = tmp_path / "file.parquet"
    pq.write_table(pa.table([GOOD, GOOD], schema=schema), file)
    import_sentences([file], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == GOOD
    import_sentences([file], SentenceOptions(column="more"), "error", 0.0, 1, work("more"))
    assert not sentinel.exists()


def test_arrays_of_objects_are_text_that_is_none(work: Any, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    with (tmp_path / "file.txt").open("wb") as stream:
        np.save(stream, np.array([Attack(sentinel)], object), allow_pickle=True)
    with pytest.raises(InputError, match="line 1: line is not UTF-8"):
        import_sentences([tmp_path / "file.txt"], SentenceOptions(), "error", 0.0, 1, work())
    assert not sentinel.exists()


# --- Options that do not go together --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["auto", "text"])
def test_plain_text_names_no_images(format: str, work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.txt", b"one two three\n")
    with pytest.raises(InputError, match=r"image_id_column=0: lines of plain text do not say .*file\.txt"):
        import_sentences([file], SentenceOptions(format=format, image_id_column=0), "error", 0.0, 1, work())


def test_plain_text_among_files_that_name_images_belongs_to_none(work: Any, tmp_path: Path) -> None:
    named = write(tmp_path / "file.jsonl", b"\n".join(good_lines("jsonl")))
    plain = write(tmp_path / "file.txt", b"nobody knows whose\n")
    import_sentences([named, plain], OWNED["jsonl"], "error", 0.0, 1, work())
    assert sentences_in(work().folder) == [*GOOD, "nobody knows whose"]
    assert owners_in(work().folder) == dict(zip(GOOD, ("100", "101", "102"), strict=True))


@pytest.mark.parametrize("value", ["caption", "1", -1, 1.0, True, [1]])
@pytest.mark.parametrize("name", ["column", "image_id_column"])
@pytest.mark.parametrize("format", ["auto", "tsv"])
def test_columns_of_a_tsv_are_numbers(format: str, name: str, value: Any, work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.tsv", b"7\tone two three\n")
    with pytest.raises(InputError) as caught:
        import_sentences([file], SentenceOptions(format=format, **{name: value}), "error", 0.0, 1, work())
    assert caught.value.where == f"sentence_options.{name}={value}"
    assert "is no column" in caught.value.problem and str(file) in caught.value.problem
    assert "Give the number of the column" in caught.value.remedy


def test_keys_of_json_are_always_text(work: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "file.jsonl", b'{"0": "a dog runs", "1": 7}\n')
    import_sentences([file], SentenceOptions(column=0, image_id_column=1), "error", 0.0, 1, work())
    assert owners_in(work().folder) == {"a dog runs": "7"}
