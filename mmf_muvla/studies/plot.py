"""A study's plot: a panel for every task and for Meta-Ave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.outputs import publish_output
from mmf_muvla.report.plots import COLOURS, MUTED, as_svg, figure_with, title_of
from mmf_muvla.report.scores import META, TITLES
from mmf_muvla.studies.study import Study
from mmf_muvla.studies.summary import Line
from mmf_muvla.terminal import printable

_OF_SEEDS: dict[str, Any] = {"alpha": 0.3, "markersize": 3.5, "markeredgewidth": 0}


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
            axis.plot([x] * len(scores.values), list(scores.values.values()), "o", color=colour, **_OF_SEEDS)
        axis.errorbar(
            [x for x, _ in known], [cell.mean for _, cell in known], yerr=[cell.error or 0 for _, cell in known],
            color=colour, linewidth=1.6, marker="o", markersize=4, capsize=2, elinewidth=1,
        )  # fmt: skip
        for number, line in enumerate(others):
            if (cell := line.scores[column]) is not None:
                style = ("--", ":", "-.")[number % 3]
                axis.axhline(cell.mean, color=MUTED, linewidth=1, linestyle=style, label=printable(line.label))
        title_of(axis, TITLES[column])
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
            axis.plot(list(cell.values.values()), [place] * len(cell.values), "o", color=colour, **_OF_SEEDS)
            axis.errorbar(
                cell.mean, place, xerr=cell.error or 0,
                fmt="|", color=colour, markersize=11, markeredgewidth=1.8, capsize=2, elinewidth=1,
            )  # fmt: skip
        axis.set_ylim(-0.6, len(lines) - 0.4)
        axis.margins(x=0.12)
        axis.set_yticks(places, [printable(line.label) for line in lines] if axis is axes[0] else [""] * len(lines))
        title_of(axis, TITLES[column])
    return figure


def _x(study: Study, line: Line) -> float:
    x = study.systems[line.system].x
    assert x is not None
    return x
