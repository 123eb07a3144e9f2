"""The table of scores: printed, as Markdown, as CSV and as a page; see :mod:`mmf_muvla.report.scores`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.options.kinds import Name, Names, Options
from mmf_muvla.options.reading import read_options
from mmf_muvla.report.escaping import csv_text, markdown_text
from mmf_muvla.report.pages import render
from mmf_muvla.report.scores import TASKS, Cell, LeftOut, Row, Run, collect_runs, score_rows
from mmf_muvla.terminal import printable, terminal_console

META = "Meta-Ave"
MISSING = "–"
_WIDTH_OF_FILES = 160
_FILES = ("scores.md", "scores.csv", "scores.html")


@dataclass
class ScoreOptions(Options):
    """The options of the command.

    Attributes:
        runs: the folder of the runs.
        out: where the table goes; ``None``: the folder of the runs.
        systems: the systems to show.
    """

    runs: Name
    out: Name | None = None
    systems: Names = field(default_factory=list)


def score_command(arguments: Sequence[str]) -> None:
    """``runs=FOLDER [out=FOLDER] [systems=NAME,NAME…]``: print the table, and write it to ``scores.md``, ``scores.csv``
    and ``scores.html``.

    Raises:
        InputError: an option or a run cannot be used, or somebody else's file would be replaced.
    """
    options = read_options(ScoreOptions, arguments)
    folder = Path(options.runs)
    out = output_folder("out", options.out) if options.out else folder
    check_outputs(out, _FILES)
    runs, left_out = collect_runs(folder)
    rows = score_rows(runs, options.systems)
    shown = [run for row in rows for run in runs if run.system == row.system]
    pages = (
        as_markdown(rows, shown, left_out, folder),
        as_csv(rows),
        as_page(rows, shown, left_out, folder),
    )
    # Where nobody says how wide it is, in a file for one, nothing need be broken.
    print_table(rows, left_out, folder, terminal_console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES))
    for name, text in zip(_FILES, pages, strict=True):
        write_output(out / name, text)
        print(printable(str(out / name)))


def print_table(rows: Sequence[Row], left_out: Sequence[LeftOut], folder: Path, console: Console) -> None:
    """Print the table, and the runs that have no part in it."""
    table = Table(title="test scores in per cent: mean ± standard deviation (seeds)", title_justify="left")
    table.add_column("system")
    for task in TASKS:
        table.add_column(task.title, justify="right")
    table.add_column(META, justify="right")
    for row in rows:
        table.add_row(_plain(row.system), *(cell_text(cell) for cell in _cells(row)))
    console.print(table)
    if left_out:
        console.print(f"{_counted(left_out)} without test scores:")
        for run in left_out:
            console.print(_plain(f"  {_place(run.folder, folder)}: {run.reason}"), soft_wrap=True)


def as_markdown(rows: Sequence[Row], runs: Sequence[Run], left_out: Sequence[LeftOut], folder: Path) -> str:
    """The table, every run, and the runs without scores."""
    lines = ["# Test scores", "", _legend(), ""]
    lines += markdown_table(
        ["system", *(task.title for task in TASKS), META],
        [[markdown_text(row.system), *(cell_text(cell) for cell in _cells(row))] for row in rows],
    )
    for title, header, body in run_tables(runs, folder):
        lines += ["", f"## {title}, every run", "", *markdown_table(header, [_in_markdown(line) for line in body])]
    if left_out:
        lines += ["", f"## {_counted(left_out)} without test scores", ""]
        lines += [f"- {markdown_text(_place(run.folder, folder))}: {markdown_text(run.reason)}" for run in left_out]
    return "\n".join(lines) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """A line for every system and task, and for every system's Meta-Ave; missing ones have empty fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["system", "task", "metric", "mean_per_cent", "standard_deviation", "num_seeds", "seeds"])
    names = [*((task.name, task.metric) for task in TASKS), ("meta_ave", "mean of the four")]
    for row in rows:
        for (task, metric), cell in zip(names, _cells(row), strict=True):
            values = ["", "", 0, ""] if cell is None else _csv_values(cell)
            writer.writerow([csv_text(row.system), task, metric, *values])
    return text.getvalue()


def as_page(rows: Sequence[Row], runs: Sequence[Run], left_out: Sequence[LeftOut], folder: Path) -> str:
    """The page, self-contained."""
    columns = list(zip(*(_cells(row) for row in rows), strict=True))
    best = [max((cell.mean for cell in column if cell is not None), default=None) for column in columns]
    return render(
        "scores.html.j2",
        legend=_legend(),
        titles=[*(task.title for task in TASKS), META],
        rows=[(row.system, list(zip(_cells(row), best, strict=True))) for row in rows],
        tables=run_tables(runs, folder),
        num_runs=len(runs),
        counted=_counted(left_out),
        left_out=[(_place(run.folder, folder), run.reason) for run in left_out],
    )


def run_tables(runs: Sequence[Run], folder: Path) -> list[tuple[str, list[str], list[list[str]]]]:
    """Every run, task by task: title, header and lines of a table; the first and last column are text."""
    tables = []
    order = list(dict.fromkeys(run.system for run in runs))
    for task in TASKS:
        of_task = sorted(
            (run for run in runs if run.task == task.name), key=lambda run: (order.index(run.system), run.seed)
        )
        measured = [metric for metric in task.details if any(metric in run.details for run in of_task)]
        header = ["system", "seed", "score", *(task.details[metric] for metric in measured)]
        lines = [
            [
                run.system,
                str(run.seed),
                f"{run.score:.2f}",
                *(f"{run.details[metric]:.2f}" if metric in run.details else MISSING for metric in measured),
                MISSING if run.best_update is None else str(run.best_update),
                MISSING if run.updates is None else str(run.updates),
                _place(run.folder, folder),
            ]
            for run in of_task
        ]
        if lines:
            tables.append((task.title, [*header, "best update", "updates", "folder"], lines))
    return tables


def cell_text(cell: Cell | None) -> str:
    """A score as text: "71.50 ± 0.71 (2)"."""
    if cell is None:
        return MISSING
    spread = "" if cell.deviation is None else f" ± {cell.deviation:.2f}"
    return f"{cell.mean:.2f}{spread} ({len(cell.seeds)})"


def _cells(row: Row) -> list[Cell | None]:
    return [*(row.cells[task.name] for task in TASKS), row.meta]


def _csv_values(cell: Cell) -> list[Any]:
    deviation = "" if cell.deviation is None else f"{cell.deviation:.4f}"
    return [f"{cell.mean:.4f}", deviation, len(cell.seeds), " ".join(map(str, cell.seeds))]


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, of cells that are Markdown; its first column is text, the others are numbers."""
    lines = [header, ["---", *("---:" for _ in header[1:])], *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _in_markdown(line: Sequence[str]) -> list[str]:
    """A line of :func:`run_tables`, whose first and last columns are text."""
    return [markdown_text(line[0]), *line[1:-1], markdown_text(line[-1])]


def _plain(text: str) -> Text:
    """Text in which rich sees no markup, and a terminal no commands."""
    return Text(printable(text))


def _legend() -> str:
    return (
        "Per cent on the test split: mean ± standard deviation over seeds (number of seeds). "
        f"{META}: the mean of the four tasks, over the seeds that have all four. {MISSING}: no run."
    )


def _counted(left_out: Sequence[LeftOut]) -> str:
    return "1 run" if len(left_out) == 1 else f"{len(left_out)} runs"


def _place(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()
