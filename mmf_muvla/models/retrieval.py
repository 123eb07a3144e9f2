"""Retrieval: the pre-training's matching head on true and drawn pairs of images and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmf_muvla.models.encoder import FIELDS, Encoder
from mmf_muvla.models.heads import NextSentenceHead, Pooler, linear_head, positions_pooled
from mmf_muvla.models.tasks import IMAGE_FIELDS, TEXT_FIELDS, TaskHeads


class RetrievalHeads(TaskHeads):
    """Pooler and matching head under the names that they have in pre-training, so that its checkpoints give both.

    The batch's fields are of S texts and S images a sample: ``input_ids`` int [B, S, T], ``image_feature_0`` float
    [B, S, R, d], and so on. The first of each are the sample's own, the others are drawn. P = 2 S - 1 pairs are scored:
    the true one, the own image with each drawn text, and each drawn image with the own text.
    """

    learned = ("itm",)

    def __init__(self, encoder: Encoder, pooling: str):
        super().__init__()
        config = encoder.config
        self.pooling = pooling
        self.pooler = Pooler(config, pooling)
        # As in pre-training: BERT's next-sentence head on BERT's pooler, else a linear layer.
        self.itm = NextSentenceHead(config) if pooling == "bert" else linear_head(config, 1)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Score the pairs of a batch: ``scores``, logits, float [B, P].

        In training there may be more texts and images than ``targets``, float [B, P], has pairs for. Then the model
        learns from the hardest of them: each drawn pair that counts is the one of highest score of equally many.
        """
        kept = (batch["targets"].shape[1] - 1) // 2
        if batch["input_ids"].shape[1] > 1 + kept:
            batch = self._hardest(encoder, batch, kept)
        return {"scores": self._logits(encoder, batch)}

    def _logits(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        text, regions, inputs = self.encode(encoder, batch)
        pooled = self.pooler(text, inputs["attention_mask"].squeeze(1), regions, inputs["region_mask"])
        return self.itm(pooled).view(len(batch["input_ids"]), -1).float()

    @torch.no_grad()
    def _hardest(self, encoder: Encoder, batch: Mapping[str, Any], kept: int) -> dict[str, Any]:
        """The batch with ``kept`` drawn texts and images, as the model finds them now, without dropout."""
        was_training = encoder.training
        encoder.eval()
        logits = self._logits(encoder, batch)
        encoder.train(was_training)
        samples, drawn = len(logits), (logits.shape[1] - 1) // 2
        # [B, 2, kept, drawn / kept]: texts, then images.
        groups = logits[:, 1:].view(samples, 2, kept, -1)
        first = torch.arange(1, 1 + drawn, drawn // kept, device=logits.device)
        chosen = first + groups.argmax(dim=3)
        own = chosen.new_zeros(samples, 1)
        rows = torch.arange(samples, device=logits.device).unsqueeze(1)
        texts, images = (torch.cat([own, chosen[:, kind]], dim=1) for kind in (0, 1))
        return {
            **{name: batch[name][rows, texts] for name in TEXT_FIELDS},
            **{name: batch[name][rows, images] for name in IMAGE_FIELDS},
        }

    @classmethod
    def inputs(cls, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        drawn, none = range(1, batch["attention_mask"].shape[1]), [0] * (batch["attention_mask"].shape[1] - 1)
        texts, images = [0, *drawn, *none], [0, *none, *drawn]
        pairs = {
            name: batch[name][:, texts if name in TEXT_FIELDS else images].flatten(0, 1)
            for name in FIELDS
            if name in batch
        }  # [B, S, …] -> [B x P, …]
        return super().inputs(pairs)

    @classmethod
    def wanted(cls, pooling: str, attention_mask: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
        return positions_pooled(pooling, attention_mask, region_mask.unsqueeze(1))
