from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.errors import InputError
from mmf_muvla.sentences import cleaning
from mmf_muvla.sentences import files as sentence_files
from mmf_muvla.sentences import importing as sentences
from mmf_muvla.sentences.importing import import_sentences
from mmf_muvla.sentences.options import SentenceOptions


def run(
    work: Any,
    files: list[Path],
    options: SentenceOptions,
    on_bad_record: str,
    max_skipped_fraction: float = 1.0,
    at_least: int = 1,
    num_workers: int = 1,
) -> dict[str, int]:
    """A new run of the stage."""
    shutil.rmtree(work().folder)
    return import_sentences(files, options, on_bad_record, max_skipped_fraction, at_least, work("stage", num_workers))


def read(table: Path) -> list[tuple[str, int]]:
    mapped = MappedTable(table)
    return [
        pair
        for texts, sources in zip(mapped.blocks("sentence"), mapped.blocks("source"), strict=True)
        for pair in zip(texts, sources, strict=True)
    ]


def test_sentences_are_normalised_and_told_apart(work: Any, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(
        "\ufeffA dog runs.\r\n"
        "  A\u00a0dog \t runs. \n"  # the same, but for its spaces
        "\n"
        "A cafe\u0301 in Rome\n"  # a letter and its accent apart
        "A caf\u00e9 in Rome\n"
        "a dog runs.\n"  # another sentence: case counts
        "Two words\n"
        "one two three four five six".encode()
    )
    counts = run(work, [text], SentenceOptions(min_words=3, max_words=5), "error", at_least=1)
    assert read(work().folder / "sentences.arrow") == [
        ("A dog runs.", 1),
        ("A caf\u00e9 in Rome", 4),
        ("a dog runs.", 6),
    ]
    assert counts == {
        "sentences": 3, "lines": 8, "skipped": 0, "empty": 1, "duplicates": 2, "too_short": 1, "too_long": 1
    }  # fmt: skip
    listed = [json.loads(line) for line in (work().folder / "skipped.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["reason"], entry["value"]) for entry in listed] == [
        (3, "empty line", ""),
        (7, "too few words", "Two words"),
        (8, "too many words", "one two three four five six"),
    ]


def test_lines_are_counted_on_from_file_to_file(work: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    first.write_text("one two three\nfour five six\n")
    second.write_bytes(gzip.compress(b"one two three\nseven eight nine\n"))
    run(work, [first, second], SentenceOptions(), "error", at_least=1)
    assert read(work().folder / "sentences.arrow") == [
        ("one two three", 1),
        ("four five six", 2),
        ("seven eight nine", 4),
    ]


def test_column_of_a_table(work: Any, tmp_path: Path) -> None:
    text = tmp_path / "cc.tsv"
    text.write_text("a dog runs\thttp://a\nno address here\na red car\thttp://b\n")
    options = SentenceOptions(format="tsv", column=1, min_words=1)
    with pytest.raises(InputError, match=r"cc.tsv, line 2: line has no column 1: it has 1"):
        run(work, [text], options, "error", at_least=1)
    counts = run(work, [text], options, "skip", at_least=1)
    assert read(work().folder / "sentences.arrow") == [("http://a", 1), ("http://b", 3)]
    assert counts["skipped"] == 1


def test_bytes_that_are_not_utf8(work: Any, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(b"a dog runs\nthe caf\xe9 is open\na red car\n")
    with pytest.raises(InputError, match=r"a.txt, line 2: line is not UTF-8: byte 0xe9 at position 7"):
        run(work, [text], SentenceOptions(), "error", at_least=1)
    counts = run(work, [text], SentenceOptions(), "skip", 0.34, at_least=1)
    assert (counts["sentences"], counts["skipped"]) == (2, 1)
    with pytest.raises(InputError, match="1 of 3 records are bad, more than max_skipped_fraction=0.01 allows"):
        run(work, [text], SentenceOptions(), "skip", 0.01, at_least=1)


def test_too_few_sentences(work: Any, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("a dog runs\na dog runs\n\n")
    with pytest.raises(InputError, match="1 distinct sentences can be used, fewer than the 5"):
        run(work, [text], SentenceOptions(), "skip", at_least=5)
    text.write_text("")
    with pytest.raises(InputError, match="0 distinct sentences"):
        run(work, [text], SentenceOptions(), "skip", at_least=1)


def test_files_that_cannot_be_read(work: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent.txt: no such text file"):
        run(work, [tmp_path / "absent.txt"], SentenceOptions(), "skip", at_least=1)
    torn = tmp_path / "torn.txt.gz"
    torn.write_bytes(gzip.compress(random.Random(0).randbytes(10000))[:5000])
    with pytest.raises(InputError, match="torn.txt.gz: is not a whole gzip file"):
        run(work, [torn], SentenceOptions(min_words=1), "skip", at_least=1)
    torn.write_bytes(b"plain text")
    with pytest.raises(InputError, match="torn.txt.gz: is not a whole gzip file"):
        run(work, [torn], SentenceOptions(), "skip", at_least=1)


@pytest.mark.parametrize(("most", "expected_passes"), [(512, 32), (4, 4)])
def test_duplicates_are_found_across_blocks(
    most: int, expected_passes: int, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In passes over so many digests at once, or over more where there would be too many passes."""
    monkeypatch.setattr(sentence_files, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(sentences, "_DIGESTS_AT_ONCE", 40)
    monkeypatch.setattr(sentences, "_MOST_PASSES", most)
    passes: list[int] = []
    digests_of_pass = sentences._digests_of_pass
    monkeypatch.setattr(
        sentences, "_digests_of_pass", lambda files, number, of: passes.append(of) or digests_of_pass(files, number, of)
    )
    numbers = [random.Random(0).randrange(60) for _ in range(500)]
    numbers += numbers[::-1]
    text = tmp_path / "a.txt"
    text.write_text("".join(f"sentence number {number}\n" for number in numbers))
    counts = run(work, [text], SentenceOptions(), "skip")
    expected = [(f"sentence number {number}", numbers.index(number) + 1) for number in dict.fromkeys(numbers)]
    assert read(work().folder / "sentences.arrow") == expected
    assert counts["duplicates"] == 1000 - len(expected)
    assert passes == [expected_passes] * expected_passes


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 2**20])
def test_blocks_do_not_matter(block_bytes: int, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_files, "_BLOCK_BYTES", block_bytes)
    text = tmp_path / "a.txt"
    text.write_bytes("one two three\r\n\nein z\u00fcrich t\u00e4glich\nfour five six".encode())
    counts = run(work, [text], SentenceOptions(), "error")
    assert read(work().folder / "sentences.arrow") == [
        ("one two three", 1), ("ein z\u00fcrich t\u00e4glich", 3), ("four five six", 4)
    ]  # fmt: skip
    assert (counts["lines"], counts["empty"]) == (4, 1)


JSONL = (
    '{"image_id": 7, "caption": "a dog runs"}\n'
    '{"image_id": "x", "caption": "a red car"}\n'
    '{"image_id": 9, "caption": "a dog runs"}\n'
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.tsv"])
def test_formats_and_owners(name: str, work: Any, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in JSONL.splitlines()]
    file = tmp_path / name
    columns: dict[str, Any] = {"image_id_column": "image_id"}
    if name == "a.parquet":
        table = pa.table(
            {"image_id": [str(row["image_id"]) for row in rows], "caption": [row["caption"] for row in rows]}
        )
        pa.parquet.write_table(table, file)
    elif name == "a.tsv":
        file.write_text("".join(f"{row['image_id']}\t{row['caption']}\n" for row in rows))
        columns = {"column": 1, "image_id_column": 0}
    else:
        file.write_bytes(gzip.compress(JSONL.encode()) if name.endswith(".gz") else JSONL.encode())
    counts = run(work, [file], SentenceOptions(**columns), "error")
    assert read(work().folder / "sentences.arrow") == [("a dog runs", 1), ("a red car", 2)]
    assert (counts["sentences"], counts["duplicates"], counts["lines"]) == (2, 1, 3)
    owners = MappedTable(work().folder / "owners.arrow")
    pairs = [
        pair
        for ids, numbers in zip(owners.blocks("image_id"), owners.blocks("pool_row"), strict=True)
        for pair in zip(ids, numbers, strict=True)
    ]
    # The third is equal to the first, and still belongs to its image.
    assert pairs == [("7", 0), ("x", 1), ("9", 0)]


def test_without_owners_there_is_no_table_of_them(work: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(JSONL)
    run(work, [tmp_path / "a.jsonl"], SentenceOptions(), "error")
    assert not (work().folder / "owners.arrow").exists()


def test_several_processes_write_the_same(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks are cut in this process.
    monkeypatch.setattr(sentence_files, "_BLOCK_BYTES", 2000)
    text = tmp_path / "a.txt"
    lines = [f"sentence number {number % 300}" if number % 50 else "short" for number in range(1000)]
    text.write_bytes("\n".join(lines).encode() + b"\nbad \xff byte here\n")
    results = []
    for num_workers in (1, 3):
        counts = run(work, [text], SentenceOptions(), "skip", num_workers=num_workers)
        files = {
            path.name: path.read_bytes() for path in work().folder.iterdir() if path.suffix in (".arrow", ".jsonl")
        }
        results.append((counts, files))
    assert results[0] == results[1]
    assert results[0][0]["skipped"] == 1
    assert set(results[0][1]) == {"sentences.arrow", "skipped.jsonl"}


def test_a_killed_run_goes_on_to_the_same(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_files, "_BLOCK_BYTES", 500)
    text = tmp_path / "a.txt"
    text.write_text("".join(f"sentence number {number % 70}\n" for number in range(200)))
    whole = run(work, [text], SentenceOptions(), "skip")
    expected = (work().folder / "sentences.arrow").read_bytes()
    cleaned = []

    def clean_until(last: int, original: Any = cleaning.clean_block) -> Any:
        def clean(block: Any, *arguments: Any) -> Any:
            if len(cleaned) == last:
                raise KeyboardInterrupt
            cleaned.append(block.first_line)
            return original(block, *arguments)

        return clean

    shutil.rmtree(work().folder)
    for last in (3, 5):
        monkeypatch.setattr(sentences, "clean_block", clean_until(last))
        with pytest.raises(KeyboardInterrupt):
            import_sentences([text], SentenceOptions(), "skip", 1.0, 1, work())
    monkeypatch.setattr(sentences, "clean_block", clean_until(10**6))
    assert import_sentences([text], SentenceOptions(), "skip", 1.0, 1, work()) == whole
    assert (work().folder / "sentences.arrow").read_bytes() == expected
    # No block was cleaned twice.
    assert len(set(cleaned)) == len(cleaned)
