"""The histograms on the page of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmf_muvla.report.plots import COLOURS, MUTED, as_svg, figure_with
from mmf_muvla.terminal import printable


def draw_plots(quality: Mapping[str, Any]) -> list[str]:
    """The plots of a corpus's measures as ``<svg>`` elements, one per row of the page."""
    sentences = quality["sentences"]
    first, axes = figure_with(3, 10.4, 2.5)
    _draw_histogram(axes[0], quality["links"]["similarity"], "similarity of links")
    _draw_ranks(axes[1], quality["scores"])
    _draw_histogram(axes[2], quality["regions_per_image"], "regions per image")
    second, axes = figure_with(3, 10.4, 2.5)
    _draw_histogram(axes[0], sentences["phrases"], "noun phrases per sentence")
    _draw_histogram(axes[1], sentences["words"], "words per sentence")
    _draw_tags(axes[2], quality["tags"]["most_frequent"][:10])
    return [as_svg(first), as_svg(second)]


def _draw_histogram(axis: Any, summary: Mapping[str, Any], title: str) -> None:
    axis.set_title(title)
    histogram, mean = summary["histogram"], summary["mean"]
    if histogram is None:
        return
    width = histogram["width"]
    # Bars of whole numbers are centred on the number.
    lefts = histogram["start"] + width * np.arange(len(histogram["counts"])) - (0.5 if width == 1 else 0)
    axis.bar(lefts, histogram["counts"], width, align="edge", color=COLOURS[0], linewidth=0)
    axis.axvline(mean, color=COLOURS[1], linewidth=1.4)
    label = {"xytext": (3, -8), "textcoords": "offset points", "fontsize": 8, "color": MUTED}
    axis.annotate(f"mean {mean:.3g}", (mean, 1), xycoords=("data", "axes fraction"), **label)
    axis.grid(axis="x", visible=False)
    axis.set_axisbelow(True)


def _draw_ranks(axis: Any, scores: Sequence[Mapping[str, Any]]) -> None:
    axis.set_title("retrieval score by rank")
    axis.set_xlabel("rank; bands between deciles, line: median")
    measured = [(rank, score["deciles"]) for rank, score in enumerate(scores, start=1) if score["deciles"]]
    if not measured:
        return
    ranks, deciles = zip(*measured, strict=True)
    for low in range(1, 5):
        bands = ([d[low] for d in deciles], [d[10 - low] for d in deciles])
        axis.fill_between(ranks, *bands, color=COLOURS[0], alpha=0.16, linewidth=0)
    axis.plot(ranks, [d[5] for d in deciles], color=COLOURS[0], linewidth=1.8, marker="o", markersize=3)
    axis.set_xticks(ranks[:: -(-len(ranks) // 10)])


def _draw_tags(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    axis.set_title("linked pairs of frequent tags")
    places = np.arange(len(rows))[::-1]
    axis.barh(places, [row["of_pairs"] for row in rows], color=COLOURS[0], height=0.7, linewidth=0)
    axis.set_yticks(places, [printable(row["tag"][:18]) for row in rows], fontsize=8)
    axis.set_xlim(0, 1)
    axis.grid(axis="y", visible=False)
    axis.set_axisbelow(True)
