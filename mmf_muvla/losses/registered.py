"""Tells MMF about the losses, under ``muvla_`` and their names; the losses themselves need no MMF."""

from __future__ import annotations

from mmf.common.registry import registry

from mmf_muvla.losses.objectives import PRETRAINING_LOSSES

for _loss in PRETRAINING_LOSSES:
    registry.register_loss(f"muvla_{_loss.name}")(_loss)
