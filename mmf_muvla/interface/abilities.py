"""Which questions a model can answer, and what is said where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmf_muvla.datasets.tasks.visual_entailment.converter import LABELS
from mmf_muvla.errors import InputError


def _learned(loss: str) -> Callable[[Any], bool]:
    return lambda it: it.task == "pretraining" and (it.losses is None or f"muvla_{loss}" in it.losses)


def _is_entailment(config: Any) -> bool:
    return config.task == "classification" and tuple(config.id2label.values()) == LABELS


# A question -> whether a model of a configuration can answer it, and where models that can come from.
ABILITIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "match": (
        lambda it: it.task == "retrieval" or _learned("itm")(it),
        "a pre-training with matching (projects/muvla/pretrain_cc.yaml)",
    ),
    "fill": (_learned("mlm"), "a pre-training with masked words (projects/muvla/pretrain_cc.yaml)"),
    "answer": (
        lambda it: it.task == "classification" and not _is_entailment(it),
        "a fine-tuning on VQA 2.0 (projects/muvla/finetune/vqa2.yaml)",
    ),
    "entails": (_is_entailment, "a fine-tuning on SNLI-VE (projects/muvla/finetune/visual_entailment.yaml)"),
    "compare": (lambda it: it.task == "image_pair", "a fine-tuning on NLVR2 (projects/muvla/finetune/nlvr2.yaml)"),
    "refer": (
        lambda it: it.task == "grounding",
        "a fine-tuning on RefCOCO+ (projects/muvla/finetune/refcoco_plus.yaml)",
    ),
}


def abilities(config: Any) -> list[str]:
    """The questions that a model of this configuration can answer."""
    return [name for name, (can, _) in ABILITIES.items() if can(config)]


def refuse_unable(question: str, config: Any, name: str) -> None:
    """Refuse a question that a model was not trained for: an InputError that says for what it was."""
    can, needed = ABILITIES[question]
    if can(config):
        return
    trained = "pre-trained" if config.task == "pretraining" else "fine-tuned"
    known = ", ".join(abilities(config))
    problem = f"cannot {question}: it was {trained} on {config.dataset or 'data unknown'} (task={config.task})"
    raise InputError(name, problem, f"Load {needed}; this one can {known or 'answer no question'}")
