"""Tells MMF about the losses, under ``muvla_`` and their names; the losses themselves need no MMF."""

from __future__ import annotations

from mmf.common.registry import registry

from mmf_muvla.losses.objectives import FURTHER_LOSSES, PRETRAINING_LOSSES
from mmf_muvla.losses.tasks import TASK_LOSSES

for _pretraining_loss in (*PRETRAINING_LOSSES, *FURTHER_LOSSES):
    registry.register_loss(f"muvla_{_pretraining_loss.name}")(_pretraining_loss)
for _name, _task_loss in TASK_LOSSES.items():
    registry.register_loss(f"muvla_{_name}")(_task_loss)
