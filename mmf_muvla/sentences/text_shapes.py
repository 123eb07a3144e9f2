"""Tells by a sample of its lines whether a file holds sentences, or something else that would pass for them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.problems import place
from mmf_muvla.sentences.rows import CONTROL, BadLine, split_row

# A sample is lines from places that are spread evenly over the file, the same ones each time.
_PLACES = 5
_BYTES_AT_A_PLACE = 2**18
_LINES_AT_A_PLACE = 100
# Nothing can be said of fewer lines.
_FEWEST_LINES = 5
_LONGEST_LOOK = 2000

_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "parquet",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "a data base",
    b"%PDF-": "a PDF",
}
_PAGE = re.compile(rb"\s*<(?:!doctype\s|html[\s>]|\?xml\s)", re.IGNORECASE)
_NAME_FIRST = re.compile(
    r"""\s*["']?(?:(?:https?|ftp|s3|gs)://\S|www\.\S"""
    r"""|[^\s,;|"]{1,300}\.(?:jpe?g|png|gif|bmp|webp|tiff?)(?:\#\d+)?(?=["'\s,;|]|$)"""
    r"""|[^,;|\t"]{1,300}\.(?:jpe?g|png|gif|bmp|webp|tiff?)(?:\#\d+)?["']?[,;|\t])""",
    re.IGNORECASE,
)
# A short number, a comma and a blank may begin a sentence ("2, maybe 3 dogs"), unless the numbers run on.
_NUMBER_FIRST = re.compile(r'\s*"?(?:\d+"?\s?(?:[;|]\s?|,)|\d{4,}"?\s?,\s)[^\d\s]')
_NUMBER_AND_BLANK = re.compile(r'\s*"?(\d{1,18})"?\s?,\s[^\d\s]')
# A tag of HTML, one with attributes, one that is closed in the line, or alone in it; but no "<unk>" or "<s>".
_MARKUP = re.compile(
    r"\s*<(?!/?s>)(?:[/!?]|[a-z][\w:.-]*(?:\s[^<>]*=|\s*/>|>\s*$)|([a-z][\w:.-]*)>.*</\1>"
    r"|(?:a|abbr|article|b|blockquote|body|br|center|code|dd|div|dl|dt|em|figure|font|footer|form|h[1-6]|head|header|hr"
    r"|html|i|iframe|img|input|label|li|link|main|meta|nav|ol|p|pre|script|section|small|span|strong|style|sub|sup|table"
    r"|tbody|td|th|thead|title|tr|tt|u|ul)[\s/>])",
    re.IGNORECASE | re.DOTALL,
)
# "[1] A dog", "[1, 2] a dog" and "[0:12] a dog" are text.
_JSON = re.compile(
    r"""\s*(?:[{\[]\s*["'{\[]|\{\s*\d+\s*:|\[\s*\d[\d.eE+-]*\s*(?:,(?![\s\d.,]*\]\s*\w)|\]?,?\s*$)"""
    r"""|[{}\[\]]+,?\s*$|"[^"]{0,200}"\s*:)"""
)
# Of texts that stand in quotes, as many as one in this many have doubled ones if they are cells of CSV.
_ONE_IN_QUOTES = 10
_SPEECH = re.compile(r'\s*"[^"]*",\s+[^\W\d][^\s,"]*\s+\w')
_OTHER_COLUMN = "Name the column of the sentences with sentence_options.column"
_COLUMN_NAMES = {"sentence", "sentences", "caption", "captions", "text", "comment", "raw", "title", "alt_text"}


@dataclass(frozen=True)
class SampleLine:
    """A line of a sample, without its end, and its number in the file, from 1; ``None`` where that is not known."""

    content: bytes
    number: int | None = None


