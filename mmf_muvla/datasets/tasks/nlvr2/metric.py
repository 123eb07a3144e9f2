"""NLVR2: accuracy, and the share of sentences of which every example is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmf.common.registry import registry
from torch import Tensor

from mmf_muvla.objectives.streamed_metric import SampleMean, StreamedMetric


@registry.register_metric("muvla_nlvr2_accuracy")
class NLVR2Accuracy(SampleMean):
    """Share of examples that are told right.

    From ``scores`` float [B, 2] and ``targets`` int [B]; a target of -1 (unknown) does not count.
    """

    key = "muvla_nlvr2_accuracy"
    fields = ("scores", "targets")

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        targets = fields["targets"]
        return (fields["scores"].argmax(dim=1) == targets)[targets >= 0]


@registry.register_metric("muvla_nlvr2_consistency")
class NLVR2Consistency(StreamedMetric):
    """Share of sentences of which all examples, with whatever pairs of images, are told right.

    From ``scores`` float [B, 2], ``targets`` int [B] (-1: unknown, does not count) and ``sentence_group`` int [B],
    the same for all examples of one sentence.
    """

    key = "muvla_nlvr2_consistency"
    fields = ("scores", "targets", "sentence_group")

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        """int [M, 2]: the sentence, and whether its example is wrong."""
        targets = fields["targets"]
        wrong = fields["scores"].argmax(dim=1) != targets
        return torch.stack([fields["sentence_group"], wrong.long()], dim=1)[targets >= 0]

    def combine(self, reduced: Tensor) -> Tensor:
        if len(reduced) == 0:
            return torch.tensor(float("nan"))
        _, sentence = reduced[:, 0].unique(return_inverse=True)
        mistakes = torch.bincount(sentence, weights=reduced[:, 1].double())
        return (mistakes == 0).double().mean()
