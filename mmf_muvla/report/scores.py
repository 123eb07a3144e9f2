"""The tasks of the comparison, and their scores: means over seeds, what they scatter, and Meta-Ave."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, RECALLS


@dataclass(frozen=True)
class Task:
    """A task of the comparison."""

    name: str  # in ``datasets``
    title: str  # for readers
    metric: str  # that is its score
    details: Mapping[str, str] = field(default_factory=dict)  # further metrics -> what they are called


_VQA_DETAILS = {f"muvla_vqa_accuracy_{kind}": kind.replace("_", "/") for kind in ("yes_no", "number", "other")}
_VE_DETAILS = {f"muvla_entailment_accuracy_{it}": it for it in ("entailment", "neutral", "contradiction")}
TASKS = (
    Task("vqa2", "VQA 2.0", "muvla_vqa_accuracy", _VQA_DETAILS),
    Task("nlvr2", "NLVR2", "muvla_nlvr2_accuracy", {"muvla_nlvr2_consistency": "consistency"}),
    Task("visual_entailment", "SNLI-VE", "muvla_entailment_accuracy", _VE_DETAILS),
    Task("refcoco_plus", "RefCOCO+", "muvla_grounding_accuracy"),
)
_RECALL_DETAILS = {
    f"muvla_{direction}_r@{k}": f"{direction.replace('_to_', ' → ')} R@{k}" for direction in DIRECTIONS for k in RECALLS
}
# Of later papers; they are no part of Meta-Ave, the mean of the paper's four.
RETRIEVAL_TASKS = (
    Task("flickr30k_retrieval", "Flickr30k retrieval", "muvla_mean_recall", _RECALL_DETAILS),
    Task("coco_retrieval", "COCO retrieval", "muvla_mean_recall", _RECALL_DETAILS),
)
TASK_NAMED = {task.name: task for task in (*TASKS, *RETRIEVAL_TASKS)}
META = "meta_ave"
TITLES = {task.name: task.title for task in TASKS} | {META: "Meta-Ave"}
TITLES |= {task.name: task.title for task in RETRIEVAL_TASKS}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    values: Mapping[int, float]  # seed -> score in per cent, or difference in points

    @classmethod
    def of(cls, values: Mapping[int, float]) -> Estimate | None:
        """The estimate; ``None`` of no value."""
        return cls(dict(sorted(values.items()))) if values else None

    @classmethod
    def of_differences(cls, values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
        """The estimate of paired differences, over the seeds that both have."""
        return cls.of({seed: it - reference[seed] for seed, it in values.items() if seed in reference})

    @property
    def mean(self) -> float:
        """Over all seeds."""
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
        reach = float(student.ppf(0.975, len(self.values) - 1)) * self.error
        return self.mean - reach, self.mean + reach


def with_meta_ave(scores: Mapping[str, Mapping[int, float]]) -> dict[str, Mapping[int, float]]:
    """Add to task -> seed -> score the mean of the paper's four tasks, over the seeds that have all four.

    Without one of the four there is no seed that has them all: a mean of fewer tasks, or of others, is no Meta-Ave.
    """
    four = [scores.get(task.name, {}) for task in TASKS]
    complete = set.intersection(*map(set, four))
    meta = {seed: statistics.fmean(of_task[seed] for of_task in four) for seed in sorted(complete)}
    return {**scores, META: meta}
