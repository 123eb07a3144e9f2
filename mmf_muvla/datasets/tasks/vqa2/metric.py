"""VQA 2.0: the benchmark's accuracy, of all questions and by kind of question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmf.common.registry import registry
from torch import Tensor

from mmf_muvla.datasets.tasks.vqa2.answers import QUESTION_KINDS
from mmf_muvla.objectives.streamed_metric import SampleMean


@registry.register_metric("muvla_vqa_accuracy")
class VQAAccuracy(SampleMean):
    """Mean accuracy of the best scored answers, as the benchmark's evaluation has it.

    From ``scores`` and ``answer_accuracy``, float [B, answers], and ``question_kind``, int [B]. Questions without
    annotators (kind -1) do not count.
    """

    key = "muvla_vqa_accuracy"
    fields = ("scores", "answer_accuracy", "question_kind")
    kind: ClassVar[str | None] = None

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        best = fields["scores"].argmax(dim=1, keepdim=True)
        accuracy = fields["answer_accuracy"].gather(1, best).squeeze(1)
        kind = fields["question_kind"]
        return accuracy[kind >= 0 if self.kind is None else kind == QUESTION_KINDS.index(self.kind)]


def _accuracy_of(kind: str) -> type[VQAAccuracy]:
    key = f"{VQAAccuracy.key}_{kind.replace('/', '_')}"
    return registry.register_metric(key)(type(key, (VQAAccuracy,), {"key": key, "kind": kind}))


VQAYesNoAccuracy, VQANumberAccuracy, VQAOtherAccuracy = map(_accuracy_of, QUESTION_KINDS)
