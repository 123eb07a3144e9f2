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


@registry.register_metric("muvla_entailment_accuracy_entailment")
class EntailedAccuracy(EntailmentAccuracy):
    """Of the hypotheses that are entailed, the share told right."""

    key = "muvla_entailment_accuracy_entailment"
    label = "entailment"


@registry.register_metric("muvla_entailment_accuracy_neutral")
class NeutralAccuracy(EntailmentAccuracy):
    """Of the neutral hypotheses, the share told right."""

    key = "muvla_entailment_accuracy_neutral"
    label = "neutral"


@registry.register_metric("muvla_entailment_accuracy_contradiction")
class ContradictedAccuracy(EntailmentAccuracy):
    """Of the hypotheses that are contradicted, the share told right."""

    key = "muvla_entailment_accuracy_contradiction"
    label = "contradiction"
