"""A study's plot: a panel for every task and for Meta-Ave."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
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
    columns = (META, *study.tasks)
    has_curves = any(system.x is not None for system in study.systems.values())
    size = (2.5 * len(columns), 2.6) if has_curves else (1.2 + 1.9 * len(columns), 0.8 + 0.28 * len(lines))
    figure, axes = figure_with(len(columns), *size)
    for axis, column in zip(axes, columns, strict=True):
        (_draw_curve if has_curves else _draw_rows)(axis, column, study, lines)
        title_of(axis, TITLES[column])
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
