"""Retrieval: recalls and median ranks, which the trainer computes of a whole split at once."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any, ClassVar

from mmf.common.registry import registry
from mmf.modules.metrics import BaseMetric
from torch import Tensor

from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, RECALLS
from mmf_muvla.errors import InputError

MEAN_RECALL = "muvla_mean_recall"


class RankMetric(BaseMetric):
    """A metric of the ranks of a split, by its name in MMF's registry."""

    key: ClassVar[str]
    smaller_is_better: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(self.key)
        self.required_params: list[str] = []

    def value(self, found: Mapping[str, float]) -> float:
        """Its value, given those of :func:`~mmf_muvla.datasets.tasks.retrieval.ranking.recalls`, both directions."""
        return found[self.key.removeprefix("muvla_")]

    def calculate(self, *args: Any, **kwargs: Any) -> Tensor:
        where = f"evaluation.metrics={self.key}"
        raise InputError(where, "is not computed batch by batch", "Use training.trainer=muvla")


@registry.register_metric(MEAN_RECALL)
class MeanRecall(RankMetric):
    """The mean of R@1, R@5 and R@10 of both directions."""

    key = MEAN_RECALL

    def value(self, found: Mapping[str, float]) -> float:
        return fmean(found[f"{direction}_r@{k}"] for direction in DIRECTIONS for k in RECALLS)


for _direction in DIRECTIONS:
    for _name in (*(f"r@{k}" for k in RECALLS), "median_rank"):
        _key = f"muvla_{_direction}_{_name}"
        _members = {"key": _key, "smaller_is_better": _name == "median_rank"}
        registry.register_metric(_key)(type(_key, (RankMetric,), _members))
