"""The command ``tools/score_table.py``: the table of scores, printed, as Markdown, as CSV and as a page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rich.table
from rich.text import Text

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.options.kinds import Name, Names, Options
from mmf_muvla.options.reading import read_options
from mmf_muvla.report.escaping import markdown_text
from mmf_muvla.report.runs import Run, collect_runs, scores_of
from mmf_muvla.report.scores import META, TASKS, TITLES, Estimate, Task
from mmf_muvla.report.tables import MISSING, Table, csv_file, html_page, markdown_page, score_text
from mmf_muvla.terminal import printable, terminal_console

Scores = Mapping[str, Mapping[str, Estimate | None]]
_WIDTH_OF_FILES = 160
_FILES = ("scores.md", "scores.csv", "scores.html")
_LEGEND = (
    "Per cent on the test split: mean ± standard deviation over seeds (number of seeds). "
    f"Meta-Ave: the mean of the four tasks, over the seeds that have all four. {MISSING}: no run."
)
_ABOUT_BEST = " The highest mean of a column is coloured; where the spreads overlap, it says little."


@dataclass
class ScoreOptions(Options):
    """The options of the command, which says what they mean."""

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
    scores = scores_of(runs, options.systems)
    shown = [run for system in scores for run in runs if run.system == system]
    reasons = [(_place(run.folder, folder), run.reason) for run in left_out]
    markdown = markdown_page("Test scores", [_LEGEND], _tables(scores, shown, folder, markdown_text))
    if reasons:
        listed = (f"- {markdown_text(place)}: {markdown_text(reason)}\n" for place, reason in reasons)
        markdown += f"\n## {_without_scores(reasons)}\n\n{''.join(listed)}"
    tables = _tables(scores, shown, folder)
    if reasons:
        tables.append(Table(["folder", "reason"], reasons, _without_scores(reasons)))
    page = html_page("Test scores", tables, lead=_LEGEND + _ABOUT_BEST)
    _print(tables[0], reasons)
    for name, text in zip(_FILES, (markdown, as_csv(scores), page), strict=True):
        write_output(out / name, text)
        print(printable(str(out / name)))


def score_table(scores: Scores, text: Callable[[str], str] = str) -> Table:
    """Systems by tasks."""
    rows = [
        [text(system), *(score_text(it, "deviation", 2) for it in of_system.values())]
        for system, of_system in scores.items()
    ]
    columns = zip(*([it and it.mean for it in of_system.values()] for of_system in scores.values()), strict=True)
    best = [
        (row, number)
        for number, means in enumerate(columns, 1)
        for row, mean in enumerate(means)
        if mean is not None and mean == max(it for it in means if it is not None)
    ]
    return Table(["system", *TITLES.values()], rows, best=best)


def as_csv(scores: Scores) -> str:
    """A line for every system and task, and for every system's Meta-Ave; missing ones have empty fields."""
    metrics = {task.name: task.metric for task in TASKS} | {META: "mean of the four"}
    rows = [
        [system, task, metrics[task]]
        + (
            [None, None, 0, None]
            if it is None
            else [it.mean, it.deviation, len(it.values), " ".join(map(str, it.values))]
        )
        for system, of_system in scores.items()
        for task, it in of_system.items()
    ]
    return csv_file(["system", "task", "metric", "mean_per_cent", "standard_deviation", "num_seeds", "seeds"], rows)


def _tables(scores: Scores, runs: Sequence[Run], folder: Path, text: Callable[[str], str] = str) -> list[Table]:
    """The scores, and every run task by task; ``text`` makes Markdown, say, of a text."""
    tables = [score_table(scores, text)]
    order = list(scores)
    for task in TASKS:
        of_task = [run for run in runs if run.task == task.name]
        if of_task:
            of_task.sort(key=lambda run: (order.index(run.system), run.seed))
            tables.append(_run_table(task, of_task, folder, text))
    return tables


def _run_table(task: Task, runs: Sequence[Run], folder: Path, text: Callable[[str], str]) -> Table:
    measured = [metric for metric in task.details if any(metric in run.details for run in runs)]
    rows = [
        [
            text(run.system),
            str(run.seed),
            f"{run.score:.2f}",
            *(f"{run.details[metric]:.2f}" if metric in run.details else MISSING for metric in measured),
            *(MISSING if update is None else str(update) for update in (run.best_update, run.updates)),
            text(_place(run.folder, folder)),
        ]
        for run in runs
    ]
    details = (task.details[metric] for metric in measured)
    header = ["system", "seed", "score", *details, "best update", "updates", "folder"]
    return Table(header, rows, f"{task.title}, every run")


def _print(table: Table, left_out: Sequence[tuple[str, str]]) -> None:
    """Print the table, and the runs that have no part in it."""
    # Where nobody says how wide it is, in a file for one, nothing need be broken.
    console = terminal_console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    printed = rich.table.Table(title="test scores in per cent: mean ± standard deviation (seeds)", title_justify="left")
    for name in table.header:
        printed.add_column(name, justify="left" if name == "system" else "right")
    for row in table.rows:
        printed.add_row(*map(_plain, row))
    console.print(printed)
    if left_out:
        console.print(f"{_without_scores(left_out)}:")
        for place, reason in left_out:
            console.print(_plain(f"  {place}: {reason}"), soft_wrap=True)


def _plain(text: str) -> Text:
    """Text in which rich sees no markup, and a terminal no commands."""
    return Text(printable(text))


def _without_scores(left_out: Sequence[object]) -> str:
    return f"{len(left_out)} run{'' if len(left_out) == 1 else 's'} without test scores"


def _place(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()
