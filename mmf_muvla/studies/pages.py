"""A study's results for people: tables as Markdown and CSV, a plot, and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.outputs import publish_output, write_output
from mmf_muvla.report.escaping import csv_text, markdown_code, markdown_text
from mmf_muvla.report.pages import render
from mmf_muvla.report.plots import COLOURS, INK, MUTED, as_svg, figure_with
from mmf_muvla.report.score_page import MISSING, markdown_table
from mmf_muvla.report.scores import TASK_NAMED
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study
from mmf_muvla.studies.summary import META, Estimate, Line
from mmf_muvla.terminal import printable

FILES = ("table.md", "table.csv", "plot.svg", "plot.png", "index.html")
_TITLES = {name: task.title for name, task in TASK_NAMED.items()} | {META: "Meta-Ave"}
_OF_SEEDS: dict[str, Any] = {"alpha": 0.3, "markersize": 3.5, "markeredgewidth": 0}


def write_results(folder: Path, study: Study, lines: Sequence[Line], records: Sequence[Record], command: str) -> None:
    """Write ``table.md``, ``table.csv``, ``plot.svg``, ``plot.png`` and ``index.html`` into the study's folder.

    Args:
        folder: where to write.
        study: the study.
        lines: its numbers.
        records: of all its runs, for their times.
        command: what made them.
    """
    svg = plot(study, lines, folder / "plot.png")
    reading = folder / "reading.md"
    page = render(
        "study.html.j2",
        study=study,
        svg=svg,
        command=command,
        columns=[_TITLES[name] for name in (*study.tasks, META)],
        rows=[(line.label, *_texts(study, line.scores, False)) for line in lines],
        differences=[(line.label, *_texts(study, line.differences, True)) for line in lines if line.differences],
        reference=study.systems[study.reference].label,
        rates=_rates(study, lines),
        time=_time(records),
        reading=reading.read_text(encoding="utf-8").split("\n\n") if reading.is_file() else [],
    )
    files = {
        "table.md": as_markdown(study, lines, records, command),
        "table.csv": as_csv(study, lines),
        "plot.svg": svg,
        "index.html": page,
    }
    for name, text in files.items():
        write_output(folder / name, text)


def as_markdown(study: Study, lines: Sequence[Line], records: Sequence[Record], command: str) -> str:
    """The tables, with the command and the time that they took."""
    titles = [_TITLES[name] for name in (*study.tasks, META)]
    reference = markdown_text(study.systems[study.reference].label)
    parts = [f"# {markdown_text(study.title)}", ""]
    parts += [*(f"The paper: {markdown_text(claim)}" for claim in study.claims), ""] if study.claims else []
    parts += [markdown_code(command), "", f"{_time(records)}.", ""]
    parts += ["Test scores in per cent: mean ± standard error over seeds (number of seeds).", ""]
    parts += markdown_table(
        ["system", *titles], [(markdown_text(line.label), *_texts(study, line.scores, False)) for line in lines]
    )
    compared = [
        (markdown_text(line.label), *_texts(study, line.differences, True)) for line in lines if line.differences
    ]
    if compared:
        parts += [
            "",
            f"Difference to {reference} in points, seed by seed: mean [95 % confidence interval].",
            "",
        ]
        parts += markdown_table(["system", *titles], compared)
    parts += [
        "",
        "Learning rates of the fine-tunings: of several, the best on validation data, with a seed outside the tables.",
        "",
    ]
    parts += markdown_table(
        ["system", *(_TITLES[name] for name in study.tasks)],
        [(markdown_text(label), *rates) for label, *rates in _rates(study, lines)],
    )
    return "\n".join(parts) + "\n"


def as_csv(study: Study, lines: Sequence[Line]) -> str:
    """A line for every system and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["mean", "standard_error", "low", "high", "num_seeds"]
    writer.writerow(["system", "task", *header, *(f"difference_{name}" for name in header)])
    for line in lines:
        for column in (*study.tasks, META):
            values = [*_numbers(line.scores.get(column)), *_numbers(line.differences.get(column))]
            writer.writerow([csv_text(line.system), column, *values])
    return text.getvalue()


