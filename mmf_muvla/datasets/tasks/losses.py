"""The losses of the tasks, with one value per sample, averaged over the samples that have a label.

MMF knows them as ``muvla_answer_bce``, ``muvla_cross_entropy`` and ``muvla_grounding``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.errors import InputError


def answer_bce(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy with soft targets, summed over the answers (as MMF's ``logit_bce``).

    Args:
        scores: logits, float [B, answers].
        targets: float [B, answers], in [0, 1].

    Returns:
        float [B].

    Raises:
        InputError: the model chooses from another number of answers than there are targets for.
    """
    if scores.shape != targets.shape:
        raise InputError(
            f"model_config.muvla.num_labels={scores.shape[1]}",
            f"the data set's vocabulary has {targets.shape[1]} answers",
            "Set it to null, or give the vocabulary that belongs to it (dataset_config.vqa2.answers)",
        )
    return F.binary_cross_entropy_with_logits(scores.float(), targets, reduction="none").sum(dim=1)


def class_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample.

    Args:
        scores: logits, float [B, classes].
        targets: int [B]; any negative number has the value 0.

    Returns:
        float [B].
    """
    return F.cross_entropy(scores.float(), targets.clamp(min=-1), ignore_index=-1, reduction="none")


def grounding(scores: Tensor, right: Tensor) -> Tensor:
    """Minus the logarithm of the probability, by a softmax over regions, that a right region is chosen.

    Args:
        scores: float [B, R], minus infinity at padding.
        right: bool [B, R], the right regions, any number of them.

    Returns:
        float [B], 0 (without gradient) where no region is right.
    """
    scores = scores.float()
    # Where nothing is right everything is: then the two terms are the same, and so are their gradients.
    right = right | ~right.any(dim=1, keepdim=True)
    return scores.logsumexp(dim=1) - scores.masked_fill(~right, -torch.inf).logsumexp(dim=1)


class TaskLoss(nn.Module):
    """The mean of a loss over the labelled samples of a batch, 0 where none is."""

    def sample_losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample, float [B]."""
        raise NotImplementedError

    def forward(self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any]) -> Tensor:
        """From ``targets`` and ``labelled`` (bool [B]) of the batch and ``scores`` of the model, a scalar."""
        labelled = sample_list["labelled"]
        losses = self.sample_losses(model_output["scores"], sample_list["targets"])
        return (losses * labelled).sum() / labelled.sum().clamp(min=1)


class AnswerLoss(TaskLoss):
    """VQA's loss, see :func:`answer_bce`."""

    def sample_losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        return answer_bce(scores, targets)


class ClassLoss(TaskLoss):
    """NLVR2's and SNLI-VE's loss, see :func:`class_cross_entropy`."""

    def sample_losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        return class_cross_entropy(scores, targets)


class GroundingLoss(TaskLoss):
    """RefCOCO+'s loss, see :func:`grounding`; an expression without a right region counts with 0."""

    def sample_losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        return grounding(scores, targets)


TASK_LOSSES: dict[str, type[TaskLoss]] = {
    "answer_bce": AnswerLoss,
    "cross_entropy": ClassLoss,
    "grounding": GroundingLoss,
}
