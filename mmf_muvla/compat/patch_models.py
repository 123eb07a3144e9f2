"""Patches of MMF's stock VisualBERT, the model that this project's own is compared with."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_muvla.compat.registration import patches
from mmf_muvla.compat.without_cuda import without_cuda

_VISUAL_BERT = "mmf.models.visual_bert"


@patches(_VISUAL_BERT)
def weights_initialisation(module: ModuleType) -> None:
    """models/visual_bert.py:64 calls ``init_weights`` at the end of its constructor, main too.

    Symptom: ``AttributeError: 'VisualBERTBase' object has no attribute 'all_tied_weights_keys'``: transformers 5 wants
    ``post_init``, which calls ``init_weights`` in turn. Can go when MMF calls ``post_init``.
    """
    base: Any = module.VisualBERTBase
    init_weights = base.init_weights

    def init_weights_through_post_init(self: Any) -> None:
        if "all_tied_weights_keys" in vars(self):
            init_weights(self)
        else:
            self.post_init()

    base.init_weights = init_weights_through_post_init


@patches(_VISUAL_BERT)
def tied_weights(module: ModuleType) -> None:
    """models/visual_bert.py:229, main too.

    Symptom: ``AttributeError: ... '_tie_or_clone_weights'`` (dropped in transformers 5). Can go when MMF ties the two
    weights itself.
    """

    def tie_weights(self: Any, output: Any, embeddings: Any) -> None:
        output.weight = embeddings.weight

    module.VisualBERTBase._tie_or_clone_weights = tie_weights


@patches(_VISUAL_BERT)
def visual_mask_on_cpu(module: ModuleType) -> None:
    """models/visual_bert.py:500 ends in ``.cuda()``. Fixed in main; can go with rc10.

    Symptom: ``AssertionError: Torch not compiled with CUDA enabled``.
    """
    module.VisualBERT.add_custom_params = without_cuda(module.VisualBERT.add_custom_params)


@patches("mmf.modules.embeddings")
def visual_positions_on_cpu(module: ModuleType) -> None:
    """modules/embeddings.py:389 and 408 end in ``.cuda()``. Symptom and end as of ``visual_mask_on_cpu``."""
    embeddings: Any = module.BertVisioLinguisticEmbeddings
    embeddings.forward = without_cuda(embeddings.forward)
