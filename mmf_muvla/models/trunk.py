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
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmf_muvla.errors import InputError
from mmf_muvla.models.cpu.dropout import Dropout
from mmf_muvla.models.cpu.linear import ROWS_TOGETHER, Linear, feed_forward
from mmf_muvla.models.cpu.ragged_attention import ragged_attention
from mmf_muvla.models.weight_files import read_safetensors, read_torch_file
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

    @property
    def head_size(self) -> int:
        """Numbers of an attention head."""
        return self.hidden_size // self.num_attention_heads

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
    only, row after row: texts and region counts differ so much within a batch that a third or more of its positions is
    padding. For the attention, one kernel for all rows is best on a GPU, so they are padded there; on a CPU each row is
    taken by itself, and nothing is padded but the end of the batch (see
    :data:`mmf_muvla.models.cpu.linear.ROWS_TOGETHER`).

    Args:
        mask: bool [rows, length], True at real positions.
        wanted: bool [rows, length], the positions whose final states somebody asks for; None: all of them.
        padded: True to pad for the attention.
    """

    def __init__(self, mask: Tensor, wanted: Tensor | None, padded: bool):
        self.mask = mask
        self.index = mask.flatten().nonzero().squeeze(1)
        self.wanted = None if wanted is None else wanted.flatten()[self.index].nonzero().squeeze(1)
        self.key_mask = mask[:, None, None, :]  # broadcast over heads and queries
        self.lengths: list[int] | None = None
        self.packed_index = self.index
        if not padded:
            # A last row of copies, which nobody looks at and so no gradient comes from.
            filling = -len(self.index) % ROWS_TOGETHER
            self.lengths = [*mask.sum(dim=1).tolist(), filling]
            self.packed_index = F.pad(self.index, (0, filling))

    def pack(self, padded: Tensor) -> Tensor:
        """[rows, length, width] -> [real positions, and a few more on CPUs, width]."""
        return padded.flatten(0, 1).index_select(0, self.packed_index)

    def pad(self, packed: Tensor) -> Tensor:
        """[real positions, and a few more on CPUs, width] -> [rows, length, width], zero at padding."""
        padded = packed.new_zeros(self.mask.numel(), packed.shape[1])
        return padded.index_copy(0, self.index, packed[: len(self.index)]).view(*self.mask.shape, packed.shape[1])

    def pad_wanted(self, states: Tensor) -> Tensor:
        """[wanted positions, width] -> [rows, length, width], zero elsewhere."""
        if self.wanted is None:
            return self.pad(states)
        padded = states.new_zeros(self.mask.numel(), states.shape[1])
        return padded.index_copy(0, self.index[self.wanted], states).view(*self.mask.shape, states.shape[1])


class SelfAttention(nn.Module):
    """Multi-head self-attention with BERT's residual connection and post-LayerNorm."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = Linear(config.hidden_size, config.hidden_size)
        self.output_dropout = Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, layout: Layout, chosen: Tensor | None = None) -> Tensor:
        """[real positions, width] -> the same; or, with ``chosen``, the states at these positions alone."""
        qkv = self.qkv(hidden)
        dropout = self.dropout if self.training else 0.0
        if layout.lengths is not None:
            # Under autocast, too, it works in float32: PyTorch's own attention in bf16 takes a third of a step on CPUs.
            with torch.autocast("cpu", enabled=False):
                qkv = qkv.to(torch.promote_types(qkv.dtype, torch.float32))
                context = ragged_attention(qkv, layout.lengths, self.num_heads, dropout)
        else:
            context = layout.pack(self._padded_attention(layout.pad(qkv), layout.key_mask, dropout))
        if chosen is not None:
            context, hidden = context.index_select(0, chosen), hidden.index_select(0, chosen)
        return self.norm(hidden + self.output_dropout(self.output(context)))

    def _padded_attention(self, qkv: Tensor, key_mask: Tensor, dropout: float) -> Tensor:
        """[rows, length, 3 x width] -> [rows, length, width]."""
        rows, length, _ = qkv.shape
        query, key, value = qkv.view(rows, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)
        return context.transpose(1, 2).flatten(2)  # from [rows, heads, length, width / heads]


