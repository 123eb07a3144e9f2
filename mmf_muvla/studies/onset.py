"""When matching begins: the results of studies that pre-train only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.outputs import publish_output
from mmf_muvla.report.plots import COLOURS, MUTED, as_svg, figure_with
from mmf_muvla.report.scores import Estimate
from mmf_muvla.report.tables import MISSING, Table, score_text
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study
from mmf_muvla.terminal import printable

# A share of held-out pairs: of 327 true and as many false ones, 0.05 is more than two standard errors above chance.
BEGUN = 0.55


@dataclass(frozen=True)
class Onset:
    """How matching is learned by a system's pre-trainings, by seed."""

    system: str
    label: str
    curves: Mapping[int, Sequence[Sequence[float]]]  # (update, share of held-out pairs told right)
    updates: int  # that the longest of them took

    @property
    def begins(self) -> dict[int, float | None]:
        """The first validation from which on the share stays above :data:`BEGUN`; None where there is none."""
        return {seed: begins(curve) for seed, curve in self.curves.items()}

    @property
    def final(self) -> Estimate | None:
        """The last validation, in percent."""
        return Estimate.of({seed: 100 * curve[-1][1] for seed, curve in self.curves.items() if curve})


def begins(curve: Sequence[Sequence[float]]) -> float | None:
    """The first update of a curve from which on it stays above :data:`BEGUN`."""
    begun = None
    for update, share in curve:
        begun = None if share < BEGUN else update if begun is None else begun
    return begun


def onsets(study: Study, records: Sequence[Record]) -> list[Onset]:
    """One for each system with a finished pre-training, in the study's order."""
    found = []
    for name, system in study.systems.items():
        runs = {it.seed: it for it in sorted(records, key=lambda it: it.seed) if it.system == name}
        if runs:
            curves = {seed: run.matching for seed, run in runs.items()}
            found.append(Onset(name, system.label, curves, max(run.updates for run in runs.values())))
    return found


def onset_table(found: Sequence[Onset]) -> Table:
    """A row for each system."""
    rows = []
    for it in found:
        known = [update for update in it.begins.values() if update is not None]
        when = ", ".join(MISSING if update is None else f"{update:,.0f}" for update in it.begins.values())
        rows.append(
            [it.label, f"{len(known)} of {len(it.curves)}", when, f"{it.updates:,}", score_text(it.final, "error", 1)]
        )
    note = (
        f"Matching has begun with the first validation from which on more than {100 * BEGUN:.0f} percent of held-out "
        "retrieved pairs are told right (50 by chance); seeds in order. At the end: mean ± standard error over seeds "
        "(number of seeds). Retrieved pairs do not all belong together, so that 100 cannot be reached."
    )
    return Table(["system", "begins in", "at update", "of", "at the end, %"], rows, note=note)


def plot_onsets(found: Sequence[Onset], png: Path) -> str:
    """A panel for each system with a line for each seed, written as a PNG file and returned as an ``<svg>`` element."""
    figure, axes = figure_with(max(len(found), 1), 1.9 * max(len(found), 1), 2.3)
    for axis, it in zip(axes, found, strict=False):
        for curve, colour in zip(it.curves.values(), COLOURS, strict=False):
            if curve:
                axis.plot(*zip(*curve, strict=True), color=colour, linewidth=1.4)
        axis.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
        axis.set_ylim(0.45, 1)
        axis.set_title(printable(it.label), fontsize=8)
        axis.set_xlabel("update")
    for axis in axes[1:]:
        axis.set_yticklabels([])
    figure.tight_layout()
    with publish_output(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    return as_svg(figure)


def onset_csv_rows(found: Sequence[Onset]) -> tuple[list[str], list[list[Any]]]:
    """Header and a line for each system, seed and validation."""
    rows = [
        [it.system, seed, int(update), share]
        for it in found
        for seed, curve in it.curves.items()
        for update, share in curve
    ]
    return ["system", "seed", "update", "matching"], rows
