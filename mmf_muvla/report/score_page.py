"""The command ``tools/score_table.py``: the table of scores, printed, as Markdown, as CSV and as a page."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.options.kinds import Name, Names, Options
from mmf_muvla.options.reading import read_options
from mmf_muvla.report.runs import Run, collect_runs, scores_of
from mmf_muvla.report.scores import META, TASK_NAMED, TITLES, Estimate
from mmf_muvla.report.tables import (
    MISSING,
    Table,
    csv_file,
    html_page,
    markdown_page,
    markdown_text,
    print_table,
    score_text,
)
from mmf_muvla.terminal import printable, terminal_console

Scores = Mapping[str, Mapping[str, Estimate | None]]
_WIDTH_OF_FILES = 160
_FILES = ("scores.md", "scores.csv", "scores.html")
_LEGEND = (
    "Per cent on the test split: mean ± standard deviation over seeds (number of seeds). "
    "Meta-Ave: the mean of the paper's four tasks, over the seeds that have all four. "
    f"Retrieval: the mean of R@1, R@5 and R@10 both ways. {MISSING}: no run."
)
_ABOUT_BEST = " The highest mean of a column is coloured; where the spreads overlap, it says little."


@dataclass
class ScoreOptions(Options):
    """The options of the command, which says what they mean."""

    runs: Name
    out: Name | None = None
    systems: Names = field(default_factory=list)


def score_command(arguments: Sequence[str]) -> None:
    """``runs=FOLDER [out=FOLDER] [systems=NAME,NAME…]``: print the table, and write it in Markdown, CSV and HTML."""
    options = read_options(ScoreOptions, arguments)
    folder = Path(options.runs)
    out = output_folder("out", options.out) if options.out else folder
    check_outputs(out, _FILES)
    runs, left_out = collect_runs(folder)
    scores = scores_of(runs, options.systems)
    tables = [score_table(scores), *_run_tables(scores, runs, folder)]
    reasons = [(run.folder.relative_to(folder).as_posix(), run.reason) for run in left_out]
    about_reasons = f"{len(reasons)} run{'' if len(reasons) == 1 else 's'} without test scores"
    markdown = markdown_page("Test scores", tables, lead=_LEGEND)
    if reasons:
        listed = (f"- {markdown_text(place)}: {markdown_text(reason)}\n" for place, reason in reasons)
        markdown += f"\n## {about_reasons}\n\n{''.join(listed)}"
    # Where nobody says how wide it is, in a file for one, nothing need be broken.
    console = terminal_console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    print_table(replace(tables[0], title="test scores in per cent: mean ± standard deviation (seeds)"), console)
    if reasons:
        tables.append(Table(["folder", "reason"], reasons, about_reasons))
        console.print("\n  ".join((f"{about_reasons}:", *map(": ".join, reasons))), soft_wrap=True)
    page = html_page("Test scores", tables, lead=_LEGEND + _ABOUT_BEST)
    for name, text in zip(_FILES, (markdown, as_csv(scores), page), strict=True):
        write_output(out / name, text)
        print(printable(str(out / name)))


def score_table(scores: Scores) -> Table:
    """Systems by tasks."""
    rows = [[name, *(score_text(it, "deviation", 2) for it in scores[name].values())] for name in scores]
    columns = zip(*([it and it.mean for it in of_system.values()] for of_system in scores.values()), strict=True)
    best = [
        (row, number)
        for number, means in enumerate(columns, 1)
        for row, mean in enumerate(means)
        if mean is not None and mean == max(it for it in means if it is not None)
    ]
    header = ["system", *(TITLES[column] for column in next(iter(scores.values()), {}))]
    return Table(header, rows, best=best)


def as_csv(scores: Scores) -> str:
    """A line for every system and task, and for every system's Meta-Ave; missing ones have empty fields."""
    metrics = {task.name: task.metric for task in TASK_NAMED.values()} | {META: "mean of the four"}
    rows = []
    for system, of_system in scores.items():
        for task, it in of_system.items():
            numbers = (
                [it.mean, it.deviation, len(it.values), " ".join(map(str, it.values))] if it else [None, None, 0, ""]
            )
            rows.append([system, task, metrics[task], *numbers])
    return csv_file(["system", "task", "metric", "mean_per_cent", "standard_deviation", "num_seeds", "seeds"], rows)


def _run_tables(scores: Scores, runs: Sequence[Run], folder: Path) -> Iterator[Table]:
    """Every run of the systems, task by task."""
    order = list(scores)
    for task in TASK_NAMED.values():
        of_task = [run for run in runs if run.task == task.name and run.system in scores]
        of_task.sort(key=lambda run: (order.index(run.system), run.seed))
        measured = [metric for metric in task.details if any(metric in run.details for run in of_task)]
        details = (task.details[metric] for metric in measured)
        header = ["system", "seed", "score", *details, "best update", "updates", "folder"]
        rows = [
            [
                run.system,
                str(run.seed),
                f"{run.score:.2f}",
                *(f"{run.details[metric]:.2f}" if metric in run.details else MISSING for metric in measured),
                *(MISSING if update is None else str(update) for update in (run.best_update, run.updates)),
                run.folder.relative_to(folder).as_posix(),
            ]
            for run in of_task
        ]
        if rows:
            yield Table(header, rows, f"{task.title}, every run", names=(0, len(header) - 1))
