from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.corpus import sentences
from mmf_muvla.corpus.arrow import MappedTable
from mmf_muvla.corpus.config import SentenceOptions
from mmf_muvla.corpus.sentences import import_sentences
from mmf_muvla.errors import InputError


def read(table: Path) -> list[tuple[str, int]]:
    mapped = MappedTable(table)
    return [
        pair
        for texts, sources in zip(mapped.blocks("sentence"), mapped.blocks("source"), strict=True)
        for pair in zip(texts, sources, strict=True)
    ]


def test_sentences_are_normalised_and_told_apart(skips: Any, tmp_path: Path) -> None:
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
    counts = import_sentences(
        [text], SentenceOptions(min_words=3, max_words=5), skips("error"), tmp_path / "out.arrow", at_least=1
    )
    assert read(tmp_path / "out.arrow") == [("A dog runs.", 1), ("A caf\u00e9 in Rome", 4), ("a dog runs.", 6)]
    assert counts == {
        "sentences": 3, "lines": 8, "skipped": 0, "empty": 1, "duplicates": 2, "too_short": 1, "too_long": 1
    }  # fmt: skip
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["reason"], entry["value"]) for entry in listed] == [
        (3, "empty line", ""),
        (7, "too few words", "Two words"),
        (8, "too many words", "one two three four five six"),
    ]


def test_lines_are_counted_on_from_file_to_file(skips: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    first.write_text("one two three\nfour five six\n")
    second.write_bytes(gzip.compress(b"one two three\nseven eight nine\n"))
    import_sentences([first, second], SentenceOptions(), skips("error"), tmp_path / "out.arrow", at_least=1)
    assert read(tmp_path / "out.arrow") == [("one two three", 1), ("four five six", 2), ("seven eight nine", 4)]


def test_column_of_a_table(skips: Any, tmp_path: Path) -> None:
    text = tmp_path / "cc.tsv"
    text.write_text("a dog runs\thttp://a\nno address here\na red car\thttp://b\n")
    options = SentenceOptions(format="tsv", column=1, min_words=1)
    with pytest.raises(InputError, match=r"cc.tsv, line 2: line has no column 1: it has 1"):
        import_sentences([text], options, skips("error"), tmp_path / "out.arrow", at_least=1)
    counts = import_sentences([text], options, skips("skip"), tmp_path / "out.arrow", at_least=1)
    assert read(tmp_path / "out.arrow") == [("http://a", 1), ("http://b", 3)]
    assert counts["skipped"] == 1


def test_bytes_that_are_not_utf8(skips: Any, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(b"a dog runs\nthe caf\xe9 is open\na red car\n")
    with pytest.raises(InputError, match=r"a.txt, line 2: line is not UTF-8: byte 0xe9 at position 7"):
        import_sentences([text], SentenceOptions(), skips("error"), tmp_path / "out.arrow", at_least=1)
    counts = import_sentences([text], SentenceOptions(), skips("skip", 0.34), tmp_path / "out.arrow", at_least=1)
    assert (counts["sentences"], counts["skipped"]) == (2, 1)
    with pytest.raises(InputError, match="1 of 3 records are bad, more than max_skipped_fraction=0.01 allows"):
        import_sentences([text], SentenceOptions(), skips("skip", 0.01), tmp_path / "out.arrow", at_least=1)


def test_too_few_sentences(skips: Any, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("a dog runs\na dog runs\n\n")
    with pytest.raises(InputError, match="1 distinct sentences can be used, fewer than the 5"):
        import_sentences([text], SentenceOptions(), skips(), tmp_path / "out.arrow", at_least=5)
    text.write_text("")
    with pytest.raises(InputError, match="0 distinct sentences"):
        import_sentences([text], SentenceOptions(), skips(), tmp_path / "out.arrow", at_least=1)


def test_files_that_cannot_be_read(skips: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent.txt: no such text file"):
        import_sentences([tmp_path / "absent.txt"], SentenceOptions(), skips(), tmp_path / "out.arrow", at_least=1)
    torn = tmp_path / "torn.txt.gz"
    torn.write_bytes(gzip.compress(random.Random(0).randbytes(10000))[:5000])
    with pytest.raises(InputError, match="torn.txt.gz: is not a whole gzip file"):
        import_sentences([torn], SentenceOptions(min_words=1), skips(), tmp_path / "out.arrow", at_least=1)
    torn.write_bytes(b"plain text")
    with pytest.raises(InputError, match="torn.txt.gz: is not a whole gzip file"):
        import_sentences([torn], SentenceOptions(), skips(), tmp_path / "out.arrow", at_least=1)


def test_duplicates_are_found_across_blocks(skips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_SENTENCES_PER_BATCH", 7)
    numbers = [random.Random(0).randrange(60) for _ in range(500)]
    text = tmp_path / "a.txt"
    text.write_text("".join(f"sentence number {number}\n" for number in numbers))
    counts = import_sentences([text], SentenceOptions(), skips(), tmp_path / "out.arrow", at_least=1)
    expected = [(f"sentence number {number}", numbers.index(number) + 1) for number in dict.fromkeys(numbers)]
    assert read(tmp_path / "out.arrow") == expected
    assert counts["duplicates"] == 500 - len(expected)
