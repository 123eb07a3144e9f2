"""How words, object tags and image regions enter the trunk (paper section 3).

A word is word + position + segment embedding, as in BERT; an object tag has the **box** of its region in place of the
position; a region is projected feature + location + segment (the modality). All pass BERT's own LayerNorm, once.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.cpu import Dropout
from mmf_muvla.models.trunk import INITIALIZER_RANGE, TrunkConfig, initialize_weights

TEXT_SEGMENT, REGION_SEGMENT = 0, 1  # BERT's first and second sentence


def region_location(bbox: Tensor, image_size: Tensor) -> Tensor:
    """The location vector ``[x1/W, y1/H, x2/W, y2/H, (y2-y1)(x2-x1)/(W·H)]`` of each box, float [B, R, 5].

    ``bbox`` is float [B, R, 4], as x1, y1, x2, y2; ``image_size`` float [B, 2], width and height.
    """
    scaled = bbox / image_size.repeat(1, 2).unsqueeze(1)
    x1, y1, x2, y2 = scaled.unbind(-1)
    return torch.cat([scaled, ((y2 - y1) * (x2 - x1)).unsqueeze(-1)], dim=-1)


class MultimodalEmbeddings(nn.Module):
    """Embeds text and regions, whose features are of size ``feature_dim``."""

    def __init__(self, config: TrunkConfig, feature_dim: int):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.hidden_size)
        # Detectors differ in the scale of their features; bringing them to unit variance first lets one
        # initialisation (and one learning rate) fit all of them.
        self.feature_norm = nn.LayerNorm(feature_dim)
        self.feature = nn.Linear(feature_dim, config.hidden_size)
        self.location = nn.Linear(5, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.apply(initialize_weights)
        nn.init.normal_(self.feature.weight, std=INITIALIZER_RANGE / feature_dim**0.5)  # as large as a word

    @torch.no_grad()
    def start_regions_at_the_size_of_words(self) -> None:
        """Scale the initial weights of features and locations to the word embeddings of a checkpoint.

        Trained word embeddings are larger than random ones: in BERT-base twice. Beside them the location that a tag
        shares with its region would be too small for attention to notice.
        """
        factor = self.word.weight.std() / INITIALIZER_RANGE
        self.feature.weight.mul_(factor)
        self.location.weight.mul_(factor)

    def embed_text(self, input_ids: Tensor, tag_location: Tensor | None = None, is_tag: Tensor | None = None) -> Tensor:
        """Embed words and tags, int [rows, T] -> float [rows, T, hidden].

        ``tag_location``, float [rows, T, 5], takes the place of the position where ``is_tag``, bool [rows, T].

        Raises:
            InputError: the rows are longer than the trunk has positions.
        """
        length, positions = input_ids.shape[1], self.position.num_embeddings
        if length > positions:
            problem = f"{positions} positions are too few for a text of {length} tokens, tags and [SEP] included"
            remedy = "Lower the data set's max_text_tokens and max_tag_tokens, or give a BERT with more positions"
            raise InputError("model_config.muvla.trunk.pretrained", problem, remedy)
        place = self.position.weight[:length].expand(input_ids.shape[0], -1, -1)
        if tag_location is not None and is_tag is not None:
            place = torch.where(is_tag.unsqueeze(-1), self.location(tag_location), place)
        return self._finish(self.word(input_ids) + place, TEXT_SEGMENT)

    def project_features(self, image_feature: Tensor) -> Tensor:
        """Project region features, float [..., feature_dim] -> float [..., hidden]."""
        return self.feature(self.feature_norm(image_feature))

    def embed_regions(self, projected: Tensor, location: Tensor, hidden_regions: Tensor | None = None) -> Tensor:
        """Embed regions, float [rows, R, hidden] from :meth:`project_features` -> the same, at locations [rows, R, 5].

        Where ``hidden_regions``, bool [rows, R], the region enters as the zero feature would (its location stays).
        """
        if hidden_regions is not None:
            zero = projected.new_zeros(self.feature.in_features)
            projected = torch.where(hidden_regions.unsqueeze(-1), self.project_features(zero), projected)
        return self._finish(projected + self.location(location), REGION_SEGMENT)

    def _finish(self, embedded: Tensor, segment: int) -> Tensor:
        return self.dropout(self.norm(embedded + self.segment.weight[segment]))


def check_feature_dim(path: str | Path, found: int, wanted: int | None) -> None:
    """Compare the size of a source's features with that of the model; None where that is not known.

    Raises:
        InputError: they differ.
    """
    if wanted is not None and found != wanted:
        problem = f"has features of {found} numbers, whereas model_config.muvla.trunk.feature_dim={wanted}"
        remedy = f"Set model_config.muvla.trunk.feature_dim={found}, or give the features that the model was made for"
        raise InputError(str(path), problem, remedy)
