"""CSV in pieces: which lines make up a row, what the first row says, and the cells of a row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.sentences.options import SentenceOptions

# As many lines, and bytes, a quoted cell may have. A quote that is never closed must not swallow a file.
_MOST_LINES = 10
_MOST_BYTES = 2**16
_DELIMITERS = ",;|\t"
# Whatever the delimiter is, this is a cell in quotes.
_QUOTED_CELL = re.compile(r'(^|[,;|\t])"(?:[^"]|"")*"(?=[,;|\t]|$)')
# Longer lines are not read at all.
csv.field_size_limit(max(csv.field_size_limit(), 8 * 2**20))


@dataclass(frozen=True)
class CsvLayout:
    """How the rows of a file are to be read.

    Attributes:
        delimiter: what stands between cells.
        width: how many cells a row has.
        column: the cell of the sentence, from 0.
        image_id_column: the cell that names the image; ``None`` where it is not wanted.
        has_header: whether the first row says what the columns are.
    """

    delimiter: str
    width: int
    column: int
    image_id_column: int | None
    has_header: bool


class CsvProblem(Exception):
    """A row that cannot be read.

    Args:
        reason: what is wrong.
        value: the offending value.
    """

    def __init__(self, reason: str, value: str):
        super().__init__(reason)
        self.reason = reason
        self.value = value


def join_records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put the lines of a row together: a quoted cell may have line ends in it.

    Lines behind a quote that is not closed within ten lines are rows of their own.
    """
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

    Where this holds for several, it is the one with the fewest blanks behind it, since in a sentence there is one; then
    the one that the first row has most of; then the more usual one.
    """
    bare = [_QUOTED_CELL.sub(r'\1""', row) for row in rows]

    def rank(delimiter: str) -> tuple[int, int, int]:
        counts = [row.count(delimiter) for row in bare]
        blanks = sum(row.count(f"{delimiter} ") for row in bare)
        return counts.count(counts[0]) if counts[0] else 0, sum(counts) - blanks, counts[0]

    return max(_DELIMITERS, key=rank)


def split_row(row: str, delimiter: str) -> list[str]:
    """The cells of a row, without its line end; none of an empty row.

    Raises:
        CsvProblem: the row has a quote that is not closed, or text behind a closed one.
    """
    try:
        rows = list(csv.reader([row], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise CsvProblem("row is not CSV", f"{error}, in {row[:60]!r}") from error
    return rows[0] if rows else []


def row_of(row: str, layout: CsvLayout) -> list[str]:
    """As :func:`split_row`, of a file with a known number of columns.

    Raises:
        CsvProblem: see there; or the row has another number of cells.
    """
    cells = split_row(row, layout.delimiter)
    if cells and len(cells) != layout.width:
        raise CsvProblem(
            "row has another number of columns than the first", f"{len(cells)}, not {layout.width}, in {row[:60]!r}"
        )
    return cells


def read_layout(
    file: Path, first_rows: Sequence[str], options: SentenceOptions, usual_names: tuple[str, ...]
) -> CsvLayout:
    """What the first row, and for the delimiter the next ones, say about a file.

    It names the columns if ``column`` or ``image_id_column`` is a name, or neither is given. If they are numbers, it
    does so if the cell of the sentence is one of the usual names.

    Raises:
        InputError: the first row is no CSV, or has no such column.
    """
    delimiter = guess_delimiter(first_rows)
    try:
        cells = [cell.strip() for cell in split_row(first_rows[0], delimiter)]
    except CsvProblem as problem:
        raise InputError(
            f"{file}, line 1", f"{problem.reason}: {problem.value}", "Correct the file, or its sentence_options.format"
        ) from problem
    column = options.column
    if column is None:
        column = next((name for name in usual_names if name in cells), " or ".join(usual_names))
    number, owner = (
        None if wanted is None else _number(file, wanted, cells) for wanted in (column, options.image_id_column)
    )
    assert number is not None
    named = isinstance(column, str) or isinstance(options.image_id_column, str)
    return CsvLayout(delimiter, len(cells), number, owner, named or cells[number].casefold() in usual_names)


def _number(file: Path, wanted: int | str, cells: list[str]) -> int:
    if isinstance(wanted, int):
        if wanted < len(cells):
            return wanted
        problem = f"has no column {wanted}: its first line has {len(cells)}"
    else:
        if cells.count(wanted) == 1:
            return cells.index(wanted)
        problem = f"has {'two columns' if wanted in cells else 'no column'} {wanted} in its first line"
    shown = ", ".join(cells)
    raise InputError(
        f"{file}, line 1",
        f"{problem} ({shown[:200]})",
        "Name the column with sentence_options.column, or image_id_column: by a name out of the first line, or a "
        "number from 0",
    )
