"""Embeddings and trunk together: from a batch's token ids and region features to hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import LoadReport, embedding_state, read_checkpoint, trunk_state
from mmf_muvla.models.embeddings import MultimodalEmbeddings, region_location
from mmf_muvla.models.trunk import Trunk, TrunkConfig, initialize_weights
from mmf_muvla.models.two_stream import TwoStreamShape, TwoStreamTrunk

# What it is given of a batch; and what only pre-training has beside.
FIELDS = ("input_ids", "attention_mask", "image_feature_0", "bbox", "image_size", "region_mask")
ROW_FIELDS = ("token_region", "hidden_regions", "sees_regions")
_NOT_OF_THE_SHAPE = (
    *("pretrained", "random_init", "feature_dim", "activation_checkpointing", "compile"),
    *("streams", "region_layers", "co_layers"),
)


class Encoder(nn.Module):
    """The encoder over ``[CLS] text [SEP] regions``.

    Args:
        config: the trunk's shape.
        feature_dim: size of a region feature.
        activation_checkpointing: see :class:`Trunk`.
        two_streams: what the trunk has beside the text's layers, where text and regions have a stream each; None: one
            stream of both.
    """

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
        self.load_report: LoadReport | None = None
        self.trunk.apply(initialize_weights)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Encoder:
        """Build from ``model_config.muvla.trunk`` (see ``configs/models/muvla/defaults.yaml``)."""
        pretrained, random_init = options["pretrained"], options["random_init"]
        shape = {name: value for name, value in options.items() if name not in _NOT_OF_THE_SHAPE}
        config = TrunkConfig.from_checkpoint(pretrained, **shape)
        two_streams = TwoStreamShape.from_options(options, config.num_hidden_layers)
        stored = TrunkConfig.from_checkpoint(pretrained)
        for size in ("hidden_size", "intermediate_size", "num_attention_heads"):
            if not random_init and getattr(config, size) != getattr(stored, size):
                raise InputError(
                    f"model_config.muvla.trunk.{size}={getattr(config, size)}",
                    f"the checkpoint {pretrained} has {getattr(stored, size)}",
                    "Leave it null, or set trunk.random_init=true to start from random weights",
                )
        encoder = cls(config, options["feature_dim"], bool(options.get("activation_checkpointing", False)), two_streams)
        if not random_init:
            encoder.load_bert(pretrained)
        if options.get("compile") and isinstance(encoder.trunk, Trunk):
            encoder.trunk.compile_layers()
        return encoder

    def load_bert(self, pretrained: str) -> LoadReport:
        """Take BERT's word, position and segment embeddings and its layers; what is for regions keeps its values.

        Returns:
            What was taken and what was not, also kept as ``load_report``.
        """
        tensors = read_checkpoint(pretrained)
        layers = self.config.num_hidden_layers
        embeddings, trunk = embedding_state(tensors), trunk_state(tensors, layers)
        self.embeddings.load_state_dict(embeddings, strict=False)
        self.trunk.load_state_dict(trunk, strict=False)  # a region stream is not in it; the report tells what is not
        loaded = {f"embeddings.{name}" for name in embeddings} | {f"trunk.{name}" for name in trunk}
        taken = tuple(f"encoder.layer.{number}." for number in range(layers))
        used = {id(tensor) for tensor in embeddings.values()}
        self.load_report = LoadReport(
            loaded=tuple(sorted(loaded)),
            missing=tuple(name for name in self.state_dict() if name not in loaded),
            mismatched=(),
            unused=tuple(name for name in tensors if id(tensors[name]) not in used and not name.startswith(taken)),
        )
        return self.load_report

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
    ) -> tuple[Tensor, Tensor]:
        """Encode ``V`` rows of text for each of ``B`` images.

        Args:
            input_ids: int [B, V, T].
            attention_mask: bool [B, V, T], True at real tokens.
            image_feature_0: float [B, R, d], the original features; projected once for all V rows.
            bbox: float [B, R, 4], pixels.
            image_size: float [B, 2], width and height in pixels.
            region_mask: bool [B, R], True at real regions.
            token_region: int [B, V, T], the region whose box replaces a token's position, -1 for none.
            hidden_regions: bool [B, V, R], regions whose feature is masked.
            sees_regions: bool [B, V], whether the regions belong to the row's input; None: always. Where they do not,
                they are padding.
            wanted: bool [B, V, T] and [B, V, R], the tokens and regions whose states are needed; None: all.

        Returns:
            Hidden states of the text, float [B, V, T, hidden], and of the regions, float [B, V, R, hidden]; zero at
            padding and where not wanted.
        """
        batch, views, length = input_ids.shape
        regions = image_feature_0.shape[1]
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
        image = self.embeddings.embed_regions(
            per_row(projected),
            per_row(location),
            None if hidden_regions is None else hidden_regions.flatten(0, 1),
        )
        visible = per_row(region_mask)
        if sees_regions is not None:
            visible = visible & sees_regions.flatten().unsqueeze(1)
        mask = torch.cat([attention_mask.flatten(0, 1), visible], dim=1)
        wanted_rows = None if wanted is None else torch.cat(wanted, dim=2).flatten(0, 1) & mask
        hidden = self.trunk(torch.cat([text, image], dim=1), mask, wanted_rows, text_length=length)
        hidden = hidden.view(batch, views, length + regions, -1)
        return hidden[:, :, :length], hidden[:, :, length:]
