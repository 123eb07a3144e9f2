"""Losses with one value per sample.

Every loss of the pre-training is a mean over a sample's own targets, per sample: only then can the curriculum
weigh each (image, sentence) pair by itself. A sample without targets has the value 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.objectives.views import IGNORE


@dataclass(frozen=True)
class PerSampleLoss:
    """A loss of a batch, sample by sample.

    Attributes:
        values: float [G], mean over the sample's targets, 0 where it has none.
        counts: int [G], number of targets.
    """

    values: Tensor
    counts: Tensor


def per_sample_mean(target_losses: Tensor, group: Tensor, num_groups: int) -> PerSampleLoss:
    """Average the losses of single targets within each sample.

    Args:
        target_losses: float [M], one per target (M may be 0).
        group: int [M], the sample that each target belongs to, in ``range(num_groups)``.
        num_groups: G.
    """
    counts = torch.bincount(group, minlength=num_groups)
    sums = target_losses.new_zeros(num_groups, dtype=torch.float32).index_add(0, group, target_losses.float())
    return PerSampleLoss(sums / counts.clamp(min=1), counts)


def token_or_class_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """MLM and MRC: cross-entropy of each target.

    Args:
        logits: float [M, C].
        labels: int [M].

    Returns:
        float [M].
    """
    return F.cross_entropy(logits.float(), labels, reduction="none")


def detector_divergence(logits: Tensor, labels: Tensor, confidence: Tensor) -> Tensor:
    """MRC-KL: the divergence KL(detector || prediction) of each target.

    The detector's distribution is not stored, only the class and its confidence. So the distribution is taken as
    ``confidence`` on the class, and the rest spread evenly over the other classes.

    Args:
        logits: float [M, C], at least two classes.
        labels: int [M], the detector's classes.
        confidence: float [M], its confidence in them, in [0, 1].

    Returns:
        float [M].
    """
    log_probability = F.log_softmax(logits.float(), dim=-1)
    of_class = log_probability.gather(1, labels.unsqueeze(1)).squeeze(1)
    of_others = log_probability.sum(dim=1) - of_class
    rest = 1 - confidence
    share = rest / (logits.shape[1] - 1)
    # xlogy(0, 0) is 0: what the detector rules out adds nothing.
    minus_entropy = torch.xlogy(confidence, confidence) + torch.xlogy(rest, share)
    return minus_entropy - confidence * of_class - share * of_others


def masked_region_feature_regression(prediction: Tensor, feature: Tensor) -> Tensor:
    """MRFR: squared L2 distance to the **original** feature, divided by the feature's size.

    The division keeps the loss on the scale of the others whatever the detector; set the loss weight to the
    feature's size for the plain sum over dimensions.

    Args:
        prediction: float [M, d].
        feature: float [M, d].

    Returns:
        float [M].
    """
    return (prediction.float() - feature.float()).square().mean(dim=-1)


def phrase_guided_token_classification(logits: Tensor, phrase_ids: Tensor) -> Tensor:
    """p-MRTC: cross-entropy between the prediction at a masked region and its linked phrase's word pieces.

    The target distribution is uniform over the phrase's word pieces (a piece that occurs twice counts twice).

    Args:
        logits: float [M, V].
        phrase_ids: int [M, P], the word pieces, padded with IGNORE; at least one per row.

    Returns:
        float [M].
    """
    present = phrase_ids != IGNORE
    log_probability = F.log_softmax(logits.float(), dim=-1).gather(1, phrase_ids.clamp(min=0))
    return -(log_probability * present).sum(dim=1) / present.sum(dim=1)


def image_text_matching(logits: Tensor, matched: Tensor) -> Tensor:
    """ITM: binary cross-entropy of each pair.

    Args:
        logits: float [M].
        matched: float [M], 1 for a retrieved pair, 0 for a random one.

    Returns:
        float [M].
    """
    return F.binary_cross_entropy_with_logits(logits.float(), matched, reduction="none")