def plot(study: Study, lines: Sequence[Line], png: Path) -> str:
    """The study's plot, written as a PNG file and returned as an ``<svg>`` element.

    Every column has a panel. Systems with an ``x`` are points of a curve there, and others horizontal lines; without
    any ``x``, a system is a row: a faint dot for each seed, a stroke at the mean, and its standard error.
    """
    figure = (
        _curves(study, lines) if any(system.x is not None for system in study.systems.values()) else _dots(study, lines)
    )
    figure.tight_layout()
    with publish_output(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    return as_svg(figure)


def _curves(study: Study, lines: Sequence[Line]) -> Any:
    columns = (META, *study.tasks)
    figure, axes = figure_with(len(columns), 2.5 * len(columns), 2.6)
    points = sorted((line for line in lines if study.systems[line.system].x is not None), key=lambda it: _x(study, it))
    others = [line for line in lines if study.systems[line.system].x is None]
    for axis, column in zip(axes, columns, strict=True):
        drawn = [(line, line.scores[column]) for line in points]
        known = [(_x(study, line), cell) for line, cell in drawn if cell is not None]
        colour = COLOURS[1] if column == META else COLOURS[0]
        for x, scores in known:
            axis.plot([x] * scores.seeds, scores.values, "o", color=colour, **_OF_SEEDS)
        axis.errorbar(
            [x for x, _ in known], [cell.mean for _, cell in known], yerr=[cell.error or 0 for _, cell in known],
            color=colour, linewidth=1.6, marker="o", markersize=4, capsize=2, elinewidth=1,
        )  # fmt: skip
        for number, line in enumerate(others):
            if (cell := line.scores[column]) is not None:
                style = ("--", ":", "-.")[number % 3]
                axis.axhline(cell.mean, color=MUTED, linewidth=1, linestyle=style, label=printable(line.label))
        axis.set_title(_TITLES[column], fontsize=10, loc="left", color=INK)
        axis.set_xlabel(printable(study.x_label))
        axis.set_xticks([x for x, _ in known], [f"{x:g}" for x, _ in known])
    if others:
        axes[0].legend(frameon=False, fontsize=7)
    return figure


def _dots(study: Study, lines: Sequence[Line]) -> Any:
    columns = (META, *study.tasks)
    figure, axes = figure_with(len(columns), 1.2 + 1.9 * len(columns), 0.8 + 0.28 * len(lines))
    places = list(range(len(lines)))[::-1]
    for axis, column in zip(axes, columns, strict=True):
        for place, line in zip(places, lines, strict=True):
            if (cell := line.scores[column]) is None:
                continue
            colour = COLOURS[1] if line.system == study.reference else COLOURS[0]
            axis.plot(cell.values, [place] * cell.seeds, "o", color=colour, **_OF_SEEDS)
            axis.errorbar(
                cell.mean, place, xerr=cell.error or 0,
                fmt="|", color=colour, markersize=11, markeredgewidth=1.8, capsize=2, elinewidth=1,
            )  # fmt: skip
        axis.set_ylim(-0.6, len(lines) - 0.4)
        axis.margins(x=0.12)
        axis.set_yticks(places, [printable(line.label) for line in lines] if axis is axes[0] else [""] * len(lines))
        axis.set_title(_TITLES[column], fontsize=10, loc="left", color=INK)
    return figure


def _x(study: Study, line: Line) -> float:
    x = study.systems[line.system].x
    assert x is not None
    return x


def _texts(study: Study, cells: dict[str, Estimate | None], is_difference: bool) -> list[str]:
    return [_text(cells.get(column), is_difference) for column in (*study.tasks, META)]


def _text(cell: Estimate | None, is_difference: bool) -> str:
    if cell is None:
        return MISSING
    if is_difference:
        interval = "" if cell.interval is None else f" [{cell.interval[0]:+.1f}, {cell.interval[1]:+.1f}]"
        return f"{cell.mean:+.1f}{interval}"
    error = "" if cell.error is None else f" ± {cell.error:.1f}"
    return f"{cell.mean:.1f}{error} ({cell.seeds})"


def _numbers(cell: Estimate | None) -> list[str]:
    if cell is None:
        return ["", "", "", "", "0"]
    low, high = cell.interval or (None, None)
    return [*("" if value is None else f"{value:.4f}" for value in (cell.mean, cell.error, low, high)), str(cell.seeds)]


def _rates(study: Study, lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """For each system the learning rate that its fine-tunings had, task by task."""
    return [
        (line.label, *(f"{line.rates[task]:g}" if task in line.rates else MISSING for task in study.tasks))
        for line in lines
    ]


def _time(records: Sequence[Record]) -> str:
    """How long the runs took, in words."""
    kinds = {"pretrain": "pre-trainings", "search": "searches of a learning rate", "finetune": "fine-tunings"}
    counted = [
        f"{len(of_kind)} {title} ({sum(record.seconds for record in of_kind) / 3600:.1f} h)"
        for kind, title in kinds.items()
        if (of_kind := [record for record in records if record.kind == kind])
    ]
    return "Time of the processes, one thread each: " + (", ".join(counted) or "none has run yet")
