"""Tells MMF about the losses of the tasks, under ``muvla_`` and their names, and about their metrics."""

from __future__ import annotations

from mmf.common.registry import registry

import mmf_muvla.datasets.tasks.nlvr2.metric
import mmf_muvla.datasets.tasks.refcoco_plus.metric
import mmf_muvla.datasets.tasks.visual_entailment.metric
import mmf_muvla.datasets.tasks.vqa2.metric  # noqa: F401
from mmf_muvla.datasets.tasks.losses import TASK_LOSSES

for _name, _loss in TASK_LOSSES.items():
    registry.register_loss(f"muvla_{_name}")(_loss)
