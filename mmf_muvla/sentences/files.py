"""Reads the files that sentences come in, a block at a time, and cleans the sentences of a block."""

from __future__ import annotations

import gzip
import json
import re
import reprlib
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmf_muvla.errors import InputError
from mmf_muvla.reading.csv_records import CsvLayout, CsvProblem, join_records, read_layout, row_of
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.sentences.options import SentenceOptions
from mmf_muvla.sentences.text_shapes import (
    SampleLine,
    refuse_other_columns,
    refuse_tables,
    refuse_what_is_no_text,
    sample_lines,
)

_BLOCK_BYTES = 4 * 2**20
_LONGEST_LINE = 64 * 2**20
# Longer lines and values are not looked into: of a longer line no more is kept in memory.
_LONGEST_RECORD = 4 * 2**20
_ROWS_PER_BLOCK = 32768
# Of what a filter leaves out, so many of each kind are listed for each block.
_LISTED_PER_FILTER = 1000

_FORMAT_OF_SUFFIX = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    # A single object or list is refused at its first line; as text it would pass.
    ".json": "jsonl",
    ".parquet": "parquet",
}
_USUAL_NAMES = ("sentence", "caption", "text")

# Everything below the blank that is not white space, and DEL: a text has none of them, a binary file has.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
# Marks without width or meaning in a sentence: soft hyphen, zero-width space, word joiner, byte order mark.
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))

_LONGEST_LOOK = 2**16
_FIRST_LINES = 100
_ROWS_OF_A_SAMPLE = 500

_NOT_UTF8 = "Convert the file to UTF-8, or leave such lines out with on_bad_record=skip"
_LEAVE_OUT = "Correct the file, or leave such lines out with on_bad_record=skip"
_LINE_ENDS = "End lines with a line feed (tr '\\r' '\\n'), or leave such lines out with on_bad_record=skip"
_QUOTES = "Put cells with a delimiter, quote or line end into quotes, or leave such lines out with on_bad_record=skip"
_BYTE_ORDER_MARK = "\ufeff".encode()


@dataclass(frozen=True)
class SentenceBlock:
    """Some consecutive lines of a file.

    Attributes:
        file: the file.
        format: ``text``, ``tsv``, ``csv``, ``jsonl`` or ``parquet``.
        first_line: the number of the first line in its file, from 1; of a parquet file, the row's.
        first_source: the same, counted on from file to file.
        content: whole lines; of a csv, rows, which may have several lines; of a parquet file, the rows, each a sentence
            and an image id.
        layout: of a csv, what its first row says.
    """

    file: Path
    format: str
    first_line: int
    first_source: int
    content: bytes | list[bytes] | list[tuple[Any, Any]]
    layout: CsvLayout | None = None


@dataclass
class CleanedBlock:
    """What is good in a block, and what is not.

    Attributes:
        sentences: the sentences.
        sources: the line of each, counted on from file to file.
        image_ids: the image that each belongs to, or ``None``.
        num_lines: lines of the block; of a csv, rows.
        bad: damaged lines: line, reason, value, remedy.
        filtered: how many lines each filter left out.
        listed: the first of them: line, reason, value.
    """

    sentences: list[str] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    image_ids: list[str | None] = field(default_factory=list)
    num_lines: int = 0
    bad: list[tuple[int, str, str, str]] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)
    listed: list[tuple[int, str, str]] = field(default_factory=list)


def read_blocks(files: list[Path], options: SentenceOptions) -> Iterator[SentenceBlock]:
    """The lines of all files.

    Raises:
        InputError: a file is missing, cannot be decompressed, is no parquet file or lacks the column; its format has no
            such columns as are wanted; or a sample of it looks like another format than the one it is read as.
    """
    kinds = [_format_of(file, options) for file in files]
    _check_columns(files, kinds, options)
    for file, kind in zip(files, kinds, strict=True):
        _check_shape(file, kind, options)
    num_lines = 0
    for file, kind in zip(files, kinds, strict=True):
        line = 1
        for content, layout in _contents(file, kind, options):
            yield SentenceBlock(file, kind, line, num_lines + line, content, layout)
            line += _count_lines(content)
        num_lines += line - 1


