"""The single-stream transformer: BERT's layers, post-LN, over embedded words and regions alike.

On text alone it gives what ``transformers.BertModel`` gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import checkpoint_file
from mmf_muvla.models.cpu import Dropout, Linear, RaggedLayout, feed_forward
from mmf_muvla.models.layout import Layout, Planner, VarlenLayout

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
            problem = (
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}"
            )
            remedy = "Choose a number of heads that divides the hidden size"
            raise InputError("model_config.muvla.trunk", problem, remedy)

    @classmethod
    def from_checkpoint(cls, name: str) -> TrunkConfig:
        """Read the shape from the ``config.json`` of a checkpoint (see :mod:`mmf_muvla.pretrained` for its name).

        Raises:
            InputError: the checkpoint is not a BERT.
        """
        path = checkpoint_file(name, "config.json")
        if path is None:
            raise InputError(f"pretrained={name}", "there is no config.json", "Name a folder that BERT was saved to")
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        if stored.get("model_type", "bert") != "bert":
            raise InputError(str(path), f"model_type is '{stored['model_type']}', not 'bert'", "Name a BERT checkpoint")
        if stored.get("hidden_act", "gelu") != "gelu":
            raise InputError(str(path), f"hidden_act is '{stored['hidden_act']}'", "The trunk knows BERT's 'gelu' only")
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})


class Attention(nn.Module):
    """What BERT's attentions share: projections (name -> outputs, in hidden sizes), residual, post-LayerNorm."""

    def __init__(self, config: TrunkConfig, **projections: int):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        for name, count in projections.items():
            self.add_module(name, Linear(config.hidden_size, count * config.hidden_size))
        self.output = Linear(config.hidden_size, config.hidden_size)
        self.output_dropout = Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def add_context(self, hidden: Tensor, context: Tensor, chosen: Tensor | None) -> Tensor:
        """[real positions, width], twice -> the same; or, with ``chosen``, the states at these positions alone."""
        if chosen is not None:
            context, hidden = context.index_select(0, chosen), hidden.index_select(0, chosen)
        return self.norm(hidden + self.output_dropout(self.output(context)))


class SelfAttention(Attention):
    qkv: nn.Linear

    def __init__(self, config: TrunkConfig):
        super().__init__(config, qkv=3)

    def forward(self, hidden: Tensor, layout: Layout, chosen: Tensor | None = None) -> Tensor:
        context = layout.attend(self.qkv(hidden), self.num_heads, self.dropout if self.training else 0.0)
        return self.add_context(hidden, context, chosen)


class Layer(nn.Module):
    """One BERT layer: attention, then the two-layer GELU network, each with residual and post-LayerNorm."""

    def __init__(self, config: TrunkConfig, attention: Callable[[TrunkConfig], nn.Module] = SelfAttention):
        super().__init__()
        self.attention = attention(config)
        self.expand = Linear(config.hidden_size, config.intermediate_size)
        self.contract = Linear(config.intermediate_size, config.hidden_size)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, *where: Any) -> Tensor:
        return self.transform(self.attention(hidden, *where))

    def transform(self, hidden: Tensor) -> Tensor:
        """What comes behind the attention, position by position: float [..., width] -> the same."""
        return self.norm(hidden + self.dropout(feed_forward(hidden, self.expand, self.contract)))


class Trunk(nn.Module):
    """The stack of layers.

    With ``activation_checkpointing`` the input of each layer alone is kept, and the rest computed again for the
    gradients: a third more work, a tenth of the memory.
    """

    def __init__(self, config: TrunkConfig, activation_checkpointing: bool = False):
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.compiled = False
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def compile_layers(self) -> None:
        """Compile all layers as one, for batches of any size: a call of each by itself costs the host too much."""
        self.compiled = True
        self._through_layers = torch.compile(self._through_layers, dynamic=True)  # type: ignore[method-assign]

    @property
    def planner(self) -> Planner:
        """Makes the layouts for the device that the weights are on."""
        return Planner(layout_for(self.layers, self.compiled), streams=1)

    def forward(self, embedded: Tensor, layouts: tuple[Layout, ...]) -> Tensor:
        """Encode, float [rows, length, hidden] -> the same, zero at padding and where not wanted.

        What lies behind the attention of the last layer is computed for wanted positions alone.

        Args:
            embedded: text and behind it regions.
            layouts: where the real and the wanted positions are, see :attr:`planner`.
        """
        (layout,) = layouts
        return layout.pad_wanted(self._through_layers(layout.pack(embedded), layout))

    def _through_layers(self, hidden: Tensor, layout: Layout) -> Tensor:
        """[real positions, width] -> [wanted positions, width]."""
        for layer in self.layers[:-1]:
            hidden = self._run(layer, hidden, layout, None)
        return self._run(self.layers[-1], hidden, layout, layout.wanted)

    def _run(self, layer: nn.Module, hidden: Tensor, layout: Layout, chosen: Tensor | None) -> Tensor:
        if self.activation_checkpointing and self.training:
            return checkpoint(layer, hidden, layout, chosen, use_reentrant=False)
        return layer(hidden, layout, chosen)


def layout_for(layers: nn.Module, compiled: bool = False) -> type[Layout]:
    """The layout for layers where they are: nothing is padded on CPUs and on GPUs of CUDA."""
    device = next(layers.parameters()).device.type
    if device == "cuda":
        return VarlenLayout
    return RaggedLayout if device == "cpu" and not compiled else Layout


def initialize_weights(module: nn.Module) -> None:
    """BERT's random initialisation; hand to ``nn.Module.apply``."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIALIZER_RANGE)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
