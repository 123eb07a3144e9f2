"""Sentences of a block of lines: taken out of their format, cleaned, and what is no sentence left out."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmf_muvla.errors import shown
from mmf_muvla.reading.problems import LISTED_PER_FILTER, BadRecord
from mmf_muvla.sentences.options import USUAL_NAMES, SentenceOptions
from mmf_muvla.sentences.parquet import listed
from mmf_muvla.sentences.rows import CONTROL, BadLine, CsvLayout, decode

# Longer lines and values are not looked into.
LONGEST_RECORD = 4 * 2**20
# Marks without width or meaning in a sentence: soft hyphen, zero-width space, word joiner, byte order mark.
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))
_LINE_ENDS = "End lines with a line feed (tr '\\r' '\\n'), or leave such lines out with on_bad_record=skip"
BYTE_ORDER_MARK = "\ufeff".encode()


@dataclass(frozen=True)
class SentenceBlock:
    """Some consecutive lines of a file."""

    file: Path
    format: str  # text, tsv, csv, jsonl or parquet
    first_line: int  # the number of the first line in its file, from 1; of a parquet file, the row's
    first_source: int  # the same, counted on from file to file
    # Whole lines; of a csv, rows, which may have several lines; of a parquet file, pairs of a sentence and an image id.
    content: bytes | list[bytes] | list[tuple[Any, Any]]
    layout: CsvLayout | None = None  # of a csv


@dataclass
class CleanedBlock:
    """What is good in a block, and what is not."""

    sentences: list[str] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)  # the line of each, counted on from file to file
    image_ids: list[str | None] = field(default_factory=list)  # the image of each, where that is known
    num_lines: int = 0  # of a csv, rows
    bad: list[tuple[int, str, str, str]] = field(default_factory=list)  # damaged: line, reason, value, remedy
    filtered: Counter[str] = field(default_factory=Counter)  # how many lines each filter left out
    listed: list[tuple[int, str, str]] = field(default_factory=list)  # the first of them: line, reason, value


def clean_block(block: SentenceBlock, options: SentenceOptions, stop_at_bad: bool) -> CleanedBlock:
    """The sentences of a block, cleaned; an InputError at the first damaged line if ``stop_at_bad``."""
    cleaned = CleanedBlock()
    for number, record in _records(block):
        cleaned.num_lines += 1
        line = block.first_line + number
        try:
            text, owner = parse(record, block.format, block.layout, options)
            sentence = _clean(text, options)
        except BadLine as problem:
            reported = problem.reason, problem.value, problem.remedy
            if stop_at_bad:
                raise BadRecord(block.file, line, "", *reported).as_input_error() from problem
            cleaned.bad.append((line, *reported))
            continue
        if reason := _filter_reason(sentence, options):
            cleaned.filtered[reason] += 1
            if cleaned.filtered[reason] <= LISTED_PER_FILTER:
                cleaned.listed.append((line, reason, sentence[:200]))
        else:
            cleaned.sentences.append(sentence)
            cleaned.sources.append(block.first_source + number)
            cleaned.image_ids.append(owner)
    return cleaned


def clean_sentence(text: str) -> str:
    """A sentence as the corpus has it: in Unicode's composed form (NFC), with single spaces, no invisible marks."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    return " ".join(text.split())


def _records(block: SentenceBlock) -> Iterator[tuple[int, Any]]:
    """Each record with the number of lines before it."""
    content = block.content
    if isinstance(content, bytes):
        lines = (content.removeprefix(BYTE_ORDER_MARK) if block.first_line == 1 else content).split(b"\n")
        yield from enumerate(lines if lines[-1] else lines[:-1])
    elif block.layout is None:
        yield from enumerate(content)
    else:
        number = 0
        for row in content:
            assert isinstance(row, bytes)
            is_first = block.first_line + number == 1
            for record in block.layout.rows_in(row.removeprefix(BYTE_ORDER_MARK) if is_first else row):
                if block.first_line + number > 1 or not block.layout.has_header:
                    yield number, record
                number += 1 + record.count(b"\n")


def parse(record: Any, kind: str, layout: CsvLayout | None, options: SentenceOptions) -> tuple[str, str | None]:
    """The sentence of a record and the image that it belongs to; a BadLine where it is damaged."""
    line = record[0] if kind == "parquet" else record
    if isinstance(line, bytes) and len(line) > LONGEST_RECORD:
        begin = line[:200].decode("utf-8", "replace")
        if kind in ("text", "parquet"):
            # Only its length matters, which a filter will find too great.
            return begin + "…" * (options.max_characters + 1), None
        raise BadLine(f"line is longer than {LONGEST_RECORD // 2**20} MiB", f"it begins with {begin[:60]!r}")
    if kind == "parquet":
        return _checked(line, record[1], options)
    if layout is not None:
        return _parse_csv(line, layout, options)
    if kind == "text":
        return decode(_without_line_end(line)), None
    return (_parse_tsv if kind == "tsv" else _parse_jsonl)(line, options)


