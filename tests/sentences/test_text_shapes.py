"""Files that hold something else than they are read as are refused; odd text is text."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.errors import InputError
from mmf_muvla.sentences.importing import import_sentences
from mmf_muvla.sentences.options import SentenceOptions

CAPTIONS = [
    "a boy throws a red ball",
    "three horses stand in a field, near a fence",
    "the bus has stopped",
    "people eat lunch at a long table",
    "a plane flies over the sea",
    "two birds on a wire",
    "an old man reads the paper, alone",
    "a bowl of green apples",
]


def lines(form: str, head: str = "") -> bytes:
    """A line for each caption: ``{n}`` and ``{c}`` stand for its number and the caption."""
    return (head + "".join(form.format(n=n, c=caption) + "\n" for n, caption in enumerate(CAPTIONS))).encode()


def as_csv(head: list[str] | None, delimiter: str = ",") -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    if head:
        writer.writerow(head)
    writer.writerows([f"{n:06d}.png", caption] for n, caption in enumerate(CAPTIONS))
    return stream.getvalue().encode()


def sentences_in(folder: Path) -> list[str]:
    return [text for block in MappedTable(folder / "sentences.arrow").blocks("sentence") for text in block]


def owners_in(folder: Path) -> list[str]:
    return [owner for block in MappedTable(folder / "owners.arrow").blocks("image_id") for owner in block]


# name of the file, content, what is wrong, what to do about it
OTHER_FORMATS: dict[str, tuple[str, bytes, str, str]] = {
    "names of images and commas": (
        "list.txt", as_csv(None), "begin with the name of a file", "format=csv sentence_options.column=1 .*column=0"
    ),
    "names of images with numbers, and tabs": (
        "flickr.token", lines("{n}.jpg#2\t{c}"), "begin with the name of a file", "format=tsv sentence_options.column=1"
    ),
    "names of images and bars": (
        "results", lines("{n}.jpeg| 0| {c}"), "begin with the name of a file", "format=csv sentence_options.column=2"
    ),
    "names of images and blanks": (
        "list.txt", lines("images/{n}.JPG {c}"), "begin with the name of a file", "Take the names out of the lines"
    ),
    "names of images with blanks": (
        "list.txt", lines("photo {n} of us.webp;{c}"), "begin with the name of a file", "format=csv .*column=1"
    ),
    "addresses and tabs": (
        "cc.txt", lines("https://a.example/{n}?q=1\t{c}"), "begin with .* an address", "format=tsv .*column=1"
    ),
    "addresses behind captions": ("cc.txt", lines("{c}\thttp://a.example/{n}"), "hold 1 tab", "format=tsv .*column=0"),
    "addresses alone": ("urls.txt", lines("www.example.org/{n}"), "an address", "Take the names out"),
    "a title line and commas": ("c.txt", as_csv(["file_name", "text"]), "names columns", "format=csv .*column=1"),
    "a title line and tabs": ("c.txt", lines("{c}\t{n}", "Caption\tid\n"), "names columns", "format=tsv .*column=0"),
    "numbers and commas": ("c.txt", lines('{n},"{c}"'), "begin with a number", "format=csv sentence_options.column=1"),
    "captions in quotes and labels": ("c.txt", lines('"{c}",outdoor'), "2 cells of CSV", "format=csv .*column=0"),
    "captions in quotes alone": (
        "c.txt", lines('"a ""good"" one, {c}"'), "a cell of CSV", "format=csv sentence_options.column=0"
    ),
    "captions in quotes, a few with quotes inside": (
        "c.txt", lines('"{c}"') + b'"the ""old"" man"\n', "a cell of CSV", "format=csv sentence_options.column=0"
    ),
    "captions in quotes and short labels": ("c.txt", lines('"{c}", indoor'), "2 cells of CSV", "format=csv .*column=0"),
    "numbers, commas and blanks": ("c.txt", lines("{n}, {c}"), "begin with a number", "format=csv .*column=1"),
    "long numbers, commas and blanks": ("c.txt", lines("{n}391895, {c}"), "begin with a number", "format=csv"),
    "numbers and bars": ("c.txt", lines("{n} | {c}"), "begin with a number", "format=csv .*column=1"),
    "lists of numbers": ("c.txt", lines("[{n}, 2, 3.5]"), "look like JSON", "format=jsonl"),
    "lists with numbers first": ("c.txt", lines('[{n}, "{c}"]'), "look like JSON", "format=jsonl"),
    "tags with attributes": ("c.txt", lines('<cap id="{n}">{c}'), "are markup", "Take the text out"),
    "tags of their own": ("c.txt", lines("<caption>{c}</caption>"), "are markup", "Take the text out"),
    "tags that stay open": ("c.txt", lines("<li>{c}"), "are markup", "Take the text out"),
    "many tabs": ("c.txt", lines("a\tb\t{c}\t{n}"), "hold 3 tabs", "format=tsv sentence_options.column=2"),
    "JSON lines": ("c.txt", lines('{{"id": {n}, "caption": "{c}"}}'), "look like JSON", "format=jsonl"),
    "lists in JSON": ("c.text", lines('["{c}", {n}]'), "look like JSON", "format=jsonl"),
    "JSON on many lines": (
        "c.txt", json.dumps([{"id": n, "text": text} for n, text in enumerate(CAPTIONS)], indent=1).encode(),
        "look like JSON", "format=jsonl",
    ),
    "a page": ("c.txt", b"<!DOCTYPE html>\n<html>\nNot found\n</html>\n", "is a page, not text", "Download"),
    "a page called jsonl": ("c.jsonl", b"  <html lang=en>\n<p>Sign in to go on", "is a page, not text", "Download"),
    "an XML file": ("c.tsv", b'\xef\xbb\xbf<?xml version="1.0"?>\n<captions>\n', "is a page, not text", "Download"),
    "markup": ("c.txt", lines("<p id={n}>{c}</p>"), "are markup", "Take the text out"),
    "gzip": ("c.txt", gzip.compress(lines("{c}")), "holds gzip, not text", "Decompress"),
    "bzip2": ("c.csv", bz2.compress(lines("{c}")), "holds bzip2, not text", "Decompress"),
    "UTF-16": ("c.txt", lines("{c}").decode().encode("utf-16"), "look like UTF-16", "iconv -f UTF-16"),
    "UTF-16 without a mark": ("c.tsv", lines("{c}").decode().encode("utf-16-le"), "look like UTF-16", "iconv"),
    "Latin-1": ("c.txt", lines("{c} \u00e0 la carte").decode().encode("latin-1"), "no text in UTF-8", "iconv -f ENC"),
    "binary": ("c.jsonl", b"\n".join(bytes(range(n, n + 40)) for n in range(130, 140)), "no text in UTF-8", "Convert"),
    "addresses in a tsv": (
        "c.tsv", lines("https://a.example/{n}.gif\t{c}"), "column 0 holds addresses", "format=tsv .*column=1"
    ),
    "names in a tsv": ("c.tsv", lines("{n}.jpg#0\t{c}"), "column 0 holds addresses or", "options.column=1"),
    "addresses in jsonl": (
        "c.jsonl", lines('{{"text": "http://a.example/{n}", "alt": "{c}"}}'), "holds addresses", "options.column"
    ),
}  # fmt: skip


@pytest.mark.parametrize("on_bad_record", ["error", "skip"])
@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_another_format(name: str, on_bad_record: str, work: Any, tmp_path: Path) -> None:
    file_name, content, problem, remedy = OTHER_FORMATS[name]
    file = tmp_path / file_name
    file.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        import_sentences([file], SentenceOptions(min_words=1), on_bad_record, 1.0, 1, work())
    assert str(file) in caught.value.where
    assert len(str(caught.value)) < 500
    with pytest.raises(InputError, match=remedy):
        raise caught.value


@pytest.mark.parametrize("name", ["many.txt", "many.txt.gz"])
def test_a_table_that_does_not_begin_as_one(name: str, work: Any, tmp_path: Path) -> None:
    file = tmp_path / name
    content = b"This list was made by hand.\n" * 40 + b"".join(b"%d.jpg,a dog runs about\n" % n for n in range(100_000))
    file.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    with pytest.raises(InputError, match=r"most lines begin with the name of a file.*'\d+.jpg,a dog"):
        import_sentences([file], SentenceOptions(), "skip", 1.0, 1, work())


def test_a_file_is_refused_before_others_are_read(work: Any, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_bytes(lines("{c}"))
    (tmp_path / "bad.txt").write_bytes(as_csv(None))
    with pytest.raises(InputError, match="bad.txt"):
        import_sentences([tmp_path / "good.txt", tmp_path / "bad.txt"], SentenceOptions(), "skip", 1.0, 1, work())
    assert not list(work().folder.glob("clean*"))


BOOK = [
    '"Yes," he said, "but where is it?"',
    '"No, never," said she.',
    "www.example.org is where he found it, and http://a.example/b.jpg as well.",
    "1,000 people came, 2 of them late.",
    "1999 was a good year.",
    "12, 13 and 14 were missing from the list.",
    "he wrote down: { a, b }",
    "[ music ] and then nothing",
    "< no answer >",
    "the file was called holiday.jpg, she thought",
    "caption, text and picture",
    "a\tb, and then a tab",
]


@pytest.mark.parametrize("indent", ["", "\t", "    "])
def test_books_are_text(indent: str, work: Any, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text("".join(f"{indent}{line} ({n})\n" for n in range(20) for line in BOOK))
    counts = import_sentences([file], SentenceOptions(min_words=1), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == [f"{' '.join(line.split())} ({n})" for n in range(20) for line in BOOK]
    assert counts["lines"] == counts["sentences"] == 20 * len(BOOK)


def test_dialogue_and_captions_with_commas_are_text(work: Any, tmp_path: Path) -> None:
    texts = [f'"{text}," said number {n}, "and no more"' for n, text in enumerate(CAPTIONS)]
    (tmp_path / "dialogue.txt").write_text("\n".join(texts))
    commas = [f"a {word}, a dog and a cat" for word in ("boy", "girl", "man", "woman", "bird", "cow")]
    (tmp_path / "commas.txt").write_text("\n".join(commas))
    files = [tmp_path / "dialogue.txt", tmp_path / "commas.txt"]
    import_sentences(files, SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == texts + commas


@pytest.mark.parametrize(
    "form",
    [
        "[{n}] {c}",
        "[{n}, 12] {c}",
        "[0:{n}] {c}",
        "[00.5 - 0{n}.5] {c}",
        "{{{n}}} {c}",
        "{n} , 000 people are here: {c}",
        "2, maybe 3 times: {c}",
        "<unk> and {c}",
        "<person> {c} <num>",
        "<s> {c} </s>",
        '"Yes", he said, "{c}"',
        '"Number {n}", she told them, {c}',
        '"{c}."',
    ],
)
def test_marks_and_numbers_in_text(form: str, work: Any, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(lines(form))
    import_sentences([tmp_path / "c.txt"], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == lines(form).decode().splitlines()


# --- Parquet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ('{{"en": "{c}"}}', "column caption holds JSON"),
        ("<p>{c} <b>{n}</b></p>", "column caption holds markup"),
        ("https://a.example/{n}.jpg {c}", "column caption holds addresses"),
    ],
)
def test_other_columns_of_parquet(form: str, problem: str, work: Any, tmp_path: Path) -> None:
    values = [None, "", *lines(form).decode().splitlines()]
    pq.write_table(pa.table({"caption": values, "alt": values}), tmp_path / "c.parquet", row_group_size=4)
    with pytest.raises(InputError, match=f"c.parquet, line 3: {problem}.*options.column"):
        import_sentences([tmp_path / "c.parquet"], SentenceOptions(column="caption"), "skip", 1.0, 1, work())


@pytest.mark.parametrize("kind", [pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.large_string()])
def test_kinds_of_text_in_parquet(kind: pa.DataType, work: Any, tmp_path: Path) -> None:
    names = pa.array([f"{n}.png" for n in range(len(CAPTIONS))], pa.string()).cast(kind)
    table = pa.table({"caption": pa.array(CAPTIONS, pa.string()).cast(kind), "image": names})
    pq.write_table(table, tmp_path / "c.parquet")
    options = SentenceOptions(image_id_column="image")
    import_sentences([tmp_path / "c.parquet"], options, "error", 0.0, 1, work())
    assert sentences_in(work().folder) == CAPTIONS
    assert owners_in(work().folder) == names.to_pylist()


# --- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "delimiter", "column", "owner"),
    [
        (["image", "caption"], ",", None, "image"),
        (["file", "text"], ";", "text", 0),
        (["file", " comment "], "|", "comment", "file"),
        (["file", "caption"], "\t", 1, 0),
        (None, ",", 1, 0),
    ],
)
@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz", "c.txt"])
def test_csv_is_read(
    name: str, head: list[str] | None, delimiter: str, column: Any, owner: Any, work: Any, tmp_path: Path
) -> None:
    content = b"\xef\xbb\xbf" + as_csv(head, delimiter).replace(b"\n", b"\r\n")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    options = SentenceOptions("csv" if name == "c.txt" else "auto", column, owner)
    counts = import_sentences([tmp_path / name], options, "error", 0.0, 1, work())
    assert sentences_in(work().folder) == CAPTIONS
    assert owners_in(work().folder) == [f"{n:06d}.png" for n in range(len(CAPTIONS))]
    assert (counts["lines"], counts["sentences"]) == (len(CAPTIONS), len(CAPTIONS))


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize(
    ("head", "column"), [("", 1), ("name{d}caption\n", None), ("name{d}caption, in English, spoken\n", 1)]
)
@pytest.mark.parametrize(
    "caption",
    ["a bird {n}, which sings, in {n}, trees", "two; of {n}; are| so; small\t {n}", 'an ""old"" man, {n}, sits'],
)
def test_delimiters_in_quotes(delimiter: str, head: str, column: Any, caption: str, work: Any, tmp_path: Path) -> None:
    if delimiter == "," and " in " in head:
        head = 'name,"caption, in English; spoken; or; not"\n'
    content = head.format(d=delimiter) + "".join(
        f'{n}.png{delimiter}"{caption.format(n=n)}"\n' for n in range(9)
    )  # fmt: skip
    (tmp_path / "c.csv").write_text(content)
    options = SentenceOptions(column=column, min_words=4)
    import_sentences([tmp_path / "c.csv"], options, "error", 0.0, 1, work())
    expected = [" ".join(caption.replace('""', '"').format(n=n).split()) for n in range(9)]
    # By its number, a column is only taken to be named where the name is a usual one.
    assert sentences_in(work().folder)[-9:] == expected


@pytest.mark.parametrize("content", ["{n}.png;{c}, and more\n", "{c}, and more;{n}\n", "{n}.png\t{c}, but, no, more\n"])
def test_delimiters_without_quotes(content: str, work: Any, tmp_path: Path) -> None:
    captions = [f"a man with {n} cats" for n in range(9)]
    (tmp_path / "c.csv").write_text("".join(content.format(n=n, c=caption) for n, caption in enumerate(captions)))
    options = SentenceOptions(column=int(not content.startswith("{c}")))
    import_sentences([tmp_path / "c.csv"], options, "error", 0.0, 1, work())
    end = content[content.index("{c}") + 3 :].split(";")[0].rstrip()
    assert sentences_in(work().folder) == [caption + end for caption in captions]


@pytest.mark.parametrize("block_bytes", [1, 50, 2**20])
def test_quotes_and_line_ends_in_csv(
    block_bytes: int, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmf_muvla.sentences.files._BLOCK_BYTES", block_bytes)
    (tmp_path / "c.csv").write_bytes(
        b'id,caption\n1,"a ""red"" car, and more"\n2,"a dog\r\nruns\nvery fast"\n3,a man 6" tall\n\n4,a cat sits here\n'
    )
    counts = import_sentences([tmp_path / "c.csv"], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == [
        'a "red" car, and more', "a dog runs very fast", 'a man 6" tall', "a cat sits here"
    ]  # fmt: skip
    sources = [row for block in MappedTable(work().folder / "sentences.arrow").blocks("source") for row in block]
    assert sources == [2, 3, 6, 8]
    assert (counts["lines"], counts["empty"]) == (5, 1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'9,"a quote that stays open', "row is not CSV"),
        (b'9,"a quote" and text behind', "row is not CSV"),
        (b"9,one, two and three", "row has another number of columns than the first: 3, not 2"),
        (b"9", "row has another number of columns than the first: 1, not 2"),
        (b"9,caf\xe9 in Rome", "line is not UTF-8"),
        (b"9,a\x00b c d", "(line holds a control character|row is not CSV)"),
        (b'9,"a quote that opens\n7,one row between them\n8,and one that closes"', "row is not CSV"),
    ],
)
def test_bad_rows_of_csv(bad: bytes, reason: str, work: Any, tmp_path: Path) -> None:
    rows = [f"{n},a good row of {n} words".encode() for n in range(30)]
    (tmp_path / "c.csv").write_bytes(b"\n".join([b"id,caption", *rows[:5], bad, *rows[5:], b""]))
    with pytest.raises(InputError, match=f"c.csv, line 7: {reason}"):
        import_sentences([tmp_path / "c.csv"], SentenceOptions(), "error", 0.0, 1, work("strict"))
    counts = import_sentences([tmp_path / "c.csv"], SentenceOptions(), "skip", 1.0, 1, work())
    assert set(sentences_in(work().folder)) >= {f"a good row of {n} words" for n in range(30)}
    assert counts["skipped"] == 1
    assert ("one row between them" in sentences_in(work().folder)) == (b"\n" in bad)


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        (
            b"id,alt\n1,a dog runs\n",
            SentenceOptions(),
            r"no column sentence or caption or text in its first line \(id, alt",
        ),
        (b"id,alt\n1,a dog runs\n", SentenceOptions(column="caption"), "no column caption"),
        (b"id,alt\n1,a dog runs\n", SentenceOptions(column=2), "no column 2: its first line has 2"),
        (b"text,text\n1,a dog runs\n", SentenceOptions(), "has two columns text"),
        (b"id,text\n1,a dog runs\n", SentenceOptions(image_id_column="image"), "no column image"),
        (b'id,"text\n' + b"1,a dog runs\n" * 20, SentenceOptions(), "line 1: row is not CSV"),
        (b"id,te\xffxt\n1,a dog runs\n", SentenceOptions(), "line 1: line is not UTF-8"),
        (b"id,text\n", SentenceOptions(column=True), "is no column of"),
        (b"", SentenceOptions(), "0 distinct sentences"),
        (b"id,text\n", SentenceOptions(), "0 distinct sentences"),
    ],
)
def test_csv_without_the_column(
    content: bytes, options: SentenceOptions, problem: str, work: Any, tmp_path: Path
) -> None:
    (tmp_path / "c.csv").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        import_sentences([tmp_path / "c.csv"], options, "skip", 1.0, 1, work())


# --- When little is left ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said", "remedy"),
    [
        (
            b"17\n18\n19\n20\n21\n22\n\n",
            r"of 7 lines, left out: 6 × too few words \(c.tsv, line 1: '17'\); 1 × empty line \(c.tsv, line 7\)",
            "name the column of the sentences with sentence_options.column",
        ),
        (b"a.png\tx\nb.png\ty\n", r"2 × too few words \(c.tsv, line 1: 'a.png'\)", "sentence_options.column"),
        (b"stop\nfine\nyes sir\n", r"3 × too few words \(c.tsv, line 1: 'stop'\)", "lower .*options.min_words"),
        (b"a dog runs\n" * 9, "of 9 lines, left out: 8 × equal to another one", "Give more text"),
        (
            b"a b " + b"c" * 300 + b"\n" + b"d e " * 600,
            r"1 × too many characters in a word \(.*1 × too many characters \(", "Give more text",
        ),
        (
            b"\xff\xfe a b c\na b\x00 c\n",
            r"1 × line is not UTF-8 \(c.tsv, line 1: 'byte 0xff at .*1 × line holds a control", "Give more text",
        ),
    ],
)  # fmt: skip
def test_what_was_left_out_is_said(content: bytes, said: str, remedy: str, work: Any, tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        import_sentences([tmp_path / "c.tsv"], SentenceOptions(), "skip", 1.0, 2, work())
    with pytest.raises(InputError, match=remedy):
        raise caught.value
    assert len(str(caught.value)) < 800


def test_little_that_is_left_is_said(work: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "c.txt").write_bytes(lines("{c}") + b"word\n" * 20)
    import_sentences([tmp_path / "c.txt"], SentenceOptions(), "skip", 1.0, 1, work())
    assert "8 sentences, of 28 lines, left out: 20 × too few words (c.txt, line 9: 'word')" in caplog.text
    caplog.clear()
    (tmp_path / "c.txt").write_bytes(lines("{c}"))
    import_sentences([tmp_path / "c.txt"], SentenceOptions(), "skip", 1.0, 1, work("second"))
    assert not caplog.text


# --- Long sentences and words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("long", "reason"),
    [
        ("a dog runs over " + "x" * 1_300_000, "too many characters"),
        ("a dog runs over " + "e\u0301\u0323" * 40_000, "too many characters"),
        ("a very " + "lo" * 126 + "ng word", "too many characters in a word"),
        ("w " * 61, "too many words"),
    ],
)
def test_long_sentences_are_left_out(long: str, reason: str, suffix: str, work: Any, tmp_path: Path) -> None:
    texts = [*CAPTIONS[:3], long, CAPTIONS[3]]
    file = tmp_path / f"file{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"caption": texts}), file)
    elif suffix == ".csv":
        file.write_text("caption\n" + "".join(f'"{text}"\n' for text in texts))
    else:
        file.write_text("".join((json.dumps({"caption": it}) if suffix == ".jsonl" else it) + "\n" for it in texts))
    counts = import_sentences([file], SentenceOptions(), "error", 0.0, 1, work())
    assert sentences_in(work().folder) == CAPTIONS[:4]
    assert (counts["too_long"], counts["skipped"]) == (1, 0)
    (entry,) = map(json.loads, (work().folder / "skipped.jsonl").read_text().splitlines())
    assert (entry["reason"], entry["line"]) == (reason, 5 if suffix == ".csv" else 4)


def test_limits_are_options(work: Any, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("one two three\none two threes\na bb ccc\n")
    options = SentenceOptions(max_characters=13, max_word_characters=3)
    import_sentences([tmp_path / "c.txt"], options, "error", 0.0, 1, work())
    assert sentences_in(work().folder) == ["a bb ccc"]
    reasons = [json.loads(line)["reason"] for line in (work().folder / "skipped.jsonl").read_text().splitlines()]
    assert reasons == ["too many characters in a word", "too many characters"]
