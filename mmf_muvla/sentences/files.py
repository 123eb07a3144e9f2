"""Reads the files that sentences come in, a block of lines at a time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.sentences.cleaning import BYTE_ORDER_MARK, LONGEST_RECORD, SentenceBlock, parse
from mmf_muvla.sentences.options import USUAL_NAMES, SentenceOptions
from mmf_muvla.sentences.parquet import parquet_blocks
from mmf_muvla.sentences.rows import BadLine, CsvLayout, decode, join_records, read_layout
from mmf_muvla.sentences.text_shapes import (
    SampleLine,
    refuse_other_columns,
    refuse_tables,
    refuse_what_is_no_text,
    sample_lines,
)

_BLOCK_BYTES = 4 * 2**20
_LONGEST_LINE = 64 * 2**20
_FORMAT_OF_SUFFIX = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    # A single object or list is refused at its first line; as text it would pass.
    ".json": "jsonl",
    ".parquet": "parquet",
}
_LONGEST_LOOK = 2**16
_FIRST_LINES = 100
_ROWS_OF_A_SAMPLE = 500


def read_blocks(files: list[Path], options: SentenceOptions) -> Iterator[SentenceBlock]:
    """The lines of all files.

    Raises:
        InputError: a file is missing, cannot be decompressed, is no parquet file or lacks the column; its format has no
            such columns as are wanted; or a sample of it looks like another format than the one it is read as.
    """
    kinds = [_format_of(file, options) for file in files]
    _check_columns(files, kinds, options)
    layouts = [_check_shape(file, kind, options) for file, kind in zip(files, kinds, strict=True)]
    num_lines = 0
    for file, kind, layout in zip(files, kinds, layouts, strict=True):
        line = 1
        for content in _contents(file, kind, options):
            yield SentenceBlock(file, kind, line, num_lines + line, content, layout)
            line += _count_lines(content)
        num_lines += line - 1


def _format_of(file: Path, options: SentenceOptions) -> str:
    if options.format != "auto":
        return options.format
    return _FORMAT_OF_SUFFIX.get((file.with_suffix("") if file.suffix == ".gz" else file).suffix.lower(), "text")


def _check_columns(files: list[Path], kinds: list[str], options: SentenceOptions) -> None:
    """Refuse columns that the formats do not have."""
    for name, value in (("column", options.column), ("image_id_column", options.image_id_column)):
        is_number = type(value) is int and value >= 0
        for file, kind in zip(files, kinds, strict=True):
            may_be_name = kind == "csv" and isinstance(value, str) and value
            if kind not in ("csv", "tsv") or value is None or is_number or may_be_name:
                continue
            remedy = "Give the number of the column, from 0, or its name"
            if kind == "tsv":
                remedy = "Give the number of the column, or set sentence_options.format if this is not a tsv (tsv)"
            of_file = f"is no column of {file}{', whose columns have numbers from 0' * (kind == 'tsv')}"
            raise InputError(f"sentence_options.{name}={value}", of_file, remedy)
    if options.image_id_column is not None and all(kind == "text" for kind in kinds):
        raise InputError(
            f"sentence_options.image_id_column={options.image_id_column}",
            f"lines of plain text do not say which image they belong to ({', '.join(map(str, files))})",
            "Use tsv, csv, jsonl or parquet, and say so with sentence_options.format; or leave it out",
        )


def _check_shape(file: Path, kind: str, options: SentenceOptions) -> CsvLayout | None:
    """Refuse a file whose lines, by a sample, are something else than they are read as; the layout of a csv."""
    layout = None
    samples: list[tuple[SampleLine, Any]]
    if kind == "parquet":
        with closing(parquet_blocks(file, options, _ROWS_OF_A_SAMPLE)) as blocks:
            samples = [(SampleLine(b"", number), row) for number, row in enumerate(next(blocks, []), 1)]
    else:
        lines = sample_lines(file)
        refuse_what_is_no_text(file, lines)
        if kind == "text":
            refuse_tables(file, lines)
            return None
        layout = _csv_layout(file, options) if kind == "csv" else None
        header = 1 if layout is not None and layout.has_header else -1
        short = (line for line in lines if len(line.content) <= _LONGEST_LOOK)
        samples = [(line, line.content) for line in short if line.number != header]
    chosen, values = [], []
    for line, record in samples:
        try:
            value = parse(record, kind, layout, options)[0]
        except BadLine:
            continue
        if value or kind != "parquet":
            chosen.append(line)
            values.append(value)
    column = options.column if layout is None else layout.column
    if column is None:
        column = 0 if kind == "tsv" else " or ".join(USUAL_NAMES)
    refuse_other_columns(file, chosen, values, str(column), is_table=kind in ("tsv", "csv"))
    return layout


def _contents(file: Path, kind: str, options: SentenceOptions) -> Iterator[Any]:
    if kind == "parquet":
        return parquet_blocks(file, options)
    return _csv_blocks(file) if kind == "csv" else _line_blocks(file)


def _line_blocks(file: Path) -> Iterator[bytes]:
    """Whole lines, some mebibytes at a time; of a line that is too long to be used, the beginning stays."""
    rest: list[bytes] = []
    length = 0
    line = 1
    is_gzip = file.suffix == ".gz"
    try:
        if is_gzip and not file.stat().st_size:
            raise EOFError("it is empty")
        with gzip.open(file, "rb") if is_gzip else file.open("rb") as stream:
            while chunk := stream.read(_BLOCK_BYTES):
                if length > LONGEST_RECORD:
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
                    problem = f"is longer than {_LONGEST_LINE // 2**20} MiB, and begins with {b''.join(rest)[:20]!r}"
                    remedy = "This is not a text file with a sentence a line; check its format"
                    raise InputError(f"{file}, line {line}", problem, remedy)
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
        text = decode(first[:LONGEST_RECORD].removeprefix(BYTE_ORDER_MARK).rstrip(b"\r"))
    except BadLine as problem:
        raise InputError(f"{file}, line 1", f"{problem.reason}: {problem.value}", problem.remedy) from problem
    others = [row.rstrip(b"\r").decode("utf-8", "replace") for row in rows if 0 < len(row) <= _LONGEST_LOOK]
    return read_layout(file, [text, *others], options)


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