def clean_block(block: SentenceBlock, options: SentenceOptions, stop_at_bad: bool) -> CleanedBlock:
    """The sentences of a block, in Unicode's composed form (NFC), with single spaces and without invisible marks.

    Raises:
        InputError: ``stop_at_bad``, and a line is damaged.
    """
    cleaned = CleanedBlock()
    for number, value, image_id in _records(block):
        cleaned.num_lines += 1
        line = block.first_line + number
        try:
            text, owner = _parse(value, image_id, block.format, options)
            sentence = _clean(text, options)
        except _BadLineError as problem:
            if stop_at_bad:
                raise BadRecord(
                    block.file, line, "", problem.reason, problem.value, problem.remedy
                ).as_input_error() from problem
            cleaned.bad.append((line, problem.reason, problem.value, problem.remedy))
            continue
        reason = _filter_reason(sentence, options)
        if reason:
            cleaned.filtered[reason] += 1
            if cleaned.filtered[reason] <= _LISTED_PER_FILTER:
                cleaned.listed.append((line, reason, sentence[:200]))
            continue
        cleaned.sentences.append(sentence)
        cleaned.sources.append(block.first_source + number)
        cleaned.image_ids.append(owner)
    return cleaned


def clean_sentence(text: str) -> str:
    """A sentence as the corpus holds it: in Unicode's composed form (NFC), with single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    return " ".join(text.split())


class _BadLineError(Exception):
    def __init__(self, reason: str, value: str, remedy: str = _LEAVE_OUT):
        super().__init__(reason)
        self.reason = reason
        # What cannot be encoded could not be written to the list of what was left out.
        self.value = value.encode("utf-8", "backslashreplace").decode()
        self.remedy = remedy


def _format_of(file: Path, options: SentenceOptions) -> str:
    if options.format != "auto":
        return options.format
    return _FORMAT_OF_SUFFIX.get((file.with_suffix("") if file.suffix == ".gz" else file).suffix.lower(), "text")


def _check_columns(files: list[Path], kinds: list[str], options: SentenceOptions) -> None:
    """Refuse columns that the formats do not have."""
    for name, value in (("column", options.column), ("image_id_column", options.image_id_column)):
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        for file, kind in zip(files, kinds, strict=True):
            if kind == "csv" and value is not None and not is_number and not (value and isinstance(value, str)):
                raise InputError(
                    f"sentence_options.{name}={value}",
                    f"is no column of {file}",
                    "Give the number of the column, from 0, or its name",
                )
            if kind == "tsv" and value is not None and not is_number:
                raise InputError(
                    f"sentence_options.{name}={value}",
                    f"is no column of {file}, whose columns have numbers from 0",
                    f"Give the number of the column, or set sentence_options.format if this is not a tsv ({kind})",
                )
    if options.image_id_column is not None and all(kind == "text" for kind in kinds):
        raise InputError(
            f"sentence_options.image_id_column={options.image_id_column}",
            f"lines of plain text do not say which image they belong to ({', '.join(map(str, files))})",
            "Use tsv, csv, jsonl or parquet, and say so with sentence_options.format; or leave it out",
        )


def _check_shape(file: Path, kind: str, options: SentenceOptions) -> None:
    """Refuse a file whose lines, by a sample, are something else than they are read as."""
    if kind == "parquet":
        _check_parquet_values(file, options)
        return
    lines = sample_lines(file)
    refuse_what_is_no_text(file, lines)
    if kind == "text":
        refuse_tables(file, lines)
        return
    layout = _csv_layout(file, options) if kind == "csv" else None
    chosen, values = [], []
    for line in lines:
        if len(line.content) <= _LONGEST_LOOK and not (line.number == 1 and layout and layout.has_header):
            value = _value_of(line.content, kind, options, layout)
            if value is not None:
                chosen.append(line)
                values.append(value)
    column = options.column if layout is None else layout.column
    if column is None:
        column = 0 if kind == "tsv" else " or ".join(_USUAL_NAMES)
    refuse_other_columns(file, chosen, values, str(column), is_table=kind != "jsonl")


def _check_parquet_values(file: Path, options: SentenceOptions) -> None:
    """Refuse a file whose first rows hold something else than sentences."""
    blocks = _parquet_blocks(file, options, _ROWS_OF_A_SAMPLE)
    rows = next(blocks, [])
    blocks.close()
    found = [(number, _value_of(text, "parquet", options, owner)) for number, (text, owner) in enumerate(rows, 1)]
    values = {number: value for number, value in found if value}
    chosen = [SampleLine(b"", number) for number in values]
    column = " or ".join(_USUAL_NAMES) if options.column is None else str(options.column)
    refuse_other_columns(file, chosen, list(values.values()), column, is_table=False)


def _value_of(line: Any, kind: str, options: SentenceOptions, image_id: Any) -> str | None:
    """The sentence of a line, ``None`` of a damaged one."""
    try:
        return _parse(line, image_id, kind, options)[0]
    except _BadLineError:
        return None


def _contents(file: Path, kind: str, options: SentenceOptions) -> Iterator[tuple[Any, CsvLayout | None]]:
    if kind == "csv":
        layout = _csv_layout(file, options)
        yield from ((rows, layout) for rows in _csv_blocks(file))
    else:
        yield from (
            (content, None) for content in (_parquet_blocks(file, options) if kind == "parquet" else _line_blocks(file))
        )


def _line_blocks(file: Path) -> Iterator[bytes]:
    """Whole lines, some mebibytes at a time; the last may lack its line end.

    Of a line that is too long to be used, the beginning stays.
    """
    rest: list[bytes] = []
    length = 0
    line = 1
    is_gzip = file.suffix == ".gz"
    try:
        if is_gzip and not file.stat().st_size:
            raise EOFError("it is empty")
        with gzip.open(file, "rb") if is_gzip else file.open("rb") as stream:
            while chunk := stream.read(_BLOCK_BYTES):
                if length > _LONGEST_RECORD:
                    end = chunk.find(b"\n")
                    length += len(chunk) if end < 0 else end
                    chunk = b"" if end < 0 else chunk[end:]
                lines, newline, tail = chunk.rpartition(b"\n")
                if newline:
                    block = b"".join((*rest, lines, newline))
                    yield block
                    line += _count_lines(block)
                    rest, length = [], 0
                if tail:
                    rest.append(tail)
                    length += len(tail)
                if length > _LONGEST_LINE:
                    raise InputError(
                        f"{file}, line {line}",
                        f"is longer than {_LONGEST_LINE // 2**20} MiB, and begins with {b''.join(rest)[:20]!r}",
                        "This is not a text file with a sentence a line; check its format",
                    )
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(str(file), "no such text file", "Name an existing file, one sentence a line") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(str(file), f"is not a whole gzip file ({error})", "Download the file again") from error
    except OSError as error:
        raise InputError(str(file), f"cannot be read ({error.strerror})", "Name a file that can be read") from error
    if rest:
        yield b"".join(rest)


def _count_lines(content: bytes | list[bytes] | list[tuple[Any, Any]]) -> int:
    if isinstance(content, bytes):
        return content.count(b"\n") + (not content.endswith(b"\n"))
    return sum(1 + record.count(b"\n") if isinstance(record, bytes) else 1 for record in content)


def _lines(file: Path) -> Iterator[bytes]:
    for block in _line_blocks(file):
        yield from block.removesuffix(b"\n").split(b"\n")


def _csv_layout(file: Path, options: SentenceOptions) -> CsvLayout | None:
    """What the first row of a file says; ``None`` of an empty file."""
    rows = join_records(islice(_lines(file), _FIRST_LINES))
    first = next(rows, None)
    if first is None:
        return None
    try:
        text = _decode(first[:_LONGEST_RECORD].removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r"))
    except _BadLineError as problem:
        raise InputError(f"{file}, line 1", f"{problem.reason}: {problem.value}", _NOT_UTF8) from problem
    others = [row.rstrip(b"\r").decode("utf-8", "replace") for row in rows if 0 < len(row) <= _LONGEST_LOOK]
    return read_layout(file, [text, *others], options, _USUAL_NAMES)


def _csv_blocks(file: Path) -> Iterator[list[bytes]]:
    """Rows, some mebibytes at a time."""
    rows: list[bytes] = []
    size = 0
    for row in join_records(_lines(file)):
        rows.append(row)
        size += len(row) + 1
        if size >= _BLOCK_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _parquet_blocks(
    file: Path, options: SentenceOptions, rows: int = _ROWS_PER_BLOCK
) -> Generator[list[tuple[Any, Any]]]:
    try:
        # Where a file has checksums; without, wrong bytes may give wrong sentences.
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            schema = table.schema_arrow
            column = _column_name(options, schema.names, file)
            _check_parquet_column(schema, column, _is_text, "text", file)
            names = [column]
            if options.image_id_column is not None:
                names.append(str(options.image_id_column))
                _check_parquet_column(schema, names[1], _is_name, "names or whole numbers", file)
            for batch in table.iter_batches(batch_size=rows, columns=names):
                texts, owners = (_parquet_values(batch.column(name)) for name in (names[0], names[-1]))
                yield list(zip(texts, owners, strict=True))
    except FileNotFoundError as error:
        raise InputError(str(file), "no such parquet file", "Name an existing file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(file), f"cannot be read as a parquet file ({error})", "Download the file again") from error


def _check_parquet_column(
    schema: pa.Schema, name: str, fits: Callable[[pa.DataType], bool], wanted: str, file: Path
) -> None:
    count = schema.names.count(name)
    if count != 1:
        raise InputError(
            str(file),
            f"has {count or 'no'} column{'s' if count else ''} {name!r} (it has {_listed(schema.names)})",
            "Set sentence_options.column, or image_id_column, to one of them",
        )
    kind = schema.field(name).type
    if not fits(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise InputError(str(file), f"column {name!r} holds {kind}, not {wanted}", f"Name a column of {wanted}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_name(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind)


def _parquet_values(column: pa.Array) -> list[Any]:
    """Values of a column; text as the bytes that it is stored in, since these need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        values = _parquet_values(column.dictionary)
        return [None if index is None else values[index] for index in column.indices.to_pylist()]
    return (column.cast(pa.large_binary()) if _is_text(column.type) else column).to_pylist()


