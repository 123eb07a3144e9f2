"""A package as a user writes it: an objective with a row, a head and a loss of its own.

Regions with a sentence, nothing masked; every region is asked which share of the image it covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmf_muvla import register_with_mmf
from mmf_muvla.objectives import (
    IGNORE,
    HeadKit,
    MaskingConfig,
    Material,
    Objective,
    Predictions,
    PretrainingLoss,
    Row,
    make_row,
    register_loss,
    register_objective,
)

register_with_mmf()


@register_objective
class WholePair(Objective):
    name, rows = "whole_pair", ("whole_pair",)

    def predicts(self, masking: MaskingConfig) -> tuple[str, ...]:
        return ("region_size",)

    def make(self, material: Material) -> dict[str, Row]:
        tokens = material.tokens[: int(material.rng(self.name).integers(1, 5))]
        row = make_row(
            tokens,
            np.full(len(tokens), IGNORE),
            material.vocabulary,
            hidden_regions=np.zeros(material.num_regions, bool),
            predicts=self.predicts(material.masking),
        )
        return {self.name: row}


@register_loss
class RegionSize(PretrainingLoss):
    name = "region_size"
    at = "regions"

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        return nn.Sequential(kit.linear(8), nn.GELU(), nn.Linear(8, 1))

    @staticmethod
    def chosen(batch: Mapping[str, Any]) -> Tensor:
        chosen = torch.zeros_like(batch["region_targets"])
        chosen[:, list(batch["rows"]).index("whole_pair")] = batch["region_mask"]
        return chosen

    @staticmethod
    def targets(batch: Mapping[str, Any], sample: Tensor, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        x1, y1, x2, y2 = batch["bbox"][sample, position].unbind(-1)
        return {"target": (x2 - x1) * (y2 - y1) / batch["image_size"][sample].prod(dim=-1)}

    def target_losses(self, it: Predictions) -> Tensor:
        return (it.prediction.squeeze(-1) - it.target).square()
