"""SNLI-VE: accuracy, of all hypotheses and of those of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmf.common.registry import registry
from torch import Tensor

from mmf_muvla.datasets.tasks.visual_entailment.converter import LABELS
from mmf_muvla.objectives.streamed_metric import SampleMean


@registry.register_metric("muvla_entailment_accuracy")
class EntailmentAccuracy(SampleMean):
    """Share of hypotheses that are told right.

    From ``scores`` float [B, 3] and ``targets`` int [B]; a target of -1 (no agreed label) does not count.
    """

    key = "muvla_entailment_accuracy"
    fields = ("scores", "targets")
    label: ClassVar[str | None] = None

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        targets = fields["targets"]
        counts = targets >= 0 if self.label is None else targets == LABELS.index(self.label)
        return (fields["scores"].argmax(dim=1) == targets)[counts]


def _accuracy_of(label: str) -> type[EntailmentAccuracy]:
    key = f"{EntailmentAccuracy.key}_{label}"
    return registry.register_metric(key)(type(key, (EntailmentAccuracy,), {"key": key, "label": label}))


EntailedAccuracy, NeutralAccuracy, ContradictedAccuracy = map(_accuracy_of, LABELS)