def _parse_tsv(line: bytes, options: SentenceOptions) -> tuple[str, str | None]:
    columns = _without_line_end(line).split(b"\t")
    if columns == [b""]:
        return "", None
    owner = options.image_id_column
    for number in (options.column or 0, owner or 0):
        if len(columns) <= number:
            remedy = "Set sentence_options.column, or leave such lines out with on_bad_record=skip"
            raise BadLine(f"line has no column {number}", f"it has {len(columns)}", remedy)
    return _checked(columns[options.column or 0], None if owner is None else columns[owner], options)


def _parse_csv(record: bytes, layout: CsvLayout, options: SentenceOptions) -> tuple[str, str | None]:
    row = layout.cells(record)
    if not row:
        return "", None
    owner = None if layout.image_id_column is None else row[layout.image_id_column].strip()
    return _checked(row[layout.column], owner, options)


def _parse_jsonl(line: bytes, options: SentenceOptions) -> tuple[str, str | None]:
    text = decode(line)
    if not text.strip():
        return "", None
    try:
        record = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadLine("line is not JSON", f"{error}, in {text[:60]!r}") from error
    if not isinstance(record, dict):
        raise BadLine("line is not a JSON object", repr(text[:60]))
    names = USUAL_NAMES if options.column is None else (str(options.column),)
    name = next((name for name in names if name in record), None)
    if name is None:
        remedy = "Name the key of the sentence with sentence_options.column"
        raise BadLine(f"object has no key {' or '.join(names)}", f"it has {listed(record)}", remedy)
    if options.image_id_column is None:
        return _checked(record[name], None, options)
    key = str(options.image_id_column)
    if key not in record:
        raise BadLine(f"object has no key {key}", f"it has {listed(record)}")
    return _checked(record[name], record[key], options)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Most readers take the last one, without a word.
    record = dict(pairs)
    if len(record) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise BadLine("object has a key twice", repr(repeated[:60]))
    return record


_JSON = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys)


def _checked(value: Any, image_id: Any, options: SentenceOptions) -> tuple[str, str | None]:
    if isinstance(value, bytes):
        value = decode(value)
    if not isinstance(value, str):
        raise BadLine("sentence is not text", shown(value, 60))
    if options.image_id_column is None:
        return value, None
    if isinstance(image_id, bytes):
        image_id = decode(image_id)
    if isinstance(image_id, bool) or not isinstance(image_id, (str, int)) or image_id == "":
        raise BadLine("image id is not a name or a number", shown(image_id, 60))
    owner = str(image_id)
    _refuse_what_is_no_text(owner, "image id")
    return value, owner


def _without_line_end(line: bytes) -> bytes:
    if b"\r" not in line:
        return line
    line = line.rstrip(b"\r")
    if b"\r" in line:
        # A file of an old system has no other line ends, and would be a single line.
        raise BadLine("line holds a carriage return", f"at byte {line.index(13)}", _LINE_ENDS)
    return line


def _clean(text: str, options: SentenceOptions) -> str:
    if not text.isprintable():
        _refuse_what_is_no_text(text, "line")
    if len(text) > 4 * options.max_characters:
        # Composing can take a time that grows with the square of the length, and makes one of four characters at most.
        text = " ".join(text.translate(_INVISIBLE).split())
        if len(text) > 4 * options.max_characters:
            return text
    return clean_sentence(text)


def _refuse_what_is_no_text(text: str, what: str) -> None:
    control = CONTROL.search(text)
    if control:
        raise BadLine(f"{what} holds a control character", f"{control.group()!r} at position {control.start()}")
    surrogate = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
    if surrogate:
        raise BadLine(f"{what} holds half a Unicode character", repr(surrogate))


def _filter_reason(sentence: str, options: SentenceOptions) -> str | None:
    if not sentence or not (sentence.isascii() or any(map(str.isprintable, sentence.replace(" ", "")))):
        return "empty line"
    if len(sentence) > options.max_characters:
        return "too many characters"
    words = sentence.count(" ") + 1
    if words < options.min_words:
        return "too few words"
    if words > options.max_words:
        return "too many words"
    if len(sentence) > options.max_word_characters and max(map(len, sentence.split(" "))) > options.max_word_characters:
        return "too many characters in a word"
    return None
