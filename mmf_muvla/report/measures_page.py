"""What the evaluating tools have in common: measures with intervals, printed, as JSON and as a page of tables."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import write_output
from mmf_muvla.report.tables import Table, html_page, print_table
from mmf_muvla.terminal import printable, terminal_console

RESULTS = "results.json"
_WIDTH_OF_FILES = 160


def publish_measures(
    out: Path,
    page: str,
    results: Mapping[str, Any],
    tables: Sequence[Table],
    *,
    title: str,
    about: Sequence[str],
    tool: str,
    arguments: Sequence[str],
    width: int = _WIDTH_OF_FILES,
) -> None:
    """Write ``results.json`` and a page into ``out``, and print the tables and where these files are.

    Args:
        out: the folder.
        page: name of the page's file.
        results: what goes into ``results.json``.
        tables: of the page, and printed.
        title: of the page.
        about: paragraphs; the first is the page's lead, the others are how to read it.
        tool, arguments: the command that this is of.
        width: of the output where it goes into a file, so that nobody says how wide it is, and nothing need be broken.
    """
    command = printable(f"python tools/{tool} {shlex.join(arguments)}")
    text = html_page(title, tables, lead=about[0], reading=about[1:], command=command)
    write_output(out / RESULTS, as_json(results))
    write_output(out / page, text)
    console = terminal_console(width=None if sys.stdout.isatty() else width)
    for table in tables:
        print_table(table, console)
    console.print("\n".join([*about, str(out / RESULTS), str(out / page)]), soft_wrap=True)
