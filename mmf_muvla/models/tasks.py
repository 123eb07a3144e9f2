"""The heads of the tasks: a class for one image (VQA, SNLI-VE) or two (NLVR2), or one of the regions (RefCOCO+)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import FIELDS, Encoder
from mmf_muvla.models.heads import ClassifierHead, Pooler

TEXT_FIELDS, IMAGE_FIELDS = FIELDS[:2], FIELDS[2:]


def pooled_states(encoder: Encoder, pooler: Pooler, batch: Mapping[str, Any]) -> Tensor:
    """The vector that a classifier looks at, float [N, hidden].

    The batch has one text and one image a sample: ``input_ids`` int [N, T], ``attention_mask`` bool [N, T],
    ``image_feature_0`` [N, R, d], ``bbox`` [N, R, 4], ``image_size`` [N, 2], ``region_mask`` bool [N, R].
    """
    masks = batch["attention_mask"], batch["region_mask"]
    text, regions = _encode(encoder, batch, *pooler.looks_at(*masks))
    return pooler(text, masks[0], regions, masks[1])


def _encode(encoder: Encoder, batch: Mapping[str, Any], *wanted: Tensor) -> tuple[Tensor, Tensor]:
    """States of text [N, T, hidden] and regions [N, R, hidden], where wanted."""
    fields = {name: batch[name].unsqueeze(1) if name in TEXT_FIELDS else batch[name] for name in FIELDS}
    text, regions = encoder(**fields, wanted=tuple(it.unsqueeze(1) for it in wanted))
    return text.squeeze(1), regions.squeeze(1)


class ClassificationHeads(nn.Module):
    """A classifier of answers on the [CLS] state, or on what ``pooling`` puts in its place (see :class:`Pooler`)."""

    num_images = 1

    def __init__(self, encoder: Encoder, num_labels: int, dropout: float, pooling: str = "cls"):
        super().__init__()
        self.pooler = Pooler(encoder.config, pooling)
        hidden = encoder.config.hidden_size
        self.classifier = ClassifierHead(self.num_images * hidden, hidden, num_labels, dropout)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Score the answers of a batch (see :func:`pooled_states`): ``scores``, float [B, num_labels]."""
        return {"scores": self.classifier(self.pool(encoder, batch)).float()}

    def pool(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        """What is classified, float [B, num_images x hidden]."""
        return pooled_states(encoder, self.pooler, batch)


class ImagePairHeads(ClassificationHeads):
    """The same on the vectors of (text, left image) and (text, right image), one after the other.

    The image fields of the batch are of both images, ``image_feature_0`` [B, 2, R, d], ``bbox`` [B, 2, R, 4],
    ``image_size`` [B, 2, 2] and ``region_mask`` [B, 2, R]. All pass the encoder together.
    """

    num_images = 2

    def pool(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        both = {name: batch[name].repeat_interleave(2, dim=0) for name in TEXT_FIELDS}  # [B, T] -> [2 B, T]
        both |= {name: batch[name].flatten(0, 1) for name in IMAGE_FIELDS}  # [B, 2, …] -> [2 B, …]
        return pooled_states(encoder, self.pooler, both).unflatten(0, (-1, 2)).flatten(1)


class GroundingHeads(nn.Module):
    """A score for each region's state, by a two-layer network that is the same for all of them."""

    def __init__(self, encoder: Encoder, dropout: float):
        super().__init__()
        hidden = encoder.config.hidden_size
        self.scorer = ClassifierHead(hidden, hidden, num_labels=1, dropout=dropout)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Score the regions of a batch (see :func:`pooled_states`), and choose the best.

        The batch has ``targets`` [B, R], the right regions, and ``labelled`` [B].

        Returns:
            ``scores`` float [B, R], minus infinity at padding; ``chosen_region`` int [B]; ``chosen_is_right`` bool [B];
            ``statistics``: ``reachable``, how many labelled samples have a right region, and how many there are.
        """
        no_text = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        _, states = _encode(encoder, batch, no_text, batch["region_mask"])
        scores = self.scorer(states).squeeze(-1).float().masked_fill(~batch["region_mask"], -torch.inf)
        chosen = scores.argmax(dim=1)
        right, labelled = batch["targets"], batch["labelled"]
        return {
            "scores": scores,
            "chosen_region": chosen,
            "chosen_is_right": right.gather(1, chosen.unsqueeze(1)).squeeze(1),
            "statistics": {"reachable": ((right.any(dim=1) & labelled).sum(), labelled.sum())},
        }