def _column_name(options: SentenceOptions, known: list[str], file: Path) -> str:
    if options.column is not None:
        return str(options.column)
    for name in _USUAL_NAMES:
        if name in known:
            return name
    raise InputError(
        str(file),
        f"has no column {' or '.join(_USUAL_NAMES)} (it has {_listed(known)})",
        "Name the column of the sentences with sentence_options.column",
    )


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:200]} …"


def _records(block: SentenceBlock) -> Iterator[tuple[int, Any, Any]]:
    """Each record with the number of lines before it, and, of a csv, how to read it instead of an image id."""
    content = block.content
    if isinstance(content, bytes):
        lines = (content.removeprefix(_BYTE_ORDER_MARK) if block.first_line == 1 else content).split(b"\n")
        if not lines[-1]:
            lines.pop()
        yield from ((number, line, None) for number, line in enumerate(lines))
    elif block.format == "parquet":
        yield from ((number, *row) for number, row in enumerate(content))
    else:
        assert block.layout is not None
        number = 0
        for row in content:
            assert isinstance(row, bytes)
            for record in _rows_of(
                row.removeprefix(_BYTE_ORDER_MARK) if block.first_line + number == 1 else row, block.layout
            ):
                if block.first_line + number > 1 or not block.layout.has_header:
                    yield number, record, block.layout
                number += 1 + record.count(b"\n")


