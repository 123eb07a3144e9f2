"""Tables for people: in Markdown, as CSV and on a page. Names in them are text, neither markup nor formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import rich.table
from rich.console import Console
from rich.text import Text

from mmf_muvla.report.pages import render
from mmf_muvla.report.scores import Estimate
from mmf_muvla.terminal import printable

MISSING = "–"
_MARKUP = re.compile(r"[\\`*\[\]<>|&$~]|(?<![^\W_])_|_(?![^\W_])|^[#+=-]")
_FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of one


@dataclass(frozen=True)
class Table:
    """A table, with what stands above it."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    note: str = ""  # in Markdown
    names: Collection[int] = (0,)  # columns whose cells are names; the others are numbers
    best: Collection[tuple[int, int]] = ()  # (row, column) of cells whose first number stands out on a page


def print_table(table: Table, console: Console) -> None:
    """Print a table on a console on which text from data is text, with a line in the place of an empty row."""
    printed = rich.table.Table(title=table.title, title_justify="left")
    for number, name in enumerate(table.header):
        printed.add_column(name, justify="left" if number in table.names else "right")
    for row in table.rows:
        # Already here, since a column must be as wide as what is shown.
        cells = (Text(printable(it.plain), it.style) if isinstance(it, Text) else printable(it) for it in row)
        printed.add_row(*cells) if row else printed.add_section()
    console.print(printed)


def score_text(score: Estimate | None, spread: Literal["deviation", "error"], digits: int) -> str:
    """A score as "71.5 ± 0.7 (2)": mean, standard deviation or standard error, and number of seeds."""
    if score is None:
        return MISSING
    value = score.deviation if spread == "deviation" else score.error
    plus_minus = "" if value is None else f" ± {value:.{digits}f}"
    return f"{score.mean:.{digits}f}{plus_minus} ({len(score.values)})"


def markdown_text(text: str) -> str:
    """A name as it appears in a line of Markdown, or in a cell of a table."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", printable(text))


def markdown_code(text: str) -> str:
    """A text as code inside of a line of Markdown."""
    text = printable(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def markdown_page(
    title: str, tables: Iterable[Table], *, lead: str = "", claims: Iterable[str] = (), command: str = ""
) -> str:
    """A page of tables, below what the paper claims, the command that made them, and a paragraph of Markdown."""
    about = "\n".join(f"The paper: {markdown_text(claim)}" for claim in claims)
    blocks = [f"# {markdown_text(title)}", *filter(None, [about, command and markdown_code(command), lead])]
    for table in tables:
        blocks += [
            *([f"## {markdown_text(table.title)}"] if table.title else []),
            *([table.note] if table.note else []),
        ]
        rows = [[markdown_text(it) if at in table.names else it for at, it in enumerate(row)] for row in table.rows]
        lines = [map(markdown_text, table.header), ["---", *("---:" for _ in table.header[1:])], *rows]
        blocks.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(blocks) + "\n"


def csv_text(text: str) -> str:
    """A name as it appears in a CSV file: what a spreadsheet would take for a formula begins with an apostrophe."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_file(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file, whose first column is names; ``None`` is an empty field, and numbers have four decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for first, *others in rows:
        writer.writerow([csv_text(first), *(f"{it:.4f}" if isinstance(it, float) else it for it in others)])
    return text.getvalue()


def html_page(title: str, tables: Sequence[Table], **parts: Any) -> str:
    """A page of tables, self-contained, with what else ``templates/tables.html.j2`` can show: ``lead``, ``claims``,
    ``svg``, ``picture`` (a data URI), ``reading`` and ``command``."""
    empty: dict[str, Any] = {"lead": "", "claims": (), "svg": "", "picture": "", "reading": (), "command": ""}
    return render("tables.html.j2", title=title, tables=tables, **{**empty, **parts})
