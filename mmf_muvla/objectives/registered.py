"""Tells MMF about the losses, under ``muvla_`` and their names, and about the score of matching."""

from __future__ import annotations

from mmf.common.registry import registry

import mmf_muvla.objectives.matching_metric  # noqa: F401
from mmf_muvla.objectives.losses import FURTHER_LOSSES, PRETRAINING_LOSSES

for _loss in (*PRETRAINING_LOSSES, *FURTHER_LOSSES):
    registry.register_loss(f"muvla_{_loss.name}")(_loss)
