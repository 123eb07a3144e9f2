"""Patches of MMF's stock VisualBERT, the model that this project's own is compared with, and of what it is made of."""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any

from mmf_muvla.compat.registration import Function, around, patches
from mmf_muvla.compat.substitutes import cpu_for_cuda

_VISUAL_BERT = "mmf.models.visual_bert"


@around(_VISUAL_BERT, "VisualBERTBase.init_weights")
def weights_initialisation(init_weights: Function, self: Any) -> None:
    """models/visual_bert.py:64 calls ``init_weights`` at the end of its constructor, main too.

    Symptom: ``AttributeError: 'VisualBERTBase' object has no attribute 'all_tied_weights_keys'``: transformers 5 wants
    ``post_init``, which calls ``init_weights`` in turn. Can go when MMF calls ``post_init``.
    """
    if "all_tied_weights_keys" in vars(self):
        init_weights(self)
    else:
        self.post_init()


@patches(_VISUAL_BERT)
def tied_weights(module: ModuleType) -> None:
    """models/visual_bert.py:229, main too.

    Symptom: ``AttributeError: ... '_tie_or_clone_weights'`` (dropped in transformers 5). Can go when MMF ties the two
    weights itself.
    """
    module.VisualBERTBase._tie_or_clone_weights = lambda self, output, words: setattr(output, "weight", words.weight)


@around(_VISUAL_BERT, "VisualBERT.add_custom_params")
def visual_mask_on_cpu(add_custom_params: Function, self: Any, sample_list: Any) -> Any:
    """models/visual_bert.py:500 ends in ``.cuda()``. Fixed in main; can go with rc10.

    Symptom: ``AssertionError: Torch not compiled with CUDA enabled``; beside a GPU, tensors on two devices.
    """
    regions = getattr(sample_list, "visual_embeddings", None)
    with contextlib.nullcontext() if regions is None else cpu_for_cuda(regions.device):
        return add_custom_params(self, sample_list)


@around("mmf.modules.embeddings", "BertVisioLinguisticEmbeddings.forward")
def visual_positions_on_cpu(forward: Function, self: Any, *args: Any, **kwargs: Any) -> Any:
    """modules/embeddings.py:389 and 408 end in ``.cuda()``. Symptom and end as of ``visual_mask_on_cpu``."""
    with cpu_for_cuda(self.position_embeddings_visual.weight.device):
        return forward(self, *args, **kwargs)


@around("mmf.utils.patch", "patch_transformers")
def no_transformers_scan(*_: Any, **__: Any) -> None:
    """main, mmf/__init__.py:6 runs ``patch_transformers``, which imports every model of transformers.

    Symptom: six seconds more at every start, and aliases in ``sys.modules`` for everybody. The stand-ins serve the
    same names. Can go when MMF imports from where transformers keeps its models.
    """
