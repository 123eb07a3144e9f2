"""A study's numbers: means, standard errors, and paired differences with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study

META = "meta_ave"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: in per cent, or in points for a difference.
        error: its standard error; ``None`` of a single seed.
        interval: the confidence interval (95 %, Student's t); ``None`` of a single seed.
        values: of each seed.
    """

    mean: float
    error: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.values)

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate | None:
        """The estimate from one value for each seed; ``None`` of no value."""
        if not values:
            return None
        mean = statistics.fmean(values)
        if len(values) == 1:
            return cls(mean, None, None, tuple(values))
        error = statistics.stdev(values) / math.sqrt(len(values))
        reach = float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
        return cls(mean, error, (mean - reach, mean + reach), tuple(values))


@dataclass(frozen=True)
class Line:
    """What there is to say of a system.

    Attributes:
        system, label: its name, and what readers call it.
        scores: column (a task, or ``meta_ave``) -> mean test score in per cent.
        differences: column -> mean of the differences to the reference, seed by seed, in points. Systems that share a
            seed share the fine-tuning's data order and initial head, so this says more than two means.
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
    of_system: dict[str, dict[str, dict[int, float]]] = {}
    for name in study.systems:
        columns = {
            task: {it.seed: it.score for it in records if (it.system, it.task) == (name, task)} for task in study.tasks
        }
        whole = set.intersection(*(set(scores) for scores in columns.values()))
        columns[META] = {seed: statistics.fmean(columns[task][seed] for task in study.tasks) for seed in sorted(whole)}
        of_system[name] = columns
    reference = of_system[study.reference]
    return [
        Line(
            name,
            study.systems[name].label,
            {column: Estimate.of(list(scores.values())) for column, scores in columns.items()},
            {} if name == study.reference else _differences(columns, reference),
            {it.task: it.rate for it in records if it.system == name},
        )
        for name, columns in of_system.items()
        if any(columns.values())
    ]


def _differences(
    columns: Mapping[str, Mapping[int, float]], reference: Mapping[str, Mapping[int, float]]
) -> dict[str, Estimate | None]:
    return {
        column: Estimate.of(
            [score - reference[column][seed] for seed, score in scores.items() if seed in reference[column]]
        )
        for column, scores in columns.items()
    }