def sample_lines(file: Path) -> list[SampleLine]:
    """Some lines of a file that are not blank, of a gzip file from its beginning; none of one that cannot be read."""
    most = _PLACES * _BYTES_AT_A_PLACE
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            begin = stream.read(most + 1)
            if len(begin) <= most or file.suffix == ".gz":
                lines = _numbered(begin.split(b"\n")[: None if len(begin) <= most else -1])
                return lines[:: max(len(lines) // (_PLACES * _LINES_AT_A_PLACE), 1)]
            lines = []
            for number in range(_PLACES):
                stream.seek((file.stat().st_size - _BYTES_AT_A_PLACE) * number // (_PLACES - 1))
                # The first and the last piece may be parts of lines.
                pieces = stream.read(_BYTES_AT_A_PLACE).split(b"\n")[:-1]
                found = [SampleLine(it) for it in pieces[1:] if it.strip()] if number else _numbered(pieces)
                lines += found[:_LINES_AT_A_PLACE]
            return lines
    except (OSError, EOFError, zlib.error):
        return []


def _numbered(lines: Sequence[bytes]) -> list[SampleLine]:
    return [SampleLine(line.removesuffix(b"\r"), number) for number, line in enumerate(lines, 1) if line.strip()]


def refuse_what_is_no_text(file: Path, lines: Sequence[SampleLine]) -> None:
    """Refuse a file that is compressed, a page, in another encoding, or binary: an InputError."""
    if not lines:
        return
    begin = lines[0].content if lines[0].number == 1 else b""
    for magic, kind in _BEGINNINGS.items():
        if begin.startswith(magic):
            remedy = "Decompress or export it, or give it the name or the sentence_options.format of what it is"
            raise InputError(str(file), f"holds {kind}, not text", remedy)
    if _PAGE.match(begin.removeprefix(b"\xef\xbb\xbf")):
        raise InputError(f"{file}, line 1", f"is a page, not text: {shown(begin, 100)}", "Download the file itself")
    damaged = [line for line in lines if not _is_text(line.content)]
    if _are_most(damaged, lines):
        whole = b"\n".join(line.content for line in lines)
        is_utf16 = begin.startswith((b"\xff\xfe", b"\xfe\xff")) or whole.count(0) * 3 > len(whole)
        problem = f"most lines are no text in UTF-8{', but look like UTF-16' * is_utf16}"
        remedy = f"Convert the file to UTF-8 (iconv -f {'UTF-16' if is_utf16 else 'ENCODING'} -t UTF-8)"
        raise InputError(place(file, damaged[0].number), f"{problem}: {shown(damaged[0].content, 100)}", remedy)


def refuse_tables(file: Path, lines: Sequence[SampleLine]) -> None:
    """Refuse text of which most lines are rows of a table, objects or markup: an InputError."""
    texts = [_decoded(line) for line in lines]
    header = re.split(r"[,;|\t]", texts[0].casefold()) if lines and lines[0].number == 1 else []
    names = [name.strip("\ufeff\"' \r") for name in header]
    if len(names) > 1 and not any(" " in name for name in names) and _COLUMN_NAMES.intersection(names):
        problem = f"names columns, as in a table, not like sentences: {shown(texts[0], 100)}"
        raise InputError(f"{file}, line 1", problem, _table_remedy(texts[1:]))
    tabs = _most_common([text.strip().count("\t") for text in texts])
    width = _most_common([_quoted_width(text) for text in texts])
    numbers = [int(match[1]) for match in map(_NUMBER_AND_BLANK.match, texts) if match]
    run_on = numbers == sorted(numbers) and len(set(numbers)) > 1
    begin_with_numbers = (_NUMBER_FIRST, _NUMBER_AND_BLANK) if run_on else (_NUMBER_FIRST,)
    rows: dict[str, Callable[[str], object]] = {
        "begin with the name of a file or an address": _NAME_FIRST.match,
        "begin with a number of their own": lambda text: any(it.match(text) for it in begin_with_numbers),
        f"hold {tabs} tab{'s' * (tabs > 1)}": lambda text: tabs and text.strip().count("\t") == tabs,
        f"are {width} cells of CSV with quotes": lambda text: width and _quoted_width(text) == width,
    }
    for what, is_row in rows.items():
        _refuse(file, lines, texts, is_row, f"most lines {what}, as in a table", _table_remedy(texts))
    quoted = [text for text in texts if _is_quoted_cell(text)]
    if sum('""' in text.strip()[1:-1] for text in quoted) * _ONE_IN_QUOTES >= len(quoted):
        remedy = "Set sentence_options.format=csv sentence_options.column=0"
        _refuse(file, lines, texts, _is_quoted_cell, "most lines are a cell of CSV with quotes, as in a table", remedy)
    remedy = "Set sentence_options.format=jsonl, with an object a line"
    _refuse(file, lines, texts, _JSON.match, "most lines look like JSON, not like sentences", remedy)
    _refuse(file, lines, texts, _MARKUP.match, "most lines are markup, not sentences", "Take the text out of the pages")


def refuse_other_columns(
    file: Path, lines: Sequence[SampleLine], values: Sequence[str], column: str, is_table: bool
) -> None:
    """Refuse a column, by its values in some lines, that holds mostly addresses, files' names, markup or JSON."""
    remedy = _table_remedy([_decoded(line) for line in lines]) if is_table else _OTHER_COLUMN
    for pattern, what in ((_NAME_FIRST, "addresses or names of files"), (_MARKUP, "markup"), (_JSON, "JSON")):
        problem = f"column {column} holds {what}, not sentences, in most lines"
        _refuse(file, lines, values, pattern.match, problem, remedy)


def looks_like_a_name(text: str) -> bool:
    """Whether a text begins with an address or the name of an image, or is a number."""
    return bool(_NAME_FIRST.match(text[:_LONGEST_LOOK])) or text.strip().isdigit()


def _decoded(line: SampleLine) -> str:
    return line.content[:_LONGEST_LOOK].decode("utf-8", "replace")


def _refuse(
    file: Path,
    lines: Sequence[SampleLine],
    texts: Sequence[str],
    is_so: Callable[[str], object],
    problem: str,
    remedy: str,
) -> None:
    found = [(line, text) for line, text in zip(lines, texts, strict=True) if is_so(text[:_LONGEST_LOOK])]
    if _are_most(found, lines):
        line, text = found[0]
        raise InputError(place(file, line.number), f"{problem}: {shown(text, 100)}", remedy)


def _table_remedy(rows: Sequence[str]) -> str:
    """The options that would read these rows."""
    for delimiter in "\t,|;":
        split = [_cells(row, delimiter) for row in rows]
        width = _most_common([len(cells) for cells in split if len(cells) > 1])
        alike = [cells for cells in split if len(cells) == width]
        if width and _are_most(alike, rows):
            blanks = [sum(cells[number].strip().count(" ") for cells in alike) for number in range(width)]
            column = blanks.index(max(blanks))
            owner = next((number for number in range(width) if number != column and not blanks[number]), None)
            kind = "tsv" if delimiter == "\t" else "csv"
            images = "" if owner is None else f" (and image_id_column={owner}, if that names the image)"
            return f"Set sentence_options.format={kind} sentence_options.column={column}{images}"
    return f"Take the names out of the lines, or give a table. {_OTHER_COLUMN}"


def _cells(row: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return row.split("\t")
    try:
        return split_row(row.rstrip("\r"), delimiter)
    except BadLine:
        return []


def _quoted_width(text: str) -> int:
    """How many cells a row of CSV has of which one is in quotes; 0 of another line, as ``"Yes", he said.``"""
    if not re.search(r'(?:^|,)"', text) or _SPEECH.match(text):
        return 0
    width = len(_cells(text, ","))
    return width if width > 1 else 0


def _is_quoted_cell(text: str) -> bool:
    text = text.strip()
    return len(text) > 2 and text[0] == text[-1] == '"' and len(_cells(text, ",")) == 1


def _most_common(numbers: Sequence[int]) -> int:
    counts = Counter(number for number in numbers if number)
    return max(counts, key=lambda number: (counts[number], number), default=0)


def _are_most(some: Sequence[object], all_lines: Sequence[object]) -> bool:
    return len(all_lines) >= _FEWEST_LINES and len(some) * 2 > len(all_lines)


def _is_text(line: bytes) -> bool:
    try:
        return not CONTROL.search(line.decode())
    except UnicodeDecodeError:
        return False
