"""Patches that only MMF's GitHub main needs."""

from __future__ import annotations

from types import ModuleType

from mmf_muvla.compat.registration import patches


@patches("mmf.utils.patch")
def no_transformers_scan(module: ModuleType) -> None:
    """main, mmf/__init__.py:6 runs ``patch_transformers``, which imports every model of transformers.

    Symptom: six seconds more at every start, and aliases in ``sys.modules`` for everybody. The stand-ins serve the
    same names. Can go when MMF imports from where transformers keeps its models.
    """
    module.patch_transformers = lambda *args, **kwargs: None  # type: ignore[attr-defined]
