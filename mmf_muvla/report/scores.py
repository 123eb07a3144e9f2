"""The tasks of the comparison, and their scores: means over seeds, what they scatter, and Meta-Ave."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Task:
    """A task of the comparison.

    Attributes:
        name: its name in ``datasets``.
        title: its name for readers.
        metric: the metric that is its score.
        details: further metrics, with what they are called beside the score.
    """

    name: str
    title: str
    metric: str
    details: Mapping[str, str] = field(default_factory=dict)


TASKS = (
    Task(
        "vqa2",
        "VQA 2.0",
        "muvla_vqa_accuracy",
        {
            "muvla_vqa_accuracy_yes_no": "yes/no",
            "muvla_vqa_accuracy_number": "number",
            "muvla_vqa_accuracy_other": "other",
        },
    ),
    Task("nlvr2", "NLVR2", "muvla_nlvr2_accuracy", {"muvla_nlvr2_consistency": "consistency"}),
    Task(
        "visual_entailment",
        "SNLI-VE",
        "muvla_entailment_accuracy",
        {
            "muvla_entailment_accuracy_entailment": "entailment",
            "muvla_entailment_accuracy_neutral": "neutral",
            "muvla_entailment_accuracy_contradiction": "contradiction",
        },
    ),
    Task("refcoco_plus", "RefCOCO+", "muvla_grounding_accuracy"),
)
TASK_NAMED = {task.name: task for task in TASKS}
META = "meta_ave"
TITLES = {task.name: task.title for task in TASKS} | {META: "Meta-Ave"}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        values: seed -> score in per cent, or difference in points.
    """

    values: Mapping[int, float]

    @classmethod
    def of(cls, values: Mapping[int, float]) -> Estimate | None:
        """The estimate; ``None`` of no value."""
        return cls(dict(sorted(values.items()))) if values else None

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.values.values())

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation (of n - 1); ``None`` of a single seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; ``None`` of a single seed."""
        return None if self.deviation is None else self.deviation / math.sqrt(len(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The confidence interval of the mean (95 %, Student's t); ``None`` of a single seed."""
        from scipy.stats import t as student  # takes seconds to import

        if self.error is None:
            return None
        reach = float(student.ppf((1 + CONFIDENCE) / 2, len(self.values) - 1)) * self.error
        return self.mean - reach, self.mean + reach


def with_meta_ave(scores: Mapping[str, Mapping[int, float]]) -> dict[str, Mapping[int, float]]:
    """Add the mean of all tasks, over the seeds that have them all.

    Args:
        scores: task -> seed -> score.
    """
    complete = set.intersection(*map(set, scores.values()))
    meta = {seed: statistics.fmean(of_task[seed] for of_task in scores.values()) for seed in sorted(complete)}
    return {**scores, META: meta}
