"""Embeddings and trunk together: from a batch's token ids and region features to hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import MultimodalEmbeddings, region_location
from mmf_muvla.models.layout import Layout
from mmf_muvla.models.trunk import Trunk, TrunkConfig, initialize_weights
from mmf_muvla.models.two_stream import TwoStreamShape, TwoStreamTrunk

# What it is given of a batch; and what only pre-training has beside.
FIELDS = ("input_ids", "attention_mask", "image_feature_0", "bbox", "image_size", "region_mask")
ROW_FIELDS = ("token_region", "hidden_regions", "sees_regions")
# Sizes that a checkpoint decides.
_SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size", "max_position_embeddings")
_FROM_SCRATCH = "set trunk.random_init=true to start from random weights"


class Encoder(nn.Module):
    """The encoder over ``[CLS] text [SEP] regions``, in one stream or, with ``two_streams``, in a stream each."""

    def __init__(
        self,
        config: TrunkConfig,
        feature_dim: int,
        activation_checkpointing: bool = False,
        two_streams: TwoStreamShape | None = None,
    ):
        super().__init__()
        self.config = config
        self.embeddings = MultimodalEmbeddings(config, feature_dim)
        self.trunk: Trunk | TwoStreamTrunk = (
            TwoStreamTrunk(config, two_streams) if two_streams else Trunk(config, activation_checkpointing)
        )
        self.trunk.apply(initialize_weights)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Encoder:
        """Build from ``model_config.muvla.trunk`` (see ``configs/models/muvla/defaults.yaml``), with random weights.

        Raises:
            InputError: the checkpoint is not a BERT or has other sizes, or options do not go together.
        """
        pretrained = options["pretrained"]
        stored, config = trunk_shapes(options)
        layers = config.num_hidden_layers
        if not options["random_init"]:
            for size in _SIZES:
                if getattr(config, size) != getattr(stored, size):
                    raise InputError(
                        f"model_config.muvla.trunk.{size}={getattr(config, size)}",
                        f"the checkpoint {pretrained} has {getattr(stored, size)}",
                        f"Leave it null, or {_FROM_SCRATCH}",
                    )
            if layers > stored.num_hidden_layers:
                problem = f"{layers} layers are asked for, the checkpoint has {stored.num_hidden_layers}"
                remedy = f"Ask for fewer layers, or {_FROM_SCRATCH}"
                raise InputError("model_config.muvla.trunk.num_hidden_layers", problem, remedy)
        two_streams = TwoStreamShape.from_options(options, layers)
        encoder = cls(config, options["feature_dim"], bool(options.get("activation_checkpointing")), two_streams)
        if options.get("compile") and isinstance(encoder.trunk, Trunk):
            encoder.trunk.compile_layers()
        return encoder

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_feature_0: Tensor,
        bbox: Tensor,
        image_size: Tensor,
        region_mask: Tensor,
        *,
        token_region: Tensor | None = None,
        hidden_regions: Tensor | None = None,
        sees_regions: Tensor | None = None,
        wanted: tuple[Tensor, Tensor] | None = None,
        layouts: tuple[Layout, ...] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode ``V`` rows of text for each of ``B`` images, whose features are projected once for all of them.

        Args:
            input_ids: int [B, V, T].
            attention_mask: bool [B, V, T], True at real tokens.
            image_feature_0: float [B, R, d], the original features.
            bbox, image_size: float [B, R, 4] and [B, 2], in pixels.
            region_mask: bool [B, R], True at real regions.
            token_region: int [B, V, T], the region whose box replaces a token's position, -1 for none.
            hidden_regions: bool [B, V, R], regions whose feature is masked.
            sees_regions: bool [B, V], whether the regions belong to the row's input or are padding; None: always.
            wanted: bool [B, V, T] and [B, V, R], the tokens and regions whose states are needed; None: all.
            layouts: what the trunk's planner makes of the same masks, where it has done so already.

        Returns:
            Hidden states of the text, float [B, V, T, hidden], and of the regions, float [B, V, R, hidden]; zero at
            padding and where not wanted.
        """
        batch, views, length = input_ids.shape
        location = region_location(bbox.float(), image_size.float()).to(self.embeddings.location.weight.dtype)
        projected = self.embeddings.project_features(image_feature_0.to(self.embeddings.feature.weight.dtype))

        def per_row(values: Tensor) -> Tensor:
            """[B, ...] -> [B·V, ...]: the same image for each of its rows."""
            return values.unsqueeze(1).expand(-1, views, *values.shape[1:]).flatten(0, 1)

        tag_location = is_tag = None
        if token_region is not None:
            is_tag = (token_region >= 0).flatten(0, 1)
            index = token_region.clamp(min=0).flatten(1).unsqueeze(-1).expand(-1, -1, location.shape[-1])
            tag_location = location.gather(1, index).view(batch * views, length, -1)
        text = self.embeddings.embed_text(input_ids.flatten(0, 1), tag_location, is_tag)
        hidden_rows = None if hidden_regions is None else hidden_regions.flatten(0, 1)
        image = self.embeddings.embed_regions(per_row(projected), per_row(location), hidden_rows)
        if layouts is None:
            layouts = self.trunk.planner.lay_out_rows(attention_mask, region_mask, wanted, sees_regions)
        hidden = self.trunk(torch.cat([text, image], dim=1), layouts)
        hidden = hidden.unflatten(0, (batch, views))
        return hidden[:, :, :length], hidden[:, :, length:]


def trunk_shapes(options: Mapping[str, Any]) -> tuple[TrunkConfig, TrunkConfig]:
    """The shape of the checkpoint that ``model_config.muvla.trunk`` names, and of the encoder that is built of it."""
    stored = TrunkConfig.from_checkpoint(options["pretrained"])
    given = {it.name: options[it.name] for it in fields(TrunkConfig) if options.get(it.name) is not None}
    return stored, replace(stored, **given)
