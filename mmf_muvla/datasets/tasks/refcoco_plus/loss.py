"""RefCOCO+: the loss of choosing a region."""

from __future__ import annotations

import torch
from torch import Tensor

from mmf_muvla.datasets.tasks.task import register_loss


@register_loss("muvla_grounding")
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
