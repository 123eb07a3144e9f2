"""VQA 2.0: the loss of soft scores."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.datasets.tasks.task import register_loss
from mmf_muvla.errors import InputError


@register_loss("muvla_answer_bce")
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
