"""Metrics of the pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmf.common.registry import registry
from mmf.modules.metrics import BaseMetric
from torch import Tensor


@registry.register_metric("muvla_itm_accuracy")
class ImageTextMatchingAccuracy(BaseMetric):
    """Share of pairs, retrieved and random, that the matching head tells right."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__("muvla_itm_accuracy")
        self.required_params = ["scores", "targets"]

    def calculate(
        self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Accuracy from ``scores`` (logits, float [M]) and ``targets`` (0 or 1, float [M])."""
        return ((model_output["scores"] > 0) == (sample_list["targets"] > 0.5)).float().mean()
