"""Patches of MMF's stock datasets."""

from __future__ import annotations

from types import ModuleType

from mmf_muvla.compat.registration import patches


@patches("mmf.datasets.builders.nlvr2.dataset")
def nlvr2_annotations(module: ModuleType) -> None:
    """datasets/builders/nlvr2/dataset.py:17 reads ``self.imdb``, which the base class calls ``annotation_db``.

    Symptom: ``AttributeError: 'NLVR2Dataset' object has no attribute 'imdb'``. Fixed in main; can go with rc10.
    """
    module.NLVR2Dataset.imdb = property(lambda self: self.annotation_db)
