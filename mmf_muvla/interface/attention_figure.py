"""Draws which regions each word looks at: boxes on a picture, and words × regions beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mmf_muvla.interface.attention import Attention

_INK, _MUTED, _CANVAS = "#1d2733", "#66727f", "#f0f3f6"
_STYLE: Any = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "text.parse_math": False}
_PICTURE_WIDTH, _LINE_HEIGHT = 4.6, 0.27  # inches
_MOST_REGIONS, _LONGEST_TAG = 36, 22


class Panel(NamedTuple):
    """An attention, and what stands above it."""

    title: str
    attention: Attention


def draw(panels: Sequence[Panel], layer: int | None, head: int | None) -> Any:
    """A figure of Matplotlib: a row for each panel.

    The shade of a cell is the share of a word's attention to regions that goes to one region; on the right stands how
    much goes to regions at all. Where there are many regions, those that some word looks at most are shown.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = [max(len(it.attention.words) * _LINE_HEIGHT + 1.9, 3.4) for it in panels]
    shown = [_shown_regions(it.attention.shares(layer, head)) for it in panels]
    width = _PICTURE_WIDTH + max(0.3 * max(map(len, shown)), 2.4) + 2.4
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(
            len(panels), 2, height_ratios=heights, width_ratios=[_PICTURE_WIDTH, width - _PICTURE_WIDTH]
        )
        for number, (panel, regions) in enumerate(zip(panels, shown, strict=True)):
            shares = panel.attention.shares(layer, head)[:, regions]
            _draw_boxes(figure.add_subplot(grid[number, 0]), panel, regions, shares)
            to_regions = panel.attention.of(layer, head).sum(axis=1)
            _draw_cells(figure.add_subplot(grid[number, 1]), panel.attention, regions, shares, to_regions)
        figure.suptitle(_described(layer, head), x=0.01, ha="left", fontsize=9, color=_MUTED)
    return figure


def write(figure: Any, target: Any, kind: str) -> None:
    """Write a figure to a file or a buffer, as ``png``, ``svg`` or ``pdf``."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure.savefig(target, format=kind, dpi=130)


def _described(layer: int | None, head: int | None) -> str:
    layers = "mean of all layers" if layer is None else f"layer {layer}"
    heads = "mean of all heads" if head is None else f"head {head}"
    return f"Share of each word's attention to regions; {layers}, {heads}"


def _shown_regions(shares: np.ndarray) -> list[int]:
    """Numbers of the regions to show, in their order."""
    most_looked_at = np.argsort(-shares.max(axis=0, initial=0), kind="stable")[:_MOST_REGIONS]
    return sorted(most_looked_at.tolist())


def _draw_boxes(axes: Any, panel: Panel, regions: list[int], shares: np.ndarray) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    image = panel.attention.image
    width, height = image.size
    if image.picture is None:
        axes.set_facecolor(_CANVAS)
    else:
        axes.imshow(image.picture, extent=(0, width, height, 0), alpha=0.75)
    most = shares.max(axis=0, initial=0)
    line = 0.033 * max(width, height)  # how high a label is
    labels: list[tuple[float, float]] = []
    for number, region in enumerate(regions):
        x1, y1, x2, y2 = image.bbox[region].tolist()
        colour, strength = colour_of(number), float(most[number] / max(most.max(), 1e-9))
        edge: Any = {"edgecolor": colour, "linewidth": 0.8 + 2.2 * strength, "alpha": 0.35 + 0.65 * strength}
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **edge))
        label = f"{region} {_tag(image, region)}".strip()
        while any(abs(x1 - x) < 4 * line and abs(y1 - y) < line for x, y in labels):
            y1 += line
        labels.append((x1, y1))
        outline = [withStroke(linewidth=2.2, foreground="white")]
        axes.text(x1 + 2, y1 + 2, label, color=colour, fontsize=7.5, va="top", path_effects=outline)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color("#d5dbe1")
    title = panel.title or f"image {image.regions.image_id}"
    axes.set_title(title, fontsize=10, loc="left", color=_INK)


def _draw_cells(
    axes: Any, attention: Attention, regions: list[int], shares: np.ndarray, to_regions: np.ndarray
) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(float(shares.max(initial=0)), 1e-9), aspect="auto")
    labels = [f"{region} {_tag(attention.image, region)}".strip() for region in regions]
    axes.set_xticks(range(len(regions)), labels, rotation=55, ha="right", rotation_mode="anchor", fontsize=7.5)
    for number, tick in enumerate(axes.get_xticklabels()):
        tick.set_color(colour_of(number))
    axes.set_yticks(range(len(attention.words)), attention.words, color=_INK)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    for row, line in enumerate(shares):
        best = int(line.argmax()) if len(line) else 0
        light = line[best] > 0.6 * shares.max()
        text: Any = {"ha": "center", "va": "center", "fontsize": 7, "color": "white" if light else _INK}
        axes.text(best, row, f"{100 * line[best]:.0f}", **text)
        axes.text(len(regions) - 0.3, row, f"{100 * to_regions[row]:.0f} %", va="center", fontsize=7, color=_MUTED)
    axes.text(len(regions) - 0.3, -0.75, "to regions", va="bottom", fontsize=7, color=_MUTED)


def _tag(image: Any, region: int) -> str:
    tag = image.tags[region]
    return tag if len(tag) <= _LONGEST_TAG else f"{tag[: _LONGEST_TAG - 1]}…"


def colour_of(number: int) -> str:
    """One of ten, dark enough for text."""
    colours = (
        "#2463a8",
        "#c2521c",
        "#2f7d4f",
        "#8a4fa3",
        "#946f00",
        "#b3365b",
        "#00798c",
        "#5b5b8c",
        "#7a4b2a",
        "#444",
    )
    return colours[number % len(colours)]