def _rows_of(row: bytes, layout: CsvLayout) -> list[bytes]:
    """The row alone; or its lines, where they make no row together, or are rows themselves: a quote is one too many."""
    lines = row.split(b"\n")
    if len(lines) > 1:
        between = lines[1:-1]
        if not _is_row(row, layout) or (between and layout.width > 1 and all(_is_row(it, layout) for it in between)):
            return lines
    return [row]


def _is_row(row: bytes, layout: CsvLayout) -> bool:
    try:
        return bool(row_of(_decode(row.rstrip(b"\r")), layout))
    except (CsvProblem, _BadLineError):
        return False


def _parse(value: Any, image_id: Any, kind: str, options: SentenceOptions) -> tuple[str, str | None]:
    if isinstance(value, bytes) and len(value) > _LONGEST_RECORD:
        begin = value[:200].decode("utf-8", "replace")
        if kind in ("text", "parquet"):
            # Only its length matters, which a filter will find too great.
            return begin + "…" * (options.max_characters + 1), None
        raise _BadLineError(f"line is longer than {_LONGEST_RECORD // 2**20} MiB", f"it begins with {begin[:60]!r}")
    return _PARSERS[kind](value, image_id, options)


def _parse_text(line: bytes, _: Any, options: SentenceOptions) -> tuple[str, str | None]:
    return _decode(_without_line_end(line)), None


