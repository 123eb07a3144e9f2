"""A study's numbers: means over seeds, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmf_muvla.report.scores import Estimate, with_meta_ave
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study


@dataclass(frozen=True)
class Line:
    """What there is to say of a system.

    Attributes:
        system, label: its name, and what readers call it.
        scores: column (a task, or ``meta_ave``) -> test score in per cent.
        differences: column -> differences to the reference, seed by seed, in points. Systems that share a seed share
            the fine-tuning's data order and initial head, so this says more than two means.
        rates: task -> learning rate of the fine-tunings.
    """

    system: str
    label: str
    scores: dict[str, Estimate | None]
    differences: dict[str, Estimate | None]
    rates: dict[str, float]


def summarize(study: Study, records: Sequence[Record]) -> list[Line]:
    """One line for each system that has a score, in the study's order.

    Args:
        study: the study.
        records: of its fine-tunings.
    """
    columns_of = {}
    for name in study.systems:
        of_system = [it for it in records if it.system == name]
        scores = {task: {it.seed: it.score for it in of_system if it.task == task} for task in study.tasks}
        columns_of[name] = with_meta_ave(scores)
    reference = columns_of[study.reference]
    lines = []
    for name, columns in columns_of.items():
        differences = {
            column: Estimate.of(
                {seed: it - reference[column][seed] for seed, it in scores.items() if seed in reference[column]}
            )
            for column, scores in columns.items()
        }
        if any(columns.values()):
            lines.append(
                Line(
                    name,
                    study.systems[name].label,
                    {column: Estimate.of(scores) for column, scores in columns.items()},
                    {} if name == study.reference else differences,
                    {it.task: it.rate for it in records if it.system == name},
                )
            )
    return lines
