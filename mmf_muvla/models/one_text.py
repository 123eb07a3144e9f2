"""One text about one image: what the heads of the tasks look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmf_muvla.models.encoder import FIELDS, Encoder
from mmf_muvla.models.heads import Pooler

TEXT_FIELDS, IMAGE_FIELDS = FIELDS[:2], FIELDS[2:]


def pooled_states(encoder: Encoder, pooler: Pooler, batch: Mapping[str, Any]) -> Tensor:
    """The vector that a classifier looks at.

    Args:
        encoder: the encoder.
        pooler: makes one vector of the states.
        batch: ``input_ids`` int [N, T], ``attention_mask`` [N, T], ``image_feature_0`` [N, R, d], ``bbox`` [N, R, 4],
            ``image_size`` [N, 2], ``region_mask`` [N, R]; masks are true at real tokens and regions.

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
