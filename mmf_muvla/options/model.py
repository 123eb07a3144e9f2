"""``model_config.muvla``. ``configs/models/muvla/defaults.yaml`` says what each option means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmf_muvla.options.kinds import Count, CountOrNone, Flag, Name, Number, Options, Share, Whole, accept, kind


@dataclass
class Trunk(Options):
    pretrained: Name = "bert-base-uncased"
    random_init: Flag = False
    feature_dim: Count = 2048
    num_hidden_layers: Count | None = None
    hidden_size: Count | None = None
    num_attention_heads: Count | None = None
    intermediate_size: Count | None = None
    hidden_dropout_prob: Share | None = None
    attention_probs_dropout_prob: Share | None = None
    vocab_size: Count | None = None
    max_position_embeddings: Count | None = None
    type_vocab_size: Annotated[int, Field(ge=2)] | None = None
    layer_norm_eps: Annotated[Number, Field(gt=0)] | None = None
    streams: Annotated[Whole, Field(ge=1, le=2)] = 1
    region_layers: Count | None = None
    co_layers: Count | None = None
    activation_checkpointing: Flag = False
    compile: Flag = False


def _nothing(value: Any) -> None:
    accept(value, value is None)


# ``region_init`` of former versions, which runs of theirs have in their configuration.
_GONE = (
    "regions start at random: this start is gone",
    "Leave the option out, and start from a BERT that knows the corpus's language (tools/make_small_bert.py)",
)
Gone = Annotated[None, kind(_nothing, *_GONE)]


@dataclass
class Curriculum(Options):
    warmup_epochs: CountOrNone | None = 1


@dataclass
class Loss(Options):
    type: Name
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class PretrainingLoss(Options):
    """``params`` of the pre-training losses."""

    weight: Annotated[Number, Field(ge=0)] = 1.0


@dataclass
class TaskLoss(Options):
    """``params`` of the losses of tasks: there are none."""


LOSSES: dict[str, type[Options]] = {
    **{f"muvla_{name}": PretrainingLoss for name in ("mlm", "mrc", "mrc_kl", "mrfr", "p_mrtc", "itm")},
    **{f"muvla_{name}": TaskLoss for name in ("answer_bce", "cross_entropy", "grounding", "matching_bce")},
}


# Options that had another default, or did not exist, when runs were made that do not have them in their configuration:
# what such a run did.
FORMER_DEFAULTS: dict[str, Any] = {"itm_pooling": "cls", "classifier_pooling": "cls", "share_vocabulary_head": False}


@dataclass
class Muvla(Options):
    task: Literal["pretraining", "classification", "image_pair", "grounding", "retrieval"] = "pretraining"
    trunk: Trunk = field(default_factory=Trunk)
    region_init: Gone = None
    itm_pooling: Literal["cls", "bert", "mean"] = "bert"
    share_vocabulary_head: Flag = True
    num_object_classes: Count | None = None
    num_labels: Count | None = None
    classifier_dropout: Share = 0.1
    classifier_pooling: Literal["cls", "bert", "mean"] = "bert"
    curriculum: Curriculum | None = field(default_factory=Curriculum)
    losses: list[Loss] | None = None
    loss_weights: dict[str, Annotated[Number, Field(ge=0)]] = field(default_factory=dict)
    # MMF writes it there.
    model: Name | None = None
