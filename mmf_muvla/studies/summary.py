"""A study's numbers: means over seeds, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mmf_muvla.report.scores import Estimate, with_meta_ave
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study


@dataclass(frozen=True)
class Line:
    """What there is to say of a system.

    Differences to the reference are taken seed by seed: systems that share one share the fine-tuning's data order and
    initial head, so they say more than two means.
    """

    system: str
    label: str  # what readers call it
    scores: dict[str, Estimate | None]  # column (a task, or META) -> test score in per cent
    differences: dict[str, Estimate | None]  # column -> points; empty for the reference
    rates: dict[str, float]  # task -> learning rate of the fine-tunings


@dataclass(frozen=True)
class Step:
    """From a system to the next one of the study's order, seed by seed."""

    below: str  # what readers call it
    above: str
    differences: dict[str, Estimate | None]  # column -> points


def summarize(study: Study, records: Sequence[Record]) -> list[Line]:
    """One line for each system that has a score, in the study's order, from the records of its fine-tunings."""

    def scores_of(system: str) -> dict[str, Mapping[int, float]]:
        of_system = [it for it in records if it.system == system]
        return with_meta_ave({task: {it.seed: it.score for it in of_system if it.task == task} for task in study.tasks})

    reference, lines = scores_of(study.reference), []
    for name, system in study.systems.items():
        if any((columns := scores_of(name)).values()):
            scores = {column: Estimate.of(by_seed) for column, by_seed in columns.items()}
            differences = {it: Estimate.of_differences(columns[it], reference[it]) for it in columns}
            rates = {it.task: it.rate for it in records if it.system == name}
            lines.append(Line(name, system.label, scores, {} if name == study.reference else differences, rates))
    return lines


def steps(study: Study, lines: Sequence[Line]) -> list[Step]:
    """How much better each system of the study's order is than the one before it; of those that have scores."""
    by_name = {line.system: line for line in lines}
    in_order = [by_name[name] for name in study.order if name in by_name]
    return [
        Step(below.label, above.label, {it: _difference(above.scores[it], below.scores[it]) for it in below.scores})
        for below, above in pairwise(in_order)
    ]


def _difference(above: Estimate | None, below: Estimate | None) -> Estimate | None:
    return None if above is None or below is None else Estimate.of_differences(above.values, below.values)
