"""Curves as SVG, to be put into a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

INK, MUTED, GRID = "#1d2733", "#66727f", "#e3e8ed"
COLOURS = ("#2463a8", "#d1602b", "#2f8f5b", "#8a4fa3", "#b08a1a")
# What `templates/base.html.j2` calls them; it has a light and a dark set.
_THEME = {INK: "ink", MUTED: "muted", GRID: "line", COLOURS[0]: "accent", COLOURS[1]: "mark"}

Curve = tuple[Sequence[float], Sequence[float]]


def figure_with(columns: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    """Matplotlib's figure of so many inches, and the axes of each of its plots, in the style of all pages."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {
            "font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "muvla",
            "text.color": INK, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
            "axes.edgecolor": GRID, "axes.spines.top": False, "axes.spines.right": False,
            "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titlecolor": INK,
            "text.parse_math": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6,
        }
    )  # fmt: skip
    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), squeeze=False)
    return figure, axes[0]


def as_svg(figure: Any) -> str:
    """A figure as an ``<svg>`` element, the same for the same figure; the figure is closed."""
    from matplotlib import pyplot

    buffer = io.StringIO()
    figure.tight_layout()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def themed(svg: str) -> str:
    """A plot in the colours of the page that it becomes part of."""
    for colour, name in _THEME.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def small_multiples(panels: Mapping[str, Mapping[str, Curve]]) -> str:
    """An ``<svg>`` of small plots side by side: title -> label -> (updates, values)."""
    figure, axes = figure_with(len(panels), 2.45 * len(panels), 2.1)
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for (label, (x, y)), colour in zip(curves.items(), COLOURS, strict=False):
            axis.plot(x, y, color=colour, linewidth=1.5, label=label, marker="o" if len(x) < 12 else None, markersize=3)
        axis.set_title(title)
        axis.set_xlabel("update")
        if len(curves) > 1:
            axis.legend(frameon=False, fontsize=8)
    return as_svg(figure)


def share_over_updates(curve: Curve, title: str) -> str:
    """An ``<svg>`` of a share of two equally many kinds that is told right, beside a line for what guessing gives."""
    figure, (axis,) = figure_with(1, 4.6, 2.6)
    axis.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
    axis.plot(*curve, color=COLOURS[0], linewidth=1.8, marker="o", markersize=3)
    axis.set_ylim(0.4, 1)
    axis.set_xlabel("update")
    axis.set_title(title)
    return as_svg(figure)


def decile_fan(updates: Sequence[float], deciles: Sequence[Sequence[float]], mean: Sequence[float], title: str) -> str:
    """An ``<svg>`` of the distribution of a weight over m updates: bands between deciles [m, 9], and the mean [m]."""
    figure, (axis,) = figure_with(1, 4.6, 2.6)
    for low in range(4):
        bands = ([d[low] for d in deciles], [d[8 - low] for d in deciles])
        axis.fill_between(updates, *bands, color=COLOURS[0], alpha=0.16, linewidth=0)
    axis.plot(updates, mean, color=COLOURS[0], linewidth=1.8)
    axis.set_ylim(0, 1)
    axis.set_xlabel("update")
    axis.set_title(title)
    return as_svg(figure)