class AttentionParts(NamedTuple):
    """The parameters of an attention, as views that can be written into.

    Attributes:
        query, key, value: weight [hidden, hidden] and bias [hidden] each.
        output: weight [hidden, hidden].
    """

    query: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor]
    value: tuple[Tensor, Tensor]
    output: Tensor


class Layer(nn.Module):
    """One BERT layer: self-attention, then the two-layer GELU network, each with residual and post-LayerNorm."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.attention = SelfAttention(config)
        self.expand = Linear(config.hidden_size, config.intermediate_size)
        self.contract = Linear(config.intermediate_size, config.hidden_size)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, layout: Layout, chosen: Tensor | None = None) -> Tensor:
        hidden = self.attention(hidden, layout, chosen)
        return self.norm(hidden + self.dropout(feed_forward(hidden, self.expand, self.contract)))


class Trunk(nn.Module):
    """The stack of layers.

    Args:
        config: the trunk's shape.
        activation_checkpointing: keep the input of each layer alone and compute the rest again for the gradients: a
            third more work, a tenth of the memory.
    """

    def __init__(self, config: TrunkConfig, activation_checkpointing: bool = False):
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.compiled = False
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def first_attentions(self) -> list[AttentionParts]:
        """Where words first look at regions, and regions at words."""
        layer: Any = self.layers[0]
        qkv = layer.attention.qkv
        query, key, value = zip(qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True)
        return [AttentionParts(query, key, value, layer.attention.output.weight)]

    def compile_layers(self) -> None:
        """Compile each layer with ``torch.compile``; names of parameters and results stay as they are."""
        self.compiled = True
        for layer in self.layers:
            layer.compile(dynamic=True)

    def forward(
        self, embedded: Tensor, attention_mask: Tensor, wanted: Tensor | None = None, *, text_length: int = 0
    ) -> Tensor:
        """Encode.

        Args:
            embedded: float [rows, length, hidden].
            attention_mask: bool [rows, length], True at real positions; padding is never attended to.
            wanted: bool [rows, length], real positions whose states are needed; None: all. What lies behind the
                attention of the last layer is computed for them alone.
            text_length: not looked at; two streams have to know which positions are text.

        Returns:
            float [rows, length, hidden], zero at padding and where not wanted.
        """
        ragged = embedded.device.type == "cpu" and not self.compiled
        layout = Layout(attention_mask, wanted, padded=not ragged)
        hidden = layout.pack(embedded)
        for layer in self.layers[:-1]:
            hidden = self._run(layer, hidden, layout, None)
        return layout.pad_wanted(self._run(self.layers[-1], hidden, layout, layout.wanted))

    def _run(self, layer: nn.Module, hidden: Tensor, layout: Layout, chosen: Tensor | None) -> Tensor:
        if self.activation_checkpointing and self.training:
            return checkpoint(layer, hidden, layout, chosen, use_reentrant=False)
        return layer(hidden, layout, chosen)


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
        InputError: the checkpoint has no weights file, or a damaged one.
    """
    if path := checkpoint_file(name, "model.safetensors"):
        tensors, _ = read_safetensors(Path(path))
    elif path := checkpoint_file(name, "pytorch_model.bin"):
        tensors = read_torch_file(Path(path))
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


# Second names, in some checkpoints, of the word embeddings and of the masked-token head's bias.
MASKED_TOKEN_HEAD_TIES = frozenset(("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"))


def masked_token_head_state(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """BERT's masked-token head, under the names of :class:`~mmf_muvla.models.heads.VocabularyHead`.

    Its output matrix is not among them: it is the word embedding's.

    Args:
        tensors: as from :func:`read_checkpoint`.

    Returns:
        Our name -> (BERT's name, tensor); empty where the checkpoint has no such head, or a part of one.
    """
    names = {
        "dense.weight": "cls.predictions.transform.dense.weight",
        "dense.bias": "cls.predictions.transform.dense.bias",
        "norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "decoder.bias": "cls.predictions.bias",
    }
    if any(name not in tensors for name in names.values()):
        return {}
    return {ours: (theirs, tensors[theirs]) for ours, theirs in names.items()}
