"""The single-stream transformer: a post-LN BERT encoder on scaled-dot-product attention.

The trunk takes embedded tokens (words and regions alike, see :mod:`mmf_muvla.models.embeddings`) and returns
one hidden state per position. It has BERT's architecture and reads any BERT checkpoint; on text alone it gives
what ``transformers.BertModel`` gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained

INITIALIZER_RANGE = 0.02  # BERT's


@dataclass(frozen=True)
class TrunkConfig:
    """The shape of a BERT encoder; the names are those of a BERT checkpoint's ``config.json``."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                "model_config.muvla.trunk",
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}",
                "Choose a number of heads that divides the hidden size",
            )

    @classmethod
    def from_checkpoint(cls, name: str, **overrides: Any) -> TrunkConfig:
        """Read the shape from a BERT checkpoint's own ``config.json``.

        Args:
            name: folder, hub name or ``package:…`` (see :mod:`mmf_muvla.pretrained`).
            overrides: fields to replace; ``None`` means "as in the checkpoint".

        Raises:
            InputError: the checkpoint is not a BERT, or an override is not a field of this class.
        """
        path = checkpoint_file(name, "config.json")
        if path is None:
            raise InputError(f"pretrained={name}", "there is no config.json", "Name a folder that BERT was saved to")
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        if stored.get("model_type", "bert") != "bert":
            raise InputError(str(path), f"model_type is '{stored['model_type']}', not 'bert'", "Name a BERT checkpoint")
        if stored.get("hidden_act", "gelu") != "gelu":
            raise InputError(str(path), f"hidden_act is '{stored['hidden_act']}'", "The trunk knows BERT's 'gelu' only")
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise InputError(
                "model_config.muvla.trunk",
                f"unknown option {unknown[0]!r}",
                f"The options are {', '.join(sorted(known))}",
            )
        config = cls(**{key: value for key, value in stored.items() if key in known})
        return replace(config, **{key: value for key, value in overrides.items() if value is not None})


class Layout:
    """Which positions of a padded batch are real, and the way between padded and packed tensors.

    Between two attentions a layer works on each position by itself. So hidden states travel packed, real positions
    only, and are padded for the attention alone: texts and region counts differ so much within a batch that a third
    or more of its positions is padding.

    Args:
        mask: bool [rows, length], True at real positions.
    """

    def __init__(self, mask: Tensor):
        self.mask = mask
        self.key_mask = mask[:, None, None, :]  # broadcast over heads and queries
        self.index = mask.flatten().nonzero().squeeze(1)

    def pack(self, padded: Tensor) -> Tensor:
        """[rows, length, width] -> [real positions, width]."""
        return padded.flatten(0, 1).index_select(0, self.index)

    def pad(self, packed: Tensor) -> Tensor:
        """[real positions, width] -> [rows, length, width], zero at padding."""
        padded = packed.new_zeros(self.mask.numel(), packed.shape[1])
        return padded.index_copy(0, self.index, packed).view(*self.mask.shape, -1)


class SelfAttention(nn.Module):
    """Multi-head self-attention with BERT's residual connection and post-LayerNorm."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.output_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        rows, length = layout.mask.shape
        qkv = layout.pad(self.qkv(hidden)).view(rows, length, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [rows, heads, length, width / heads]
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=layout.key_mask, dropout_p=self.dropout if self.training else 0.0
        )
        context = layout.pack(context.transpose(1, 2).flatten(2))
        return self.norm(hidden + self.output_dropout(self.output(context)))


class Layer(nn.Module):
    """One BERT layer: self-attention, then the two-layer GELU network, each with residual and post-LayerNorm."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.attention = SelfAttention(config)
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        hidden = self.attention(hidden, layout)
        return self.norm(hidden + self.dropout(self.contract(F.gelu(self.expand(hidden)))))


class Trunk(nn.Module):
    """The stack of layers."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, embedded: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode.

        Args:
            embedded: float [rows, length, hidden].
            attention_mask: bool [rows, length], True at real positions; padding is never attended to.

        Returns:
            float [rows, length, hidden], zero at padding.
        """
        layout = Layout(attention_mask)
        hidden = layout.pack(embedded)
        for layer in self.layers:
            hidden = layer(hidden, layout)
        return layout.pad(hidden)


def initialize_weights(module: nn.Module) -> None:
    """BERT's random initialisation; hand to ``nn.Module.apply``."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIALIZER_RANGE)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def checkpoint_file(name: str, filename: str) -> str | None:
    """Path of one file of a pretrained checkpoint (fetched from the hub if need be), None where it has no such file."""
    resolved = resolve_pretrained(name)
    if Path(resolved).is_dir():
        path = Path(resolved) / filename
        return str(path) if path.is_file() else None
    from transformers.utils import cached_file

    try:
        return cached_file(resolved, filename, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise InputError(
            f"pretrained={name}",
            f"not a folder here, and the hub could not give {filename} ({error})",
            "Name a local folder with the checkpoint, or a package:…, or connect to the hub",
        ) from error


def read_checkpoint(name: str) -> dict[str, Tensor]:
    """The tensors of a BERT checkpoint, from safetensors or from an old ``.bin`` (weights only, no code is run).

    A leading ``bert.`` is removed, old LayerNorm names (gamma, beta) are brought up to date.

    Raises:
        InputError: the checkpoint has no weights file.
    """
    if path := checkpoint_file(name, "model.safetensors"):
        from safetensors.torch import load_file

        tensors: Mapping[str, Tensor] = load_file(path)
    elif path := checkpoint_file(name, "pytorch_model.bin"):
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    else:
        raise InputError(
            f"pretrained={name}", "there is neither model.safetensors nor pytorch_model.bin", "Name a BERT checkpoint"
        )
    return {
        key.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): value
        for key, value in tensors.items()
    }


def trunk_state(tensors: Mapping[str, Tensor], num_hidden_layers: int) -> dict[str, Tensor]:
    """Rename BERT's encoder tensors to this trunk's.

    Args:
        tensors: as from :func:`read_checkpoint`.
        num_hidden_layers: how many layers to take, from the bottom.

    Returns:
        A state dict for :class:`Trunk`.

    Raises:
        InputError: the checkpoint has fewer layers than asked for.
    """
    names = {
        "attention.output.weight": "attention.output.dense.weight",
        "attention.output.bias": "attention.output.dense.bias",
        "attention.norm.weight": "attention.output.LayerNorm.weight",
        "attention.norm.bias": "attention.output.LayerNorm.bias",
        "expand.weight": "intermediate.dense.weight",
        "expand.bias": "intermediate.dense.bias",
        "contract.weight": "output.dense.weight",
        "contract.bias": "output.dense.bias",
        "norm.weight": "output.LayerNorm.weight",
        "norm.bias": "output.LayerNorm.bias",
    }
    state = {}
    for number in range(num_hidden_layers):
        prefix = f"encoder.layer.{number}."
        if prefix + names["norm.weight"] not in tensors:
            raise InputError(
                "model_config.muvla.trunk.num_hidden_layers",
                f"{num_hidden_layers} layers are asked for, the checkpoint has {number}",
                "Ask for fewer layers, or set trunk.random_init=true to start from random weights",
            )
        for kind in ("weight", "bias"):
            parts = [tensors[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"layers.{number}.attention.qkv.{kind}"] = torch.cat(parts)
        for ours, theirs in names.items():
            state[f"layers.{number}.{ours}"] = tensors[prefix + theirs]
    return state
