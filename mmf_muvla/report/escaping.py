"""Names from data inside of Markdown and CSV: they are text there, and neither markup nor formulas."""

from __future__ import annotations

import re

from mmf_muvla.terminal import printable

_MARKUP = re.compile(r"[\\`*\[\]<>|&$~]|(?<![^\W_])_|_(?![^\W_])|^[#+=-]")
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")


def markdown_text(text: str) -> str:
    """A name as it appears in a line of Markdown, or in a cell of a table."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", printable(text))


def markdown_code(text: str) -> str:
    """A text as code inside of a line of Markdown."""
    text = printable(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def csv_text(text: str) -> str:
    """A name as it appears in a CSV file: what a spreadsheet would take for a formula begins with an apostrophe."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
