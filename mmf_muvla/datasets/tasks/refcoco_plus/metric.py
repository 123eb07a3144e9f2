"""RefCOCO+: is the chosen region a right one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmf.common.registry import registry
from torch import Tensor

from mmf_muvla.objectives.streamed_metric import SampleMean


@registry.register_metric("muvla_grounding_accuracy")
class GroundingAccuracy(SampleMean):
    """Share of expressions for which a right region is chosen; where the detector found none, it is a mistake.

    From ``chosen_is_right`` and ``labelled``, bool [B]; what is not labelled does not count.
    """

    key = "muvla_grounding_accuracy"
    fields = ("chosen_is_right", "labelled")

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        return fields["chosen_is_right"][fields["labelled"]]
