"""Checkpoints of MMF's own VisualBERT: which weights have a place in this project's model, and which have none.

Words, layers, pooler and BERT's heads are the same. A region is, there, its projected feature with one and the same
segment and position; here its feature is normalised first, and has a location. So the projection fits only roughly, and
locations start at zero, as VisualBERT has none: fine-tune such a model before you ask it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mmf_muvla.models.checkpoint import names_in_bert
from mmf_muvla.models.embeddings import REGION_SEGMENT
from mmf_muvla.models.trunk import TrunkConfig

NOTE = "from MMF's VisualBERT: regions have no location yet, and their features were not normalised there"
_EMBEDDINGS = "embeddings."
_PROJECTION, _SEGMENT, _POSITION = (
    f"{_EMBEDDINGS}{name}"
    for name in ("projection", "token_type_embeddings_visual.weight", "position_embeddings_visual.weight")
)
_HEAD_SIZE = 64  # of every BERT that was published; a checkpoint does not say it


def is_visual_bert(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of MMF's VisualBERT."""
    return {f"{_PROJECTION}.weight", f"{_PROJECTION}.bias", _SEGMENT, _POSITION} <= {_short(name) for name in tensors}


def shape_of(tensors: Mapping[str, Tensor]) -> tuple[TrunkConfig, int]:
    """The shape of a VisualBERT, and how many numbers its region features have."""
    named = {_short(name): value for name, value in tensors.items()}
    words, width = named[f"{_EMBEDDINGS}word_embeddings.weight"].shape
    layers = {found[1] for name in named if (found := re.match(r"encoder\.layer\.(\d+)\.", name))}
    config = TrunkConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, width // _HEAD_SIZE),
        intermediate_size=len(named["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(named[f"{_EMBEDDINGS}position_embeddings.weight"]),
        type_vocab_size=len(named[f"{_EMBEDDINGS}token_type_embeddings.weight"]),
    )
    return config, named[f"{_PROJECTION}.weight"].shape[1]


def renamed(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a VisualBERT under the names of a model's ``own``; what has no place there keeps its name."""
    named = {_short(name): (name, value) for name, value in tensors.items()}
    state: dict[str, Tensor] = {}
    used = {f"{_PROJECTION}.weight", f"{_PROJECTION}.bias", _SEGMENT, _POSITION}
    used |= {f"cls.predictions.decoder.{part}" for part in ("weight", "bias")}  # second names of others
    for ours in own:
        theirs = names_in_bert(ours)
        if theirs and all(name in named for name in theirs):
            state[ours] = torch.cat([named[name][1] for name in theirs])
            used.update(theirs)
    # All regions have the first of its segments and positions there, and a segment of BERT's here.
    bias = named[f"{_PROJECTION}.bias"][1] + named[_SEGMENT][1][0] + named[_POSITION][1][0]
    state["encoder.embeddings.feature.weight"] = named[f"{_PROJECTION}.weight"][1]
    state["encoder.embeddings.feature.bias"] = bias - state["encoder.embeddings.segment.weight"][REGION_SEGMENT]
    for part in ("weight", "bias"):
        name = f"encoder.embeddings.location.{part}"
        state[name] = torch.zeros_like(own[name])
    return state | {name: value for short, (name, value) in named.items() if short not in used}


def _short(name: str) -> str:
    """A tensor's name as BERT's own checkpoints have it."""
    return name.removeprefix("model.").removeprefix("bert.")
