"""A study's results for people: tables as Markdown and CSV, a plot, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.outputs import publish_output, write_output
from mmf_muvla.report.plots import COLOURS, MUTED, as_svg, figure_with, themed
from mmf_muvla.report.scores import META, TITLES, Estimate
from mmf_muvla.report.tables import MISSING, Table, csv_file, html_page, markdown_page, markdown_text, score_text
from mmf_muvla.studies.onset import onset_csv_rows, onset_table, onsets, plot_onsets
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study
from mmf_muvla.studies.summary import Line, steps, summarize
from mmf_muvla.terminal import printable

FILES = ("table.md", "table.csv", "plot.svg", "plot.png", "index.html")
_KINDS = {"pretrain": "pre-trainings", "search": "searches of a learning rate", "finetune": "fine-tunings"}
_OF_SEEDS: dict[str, Any] = {"alpha": 0.3, "markersize": 3.5, "markeredgewidth": 0}


def write_results(folder: Path, study: Study, runs: Sequence[Record], records: Sequence[Record], command: str) -> None:
    """Write :data:`FILES` into a folder; ``reading.md`` there becomes part of the page.

    Args:
        folder: where to write.
        study: a study; one without tasks has the curves of matching in place of scores.
        runs: those that are compared, under the names of the study's systems.
        records: those and all that they needed, each once: they tell the time taken.
        command: what makes the results.
    """
    png, reference = folder / "plot.png", study.systems[study.reference].label
    if study.tasks:
        lines = summarize(study, runs)
        svg, table, tables = _plot(study, lines, png), as_csv(study, lines), _tables(study, lines, reference)
    else:
        found = onsets(study, runs)
        svg, table, tables = plot_onsets(found, png), csv_file(*onset_csv_rows(found)), [onset_table(found)]
    reading = folder / "reading.md"
    paragraphs = reading.read_text(encoding="utf-8").split("\n\n") if reading.is_file() else ()
    lead, claims = _time(records), study.claims
    page = html_page(
        study.title, tables, lead=lead, claims=claims, svg=themed(svg), reading=paragraphs, command=command
    )
    texts = (as_markdown(study, runs, records, command), table, svg, page)
    for name, text in zip((name for name in FILES if name != "plot.png"), texts, strict=True):
        write_output(folder / name, text)


def _tables(study: Study, lines: Sequence[Line], reference: str) -> list[Table]:
    """Scores, differences to the reference, which is named as it is to appear, those in order, and learning rates."""
    columns = (*study.tasks, META)
    header = ["system", *(TITLES[column] for column in columns)]
    scores = [[line.label, *(score_text(line.scores[column], "error", 1) for column in columns)] for line in lines]
    differences = [
        [line.label, *(_difference_text(line.differences[column]) for column in columns)]
        for line in lines
        if line.differences
    ]
    in_order = [
        [f"{step.below} → {step.above}", *(_difference_text(step.differences[column]) for column in columns)]
        for step in steps(study, lines)
    ]
    rates = [
        [line.label, *(f"{line.rates[task]:g}" if task in line.rates else MISSING for task in study.tasks)]
        for line in lines
    ]
    about_differences = f"Difference to {reference} in points, seed by seed: mean [95 % confidence interval]."
    about_order = "Difference of each system to the one before it, in the paper's order, in the same way."
    about_rates = (
        "Learning rates of the fine-tunings: of several, the best on validation data, with a seed outside the tables."
    )
    return [
        Table(header, scores, note="Test scores in per cent: mean ± standard error over seeds (number of seeds)."),
        *([Table(header, differences, note=about_differences)] if differences else []),
        *([Table(["step", *header[1:]], in_order, note=about_order)] if in_order else []),
        Table(header[:-1], rates, note=about_rates),
    ]


def as_markdown(study: Study, runs: Sequence[Record], records: Sequence[Record], command: str) -> str:
    """The tables, with the command and the time that they took; see :func:`write_results`."""
    reference = markdown_text(study.systems[study.reference].label)
    tables = _tables(study, summarize(study, runs), reference) if study.tasks else [onset_table(onsets(study, runs))]
    return markdown_page(study.title, tables, lead=_time(records), claims=study.claims, command=command)


def as_csv(study: Study, lines: Sequence[Line]) -> str:
    """A line for every system and column."""
    names = ["mean", "standard_error", "low", "high", "num_seeds"]
    rows = [
        [line.system, column, *_numbers(line.scores[column]), *_numbers(line.differences.get(column))]
        for line in lines
        for column in (*study.tasks, META)
    ]
    return csv_file(["system", "task", *names, *(f"difference_{name}" for name in names)], rows)


def _difference_text(difference: Estimate | None) -> str:
    if difference is None:
        return MISSING
    interval = "" if difference.interval is None else " [{:+.1f}, {:+.1f}]".format(*difference.interval)
    return f"{difference.mean:+.1f}{interval}"


def _numbers(it: Estimate | None) -> list[float | int | None]:
    if it is None:
        return [None, None, None, None, 0]
    return [it.mean, it.error, *(it.interval or (None, None)), len(it.values)]


def _time(records: Sequence[Record]) -> str:
    """How long the runs took, in words."""
    counted = [
        f"{len(seconds)} {title} ({sum(seconds) / 3600:.1f} h)"
        for kind, title in _KINDS.items()
        if (seconds := [record.seconds for record in records if record.kind == kind])
    ]
    return f"Time of the processes, one thread each: {', '.join(counted) or 'none has run yet'}."


def _plot(study: Study, lines: Sequence[Line], png: Path) -> str:
    """The study's plot, written as a PNG file and returned as an ``<svg>`` element.

    Every task has a panel, and Meta-Ave where there is one. Systems with an ``x`` are points of a curve there, and
    others horizontal lines; without any ``x``, a system is a row: a faint dot for each seed, a stroke at the mean, and
    its standard error.
    """
    has_meta = any(line.scores[META] for line in lines)
    columns = (META, *study.tasks) if has_meta else tuple(study.tasks)
    has_curves = any(system.x is not None for system in study.systems.values())
    size = (2.5 * len(columns), 2.6) if has_curves else (1.2 + 1.9 * len(columns), 0.8 + 0.28 * len(lines))
    figure, axes = figure_with(len(columns), *size)
    for axis, column in zip(axes, columns, strict=True):
        (_draw_curve if has_curves else _draw_rows)(axis, column, study, lines)
        axis.set_title(TITLES[column])
    if not has_curves:
        for axis in axes[1:]:
            axis.set_yticklabels([])
    elif any(study.systems[line.system].x is None for line in lines):
        axes[0].legend(frameon=False, fontsize=7)
    figure.tight_layout()
    with publish_output(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    return as_svg(figure)


def _draw_curve(axis: Any, column: str, study: Study, lines: Sequence[Line]) -> None:
    colour = COLOURS[1] if column == META else COLOURS[0]
    known = []
    styles = cycle(("--", ":", "-."))
    for line in lines:
        x, score = study.systems[line.system].x, line.scores[column]
        style = next(styles) if x is None else ""
        if score is None:
            continue
        if x is None:
            axis.axhline(score.mean, color=MUTED, linewidth=1, linestyle=style, label=printable(line.label))
        else:
            known.append((x, score))
    known.sort(key=lambda it: it[0])
    for x, score in known:
        axis.plot([x] * len(score.values), list(score.values.values()), "o", color=colour, **_OF_SEEDS)
    axis.errorbar(
        [x for x, _ in known], [score.mean for _, score in known], yerr=[score.error or 0 for _, score in known],
        color=colour, linewidth=1.6, marker="o", markersize=4, capsize=2, elinewidth=1,
    )  # fmt: skip
    axis.set_xlabel(printable(study.x_label))
    axis.set_xticks([x for x, _ in known], [f"{x:g}" for x, _ in known])


def _draw_rows(axis: Any, column: str, study: Study, lines: Sequence[Line]) -> None:
    places = range(len(lines))[::-1]
    for place, line in zip(places, lines, strict=True):
        if (score := line.scores[column]) is None:
            continue
        colour = COLOURS[1] if line.system == study.reference else COLOURS[0]
        axis.plot(list(score.values.values()), [place] * len(score.values), "o", color=colour, **_OF_SEEDS)
        axis.errorbar(
            score.mean, place, xerr=score.error or 0,
            fmt="|", color=colour, markersize=11, markeredgewidth=1.8, capsize=2, elinewidth=1,
        )  # fmt: skip
    axis.set_ylim(-0.6, len(lines) - 0.4)
    axis.margins(x=0.12)
    axis.set_yticks(places, [printable(line.label) for line in lines])
