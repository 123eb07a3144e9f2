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
    """The vector that a classifier looks at.

    Args:
        encoder: the encoder.
        pooler: makes one vector of the states.
        batch: one text and one image a sample. ``input_ids`` int [N, T], ``attention_mask`` [N, T],
            ``image_feature_0`` [N, R, d], ``bbox`` [N, R, 4], ``image_size`` [N, 2], ``region_mask`` [N, R]; masks are
            true at real tokens and regions.

    Returns:
        float [N, hidden].
    """
    text_mask, region_mask = batch["attention_mask"].to(torch.bool), batch["region_mask"].to(torch.bool)
    text, regions = _encode(encoder, batch, pooler.looks_at(text_mask, region_mask))
    return pooler(text, text_mask, regions, region_mask)


def region_states(encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
    """The states of the regions, float [N, R, hidden], zero at padding; arguments as for :func:`pooled_states`."""
    none = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    return _encode(encoder, batch, wanted=(none, batch["region_mask"].to(torch.bool)))[1]


def _encode(encoder: Encoder, batch: Mapping[str, Any], wanted: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """States of text [N, T, hidden] and regions [N, R, hidden], where wanted."""
    fields = {name: batch[name] for name in FIELDS}
    for name in ("attention_mask", "region_mask"):
        fields[name] = fields[name].to(torch.bool)
    for name in TEXT_FIELDS:
        fields[name] = fields[name].unsqueeze(1)
    text, regions = encoder(**fields, wanted=(wanted[0].unsqueeze(1), wanted[1].unsqueeze(1)))
    return text.squeeze(1), regions.squeeze(1)


class ClassificationHeads(nn.Module):
    """A classifier on the [CLS] state (or on what the option ``pooling`` puts in its place).

    Args:
        encoder: the encoder it stands on.
        num_labels: number of answers.
        dropout: dropout inside the classifier.
        pooling: what the classifier looks at, see :class:`~mmf_muvla.models.heads.Pooler`.

    Raises:
        InputError: ``pooling`` is unknown.
    """

    num_images = 1

    def __init__(self, encoder: Encoder, num_labels: int, dropout: float, pooling: str = "cls"):
        super().__init__()
        self.pooler = Pooler(encoder.config, pooling, "classifier_pooling")
        hidden = encoder.config.hidden_size
        self.classifier = ClassifierHead(self.num_images * hidden, hidden, num_labels, dropout)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Score the answers.

        Args:
            encoder: the encoder given at construction.
            batch: see :func:`pooled_states`.

        Returns:
            ``scores``: float [B, num_labels].
        """
        return {"scores": self.classifier(self.pool(encoder, batch)).float()}

    def pool(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        """What is classified, float [B, hidden]."""
        return pooled_states(encoder, self.pooler, batch)


class ImagePairHeads(ClassificationHeads):
    """A classifier on the two [CLS] states of (text, left image) and (text, right image), one after the other.

    Or on what the option ``pooling`` puts in their place. The batch is that of one image, but for the image fields:
    they are of both images, ``image_feature_0`` [B, 2, R, d], ``bbox`` [B, 2, R, 4], ``image_size`` [B, 2, 2] and
    ``region_mask`` [B, 2, R].
    """

    num_images = 2

    def pool(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        """What is classified, float [B, 2 hidden]; both images of all samples pass the encoder together."""
        both = {name: batch[name].repeat_interleave(2, dim=0) for name in TEXT_FIELDS}  # [B, T] -> [2 B, T]
        both |= {name: batch[name].flatten(0, 1) for name in IMAGE_FIELDS}  # [B, 2, …] -> [2 B, …]
        states = pooled_states(encoder, self.pooler, both)
        left, right = states[0::2], states[1::2]
        return torch.cat([left, right], dim=1)


class GroundingHeads(nn.Module):
    """A score for each region's state, by a two-layer network that is the same for all of them.

    Args:
        encoder: the encoder it stands on.
        dropout: dropout inside the network.
    """

    def __init__(self, encoder: Encoder, dropout: float):
        super().__init__()
        hidden = encoder.config.hidden_size
        self.scorer = ClassifierHead(hidden, hidden, num_labels=1, dropout=dropout)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Score the regions and choose the best.

        Args:
            encoder: the encoder given at construction.
            batch: see :func:`pooled_states`; and ``targets`` [B, R], the right regions, with ``labelled`` [B].

        Returns:
            ``scores`` float [B, R], minus infinity at padding; ``chosen_region`` int [B]; ``chosen_is_right`` bool [B];
            ``statistics``, for logs: ``reachable``, how many labelled samples have a right region, and how many there
            are.
        """
        states = region_states(encoder, batch)
        scores = self.scorer(states).squeeze(-1).float().masked_fill(~batch["region_mask"], -torch.inf)
        chosen = scores.argmax(dim=1)
        right, labelled = batch["targets"], batch["labelled"]
        return {
            "scores": scores,
            "chosen_region": chosen,
            "chosen_is_right": right.gather(1, chosen.unsqueeze(1)).squeeze(1),
            "statistics": {"reachable": ((right.any(dim=1) & labelled).sum(), labelled.sum())},
        }
