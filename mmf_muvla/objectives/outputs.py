"""What the pre-training model hands to the losses: typed, with named fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmf_muvla.objectives.per_sample import PerSampleLoss


@dataclass(frozen=True)
class Predictions:
    """Predictions for ``M`` targets of one loss (M may be 0: the tensors are then empty but keep their graph).

    Attributes:
        prediction: float [M, C] or [M].
        target: [M] class or token ids; [M, d] features; [M, P] phrase word pieces; or [M] 0/1.
        group: int [M], view number x B + sample number, the views in the order of ``OBJECTIVES``.
        confidence: float [M], of classes: the detector's confidence in them.
    """

    prediction: Tensor
    target: Tensor
    group: Tensor
    confidence: Tensor | None = None


@dataclass
class PretrainingOutput:
    """Everything the losses need.

    Attributes:
        num_samples: B.
        view_weight: float [views x B], the curriculum's weight of each view of each sample.
        pair_weight: float [B], ``w_ITM`` (1 during warm-up).
        match_probability: float [B], the matching head's probability for the retrieved pairs, without gradient.
        mlm, mrc, mrfr, p_mrtc, itm: predictions, None where no row of the batch can have targets.
        statistics: filled by the losses, for logs: name -> (sum of per-sample values, number of samples with targets).
    """

    num_samples: int
    view_weight: Tensor
    pair_weight: Tensor
    match_probability: Tensor | None = None
    mlm: Predictions | None = None
    mrc: Predictions | None = None
    mrfr: Predictions | None = None
    p_mrtc: Predictions | None = None
    itm: Predictions | None = None
    statistics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def record(self, name: str, loss: PerSampleLoss) -> None:
        """Keep a loss's plain (unweighted) mean over the samples that have targets, for logs."""
        with torch.no_grad():
            self.statistics[name] = (loss.values.sum(), (loss.counts > 0).sum())