def _parse_tsv(line: bytes, _: Any, options: SentenceOptions) -> tuple[str, str | None]:
    columns = _without_line_end(line).split(b"\t")
    if columns == [b""]:
        return "", None
    numbers = [0 if options.column is None else options.column]
    if options.image_id_column is not None:
        numbers.append(options.image_id_column)
    for number in numbers:
        if len(columns) <= number:
            raise _BadLineError(
                f"line has no column {number}",
                f"it has {len(columns)}",
                "Set sentence_options.column, or leave such lines out with on_bad_record=skip",
            )
    return _parse_row(columns[numbers[0]], columns[numbers[-1]], options)


def _parse_csv(record: bytes, layout: CsvLayout, options: SentenceOptions) -> tuple[str, str | None]:
    try:
        row = row_of(_decode(record.rstrip(b"\r")), layout)
    except CsvProblem as problem:
        raise _BadLineError(problem.reason, problem.value, _QUOTES) from problem
    if not row:
        return "", None
    owner = None if layout.image_id_column is None else row[layout.image_id_column].strip()
    return _parse_row(row[layout.column], owner, options)


def _parse_jsonl(line: bytes, _: Any, options: SentenceOptions) -> tuple[str, str | None]:
    text = _decode(line)
    if not text.strip():
        return "", None
    try:
        record = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise _BadLineError("line is not JSON", f"{error}, in {text[:60]!r}") from error
    if not isinstance(record, dict):
        raise _BadLineError("line is not a JSON object", repr(text[:60]))
    names = _USUAL_NAMES if options.column is None else (str(options.column),)
    name = next((name for name in names if name in record), None)
    if name is None:
        raise _BadLineError(
            f"object has no key {' or '.join(names)}",
            f"it has {_listed(record)}",
            "Name the key of the sentence with sentence_options.column",
        )
    owner = None
    if options.image_id_column is not None:
        key = str(options.image_id_column)
        if key not in record:
            raise _BadLineError(f"object has no key {key}", f"it has {_listed(record)}")
        owner = record[key]
    return _parse_row(record[name], owner, options)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # It is left open what they mean; most readers take the last one, without a word.
    record = dict(pairs)
    if len(record) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _BadLineError("object has a key twice", repr(repeated[:60]))
    return record


_JSON = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys)


def _parse_row(value: Any, image_id: Any, options: SentenceOptions) -> tuple[str, str | None]:
    if isinstance(value, bytes):
        value = _decode(value)
    if not isinstance(value, str):
        raise _BadLineError("sentence is not text", _shown(value))
    if options.image_id_column is None:
        return value, None
    if isinstance(image_id, bytes):
        image_id = _decode(image_id)
    if isinstance(image_id, bool) or not isinstance(image_id, (str, int)) or image_id == "":
        raise _BadLineError("image id is not a name or a number", _shown(image_id))
    owner = str(image_id)
    _refuse_what_is_no_text(owner, "image id")
    return value, owner


_PARSERS = {"text": _parse_text, "tsv": _parse_tsv, "csv": _parse_csv, "jsonl": _parse_jsonl, "parquet": _parse_row}


def _shown(value: Any) -> str:
    # Nested values may be deeper than repr() can go.
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = 60
    return shown.repr(value)[:60]


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        value = f"byte {line[error.start]:#04x} at position {error.start}"
        raise _BadLineError("line is not UTF-8", value, _NOT_UTF8) from error


def _without_line_end(line: bytes) -> bytes:
    if b"\r" not in line:
        return line
    line = line.rstrip(b"\r")
    if b"\r" in line:
        # A file of an old system has these alone, and would be a single line.
        raise _BadLineError("line holds a carriage return", f"at byte {line.index(13)}", _LINE_ENDS)
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
    control = _CONTROL.search(text)
    if control:
        raise _BadLineError(f"{what} holds a control character", f"{control.group()!r} at position {control.start()}")
    surrogate = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
    if surrogate:
        raise _BadLineError(f"{what} holds half a Unicode character", repr(surrogate))


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
