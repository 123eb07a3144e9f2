"""ITM: accuracy. A file of its own, as MMF has to be there for metrics, but not for objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmf.common.registry import registry
from torch import Tensor

from mmf_muvla.objectives.streamed_metric import SampleMean


@registry.register_metric("muvla_itm_accuracy")
class ImageTextMatchingAccuracy(SampleMean):
    """Share of pairs that the matching head tells right, by ``scores`` (logits) and ``targets`` (0 or 1), float [M]."""

    key = "muvla_itm_accuracy"
    fields = ("scores", "targets")

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        return (fields["scores"] > 0) == (fields["targets"] > 0.5)
