"""Patches of MMF's stock datasets."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from mmf_muvla.compat.registration import patches

_BUILDERS = {
    "mmf.datasets.builders.vqa2.builder": "VQA2Builder",
    "mmf.datasets.builders.nlvr2.builder": "NLVR2Builder",
    "mmf.datasets.builders.visual_entailment.builder": "VisualEntailmentBuilder",
}


@patches("mmf.datasets.builders.nlvr2.dataset")
def nlvr2_annotations(module: ModuleType) -> None:
    """datasets/builders/nlvr2/dataset.py:17 reads ``self.imdb``, which the base class calls ``annotation_db``.

    Symptom: ``AttributeError: 'NLVR2Dataset' object has no attribute 'imdb'``. Fixed in main; can go with rc10.
    """
    module.NLVR2Dataset.imdb = property(lambda self: self.annotation_db)


@patches(*_BUILDERS)
def stock_configs(module: ModuleType) -> None:
    """datasets/builders/vqa2/builder.py:20 names its defaults ``configs/datasets/vqa2/defaults.yaml``, main too.

    Symptom: utils/general.py:97 looks for that in the current folder before it looks into MMF, so that a run that is
    started in a folder with such a file, a clone of this project for one, gets another data set's defaults for MMF's.
    Can go when MMF looks into itself first.
    """
    from mmf.utils.general import get_mmf_root

    builder: Any = getattr(module, _BUILDERS[module.__name__])
    name_in_mmf = builder.config_path()
    builder.config_path = classmethod(lambda cls: os.path.join(get_mmf_root(), name_in_mmf))
