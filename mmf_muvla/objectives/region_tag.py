"""R-T, region-tag alignment (paper section 3.1): ``L_RT = L_MLM(o_m | o_\\m, v) + L_MRC + L_MRFR``.

Tags and regions are masked at random, 15 percent of each. Some of the systems in the comparison have MRC-KL in place of
MRC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.objectives.loss import HeadKit, Predictions, PretrainingLoss
from mmf_muvla.objectives.masking import (
    Ints,
    MaskingConfig,
    Row,
    Vocabulary,
    choose,
    hide_regions,
    make_row,
    mask_tokens,
)
from mmf_muvla.objectives.objective import Material, Objective
from mmf_muvla.objectives.registry import register_loss, register_objective


def region_tag_row(
    tag_tokens: list[Ints],
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    config: MaskingConfig,
    max_tokens: int,
    box_positions: bool = True,
) -> Row:
    """Mask tags and regions at random.

    Tags, given as the word pieces of each region's, that do not fit into ``max_tokens`` are left out, whole. A tag's
    place is the box of its region, or without ``box_positions`` its place in the text, as for any word.
    """
    n = len(tag_tokens)
    lengths = np.array([len(tokens) for tokens in tag_tokens])
    kept = int(np.searchsorted(np.cumsum(lengths), max_tokens, side="right"))
    tokens = np.concatenate([*tag_tokens[:kept], np.empty(0, np.int64)]).astype(np.int64)
    region = np.repeat(np.arange(kept), lengths[:kept])
    if config.whole_tags:
        chosen = choose(np.full(kept, config.token_rate), rng)[region]
    else:
        chosen = choose(np.full(len(tokens), config.token_rate), rng)
    shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
    targets = choose(np.full(n, config.region_rate), rng)
    return make_row(
        shown,
        labels,
        vocabulary,
        token_region=region if box_positions else None,
        hidden_regions=hide_regions(targets, rng, config),
        region_targets=targets,
        predicts=RegionTag.losses,
    )


@register_objective
class RegionTag(Objective):
    """Input ``[o, v]``: the tags and the regions."""

    name, rows, losses = "region_tag", ("region_tag",), ("mlm", "mrc", "mrfr")

    def make(self, material: Material) -> dict[str, Row]:
        options, rng = material.options, material.rng(self.name)
        more = (options.max_tag_tokens, options.tag_positions == "box")
        return {self.name: region_tag_row(material.tags, rng, material.vocabulary, options.masking, *more)}


class MaskedRegionLoss(PretrainingLoss):
    """The losses at masked regions."""

    at = "regions"

    @staticmethod
    def chosen(batch: Mapping[str, Any]) -> Tensor:
        return batch["region_targets"]


@register_loss
class MaskedRegionClassification(MaskedRegionLoss):
    """MRC: cross-entropy of the detector's class, from a fully connected layer on the region's state."""

    name = "mrc"

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        return kit.linear(kit.num_object_classes)

    @staticmethod
    def targets(batch: Mapping[str, Any], sample: Tensor, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        return {
            "target": batch["object_class"][sample, position],
            "confidence": batch["object_confidence"][sample, position],
        }

    def target_losses(self, it: Predictions) -> Tensor:
        return F.cross_entropy(it.prediction.float(), it.target, reduction="none")


@register_loss
class MaskedRegionFeatureRegression(MaskedRegionLoss):
    """MRFR: squared L2 distance to the region's **original** feature, divided by the feature's size.

    The division keeps the loss on the scale of the others whatever the detector; set the loss weight to the
    feature's size for the plain sum over dimensions.
    """

    name = "mrfr"

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        return kit.linear(kit.feature_dim)

    @staticmethod
    def targets(batch: Mapping[str, Any], sample: Tensor, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        return {"target": batch["image_feature_0"][sample, position]}

    def target_losses(self, it: Predictions) -> Tensor:
        return (it.prediction.float() - it.target.float()).square().mean(dim=-1)


@register_loss
class MaskedRegionClassificationKL(MaskedRegionClassification):
    """MRC-KL: divergence from the detector's distribution over the classes (ViLBERT, UNITER), on the head of MRC."""

    name = "mrc_kl"

    @classmethod
    def head_name(cls) -> str:
        return "mrc"

    def target_losses(self, it: Predictions) -> Tensor:
        assert it.confidence is not None
        return detector_divergence(it.prediction, it.target, it.confidence)


def detector_divergence(logits: Tensor, labels: Tensor, confidence: Tensor) -> Tensor:
    """The divergence KL(detector || prediction) of each target.

    Of the detector's distribution only ``confidence``, float [M], on its class, int [M], is stored; the rest is taken
    as spread evenly over the others. ``logits`` are float [M, C].
    """
    log_probability = F.log_softmax(logits.float(), dim=-1)
    of_class = log_probability.gather(1, labels.unsqueeze(1)).squeeze(1)
    of_others = log_probability.sum(dim=1) - of_class
    rest = 1 - confidence
    share = rest / (logits.shape[1] - 1)
    # xlogy(0, 0) is 0: what the detector rules out adds nothing.
    minus_entropy = torch.xlogy(confidence, confidence) + torch.xlogy(rest, share)
    return minus_entropy - confidence * of_class - share * of_others
