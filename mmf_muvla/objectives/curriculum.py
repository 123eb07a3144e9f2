"""The ITM-weighted curriculum (paper section 3.4).

``L = L_RT + L_RP + L_IS`` in the first ``m`` epochs, from then on ``L = L_RT + w_ITM · (L_RP + L_IS)``, where ``w_ITM``
is, for every (image, sentence) pair by itself, the matching head's probability that the pair matches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmf_muvla.objectives.registry import OBJECTIVES


def pair_weights(matched_logits: Tensor, epoch: Tensor, warmup_epochs: int | None) -> Tensor:
    """``w_ITM`` of each pair, float [B], without gradient, from the matching head's logits for retrieved sentences.

    ``epoch``, int [B], counts from 0. In the first m, ``warmup_epochs``, every pair has weight 1; None: in all of them.
    """
    probability = matched_logits.detach().float().sigmoid()
    one = torch.ones_like(probability)
    return one if warmup_epochs is None else torch.where(epoch < warmup_epochs, one, probability)


def view_weights(pair_weight: Tensor) -> Tensor:
    """The weight of each objective for each sample: ``w_ITM`` for R-P and I-S, 1 for R-T and all others.

    float [B] -> float [objectives x B], one objective after the other in the order of ``OBJECTIVES``.
    """
    one = torch.ones_like(pair_weight)
    return torch.cat([pair_weight if objective.weighted else one for objective in OBJECTIVES.values()])
