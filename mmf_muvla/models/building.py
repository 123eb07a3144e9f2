"""The heads of a model, from its options: the one place that knows which task has which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.retrieval import RetrievalHeads
from mmf_muvla.models.tasks import ClassificationHeads, GroundingHeads, ImagePairHeads, TaskHeads
from mmf_muvla.objectives.registry import heads_of

Heads = TaskHeads | PretrainingHeads


def make_heads(encoder: Encoder, options: Mapping[str, Any], size: Callable[[str], int]) -> Heads:
    """The heads of ``options["task"]``, with random weights.

    Args:
        encoder: what they stand on.
        options: ``model_config.muvla``.
        size: gives ``num_labels`` or ``num_object_classes``; asked only for what the task has.
    """
    task, dropout = options["task"], options["classifier_dropout"]
    if task in ("classification", "image_pair"):
        kind = ClassificationHeads if task == "classification" else ImagePairHeads
        return kind(encoder, size("num_labels"), dropout, options["classifier_pooling"])
    if task == "grounding":
        return GroundingHeads(encoder, dropout)
    if task == "retrieval":
        return RetrievalHeads(encoder, options["itm_pooling"])
    return PretrainingHeads(
        encoder,
        feature_dim=options["trunk"]["feature_dim"],
        num_object_classes=size("num_object_classes"),
        warmup_epochs=(options["curriculum"] or {}).get("warmup_epochs"),
        itm_pooling=options["itm_pooling"],
        share_vocabulary_head=options["share_vocabulary_head"],
        learned=None if options["losses"] is None else heads_of(options["losses"]),
    )
