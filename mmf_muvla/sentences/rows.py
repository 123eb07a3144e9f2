"""Lines and rows: what makes up a row of CSV, the cells of one, and what is wrong with a line that cannot be read."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.sentences.options import USUAL_NAMES, SentenceOptions

# As many lines, and bytes, a quoted cell may have. A quote that is never closed must not swallow a file.
_MOST_LINES = 10
_MOST_BYTES = 2**16
_DELIMITERS = ",;|\t"
# Everything below the blank that is not white space, and DEL: a text has none of them, a binary file has.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
# Whatever the delimiter is, this is a cell in quotes.
_QUOTED_CELL = re.compile(r'(^|[,;|\t])"(?:[^"]|"")*"(?=[,;|\t]|$)')
# Longer lines are not read at all.
csv.field_size_limit(max(csv.field_size_limit(), 8 * 2**20))

_NOT_UTF8 = "Convert the file to UTF-8, or leave such lines out with on_bad_record=skip"
_LEAVE_OUT = "Correct the file, or leave such lines out with on_bad_record=skip"
_QUOTES = "Put cells with a delimiter, quote or line end into quotes, or leave such lines out with on_bad_record=skip"


class BadLine(Exception):
    """A line or row that cannot be read: what is wrong, the offending value, and the remedy."""

    def __init__(self, reason: str, value: str, remedy: str = _LEAVE_OUT):
        super().__init__(reason)
        self.reason = reason
        # What cannot be encoded could not be written to the list of what was left out.
        self.value = value.encode("utf-8", "backslashreplace").decode()
        self.remedy = remedy


def decode(line: bytes) -> str:
    """A line as text; a BadLine where it is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        value = f"byte {line[error.start]:#04x} at position {error.start}"
        raise BadLine("line is not UTF-8", value, _NOT_UTF8) from error


@dataclass(frozen=True)
class CsvLayout:
    """How the rows of a file are to be read."""

    delimiter: str
    width: int  # cells of a row
    column: int  # the cell of the sentence, from 0
    image_id_column: int | None  # the cell that names the image; ``None`` where it is not wanted
    has_header: bool  # the first row says what the columns are

    def cells(self, row: bytes) -> list[str]:
        """The cells of a row, none of an empty one; a BadLine where it is not UTF-8, not CSV, or of another width."""
        text = decode(row.rstrip(b"\r"))
        cells = split_row(text, self.delimiter)
        if cells and len(cells) != self.width:
            value = f"{len(cells)}, not {self.width}, in {text[:60]!r}"
            raise BadLine("row has another number of columns than the first", value, _QUOTES)
        return cells

    def rows_in(self, row: bytes) -> list[bytes]:
        """The row; or its lines, where they make no row together, or are rows themselves: a quote is one too many."""
        lines = row.split(b"\n")
        if len(lines) > 1:
            between = lines[1:-1]
            if not self._is_row(row) or (between and self.width > 1 and all(map(self._is_row, between))):
                return lines
        return [row]

    def _is_row(self, row: bytes) -> bool:
        try:
            return bool(self.cells(row))
        except BadLine:
            return False


def join_records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put the lines of a row together: a cell in quotes may have line ends in it, though not more than nine."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        closes_or_opens = line.count(b'"') % 2 == 1
        if not waiting and not closes_or_opens:
            yield line
            continue
        waiting.append(line)
        size += len(line)
        if len(waiting) > 1 and closes_or_opens:
            yield b"\n".join(waiting)
            waiting, size = [], 0
        elif len(waiting) >= _MOST_LINES or size > _MOST_BYTES:
            yield from waiting
            waiting, size = [], 0
    yield from waiting


def guess_delimiter(rows: Sequence[str]) -> str:
    """The delimiter of which most rows have as many as the first; what is in quotes does not count.

    Of several, it is the one with the fewest blanks behind it, as a sentence has; then the first row's most common one.
    """
    bare = [_QUOTED_CELL.sub(r'\1""', row) for row in rows]

    def rank(delimiter: str) -> tuple[int, int, int]:
        counts = [row.count(delimiter) for row in bare]
        blanks = sum(row.count(f"{delimiter} ") for row in bare)
        return counts.count(counts[0]) if counts[0] else 0, sum(counts) - blanks, counts[0]

    return max(_DELIMITERS, key=rank)


def split_row(row: str, delimiter: str) -> list[str]:
    """The cells of a row, none of an empty one; a BadLine where a quote is not closed, or text follows a closed one."""
    try:
        return next(csv.reader([row], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise BadLine("row is not CSV", f"{error}, in {row[:60]!r}", _QUOTES) from error


def read_layout(file: Path, first_rows: Sequence[str], options: SentenceOptions) -> CsvLayout:
    """What the first row, and for the delimiter the next ones, say about a file.

    It names the columns if ``column`` or ``image_id_column`` is a name, or neither is given. If they are numbers, it
    does so if the cell of the sentence is one of the usual names. If it is no CSV, or lacks a column: an InputError.
    """
    delimiter = guess_delimiter(first_rows)
    try:
        cells = [cell.strip() for cell in split_row(first_rows[0], delimiter)]
    except BadLine as problem:
        remedy = "Correct the file, or its sentence_options.format"
        raise InputError(f"{file}, line 1", f"{problem.reason}: {problem.value}", remedy) from problem
    column, owner = options.column, options.image_id_column
    if column is None:
        column = next((name for name in USUAL_NAMES if name in cells), " or ".join(USUAL_NAMES))
    number = _number(file, column, cells)
    has_header = isinstance(column, str) or isinstance(owner, str) or cells[number].casefold() in USUAL_NAMES
    return CsvLayout(delimiter, len(cells), number, None if owner is None else _number(file, owner, cells), has_header)


def _number(file: Path, wanted: int | str, cells: list[str]) -> int:
    if isinstance(wanted, int):
        if wanted < len(cells):
            return wanted
        problem = f"has no column {wanted}: its first line has {len(cells)}"
    else:
        if cells.count(wanted) == 1:
            return cells.index(wanted)
        problem = f"has {'two columns' if wanted in cells else 'no column'} {wanted} in its first line"
    by = "by a name from the first line, or a number from 0"
    remedy = f"Name the column with sentence_options.column, or image_id_column: {by}"
    raise InputError(f"{file}, line 1", f"{problem} ({', '.join(cells)[:200]})", remedy)
