"""Tables for people, of cells that are text: in Markdown, as CSV and on a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmf_muvla.report.escaping import csv_text
from mmf_muvla.report.pages import render
from mmf_muvla.report.scores import Estimate

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A table; its first column is text, the others are numbers.

    Attributes:
        header, rows: its cells.
        title: its heading; empty: it has none.
        note: a sentence above it.
        best: places (row, column) of cells whose first number stands out on a page.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    best: Collection[tuple[int, int]] = ()


def score_text(score: Estimate | None, spread: Literal["deviation", "error"], digits: int) -> str:
    """A score as "71.5 ± 0.7 (2)": mean, standard deviation or standard error, and number of seeds."""
    if score is None:
        return MISSING
    value = score.deviation if spread == "deviation" else score.error
    plus_minus = "" if value is None else f" ± {value:.{digits}f}"
    return f"{score.mean:.{digits}f}{plus_minus} ({len(score.values)})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, of cells that are Markdown; its first column is text, the others are numbers."""
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def markdown_page(title: str, paragraphs: Iterable[str], tables: Iterable[Table]) -> str:
    """A page of tables, all of whose texts are Markdown."""
    blocks = [f"# {title}", *paragraphs]
    for table in tables:
        blocks += [*([f"## {table.title}"] if table.title else []), *([table.note] if table.note else [])]
        blocks.append("\n".join(markdown_table(table.header, table.rows)))
    return "\n\n".join(blocks) + "\n"


def csv_file(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file, whose first column is text; ``None`` is an empty field, and numbers have four decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for first, *others in rows:
        numbers = (f"{value:.4f}" if isinstance(value, float) else value for value in others)
        writer.writerow([csv_text(first), *numbers])
    return text.getvalue()


def html_page(title: str, tables: Sequence[Table], **parts: Any) -> str:
    """A page of tables, self-contained, whose texts are text.

    Args:
        title: its heading.
        tables: the tables.
        parts: what else ``templates/tables.html.j2`` shows, each of it optional: ``lead``, ``claims``, ``svg``,
            ``reading``, ``command``.
    """
    empty: dict[str, Any] = {"lead": "", "claims": (), "svg": "", "reading": (), "command": ""}
    return render("tables.html.j2", title=title, tables=tables, **{**empty, **parts})
