"""The heads of the tasks: a class for one image (VQA, SNLI-VE) or two (NLVR2), or one of the regions (RefCOCO+)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import FIELDS, Encoder
from mmf_muvla.models.heads import ClassifierHead, Pooler, positions_pooled
from mmf_muvla.models.layout import Plan, Planner

TEXT_FIELDS, IMAGE_FIELDS = FIELDS[:2], FIELDS[2:]


def pooled_states(encoder: Encoder, pooler: Pooler, batch: Mapping[str, Any]) -> Tensor:
    """One vector for each text with its image, float [N, hidden]; the batch is that of :class:`TaskHeads`."""
    masks = batch["attention_mask"], batch["region_mask"]
    wanted = tuple(it.unsqueeze(1) for it in positions_pooled(pooler.pooling, *masks))
    text, regions = (it.squeeze(1) for it in encoder(**TaskHeads.inputs(batch), wanted=wanted))
    return pooler(text, masks[0], regions, masks[1])


@dataclass(frozen=True)
class TaskPlanner(Planner):
    """For batches of :class:`TaskHeads`, here of a class of them."""

    heads: type[TaskHeads]
    pooling: str

    def __call__(self, batch: Mapping[str, Any]) -> Plan:
        inputs = self.heads.inputs({name: batch[name] for name in ("attention_mask", "region_mask")})
        masks = inputs["attention_mask"], inputs["region_mask"]
        return Plan(self.lay_out_rows(*masks, self.heads.wanted(self.pooling, *masks)))


class TaskHeads(nn.Module):
    """What the heads of all tasks share: they look at some states of one text with one image.

    Their batch has ``input_ids`` int [N, T], ``attention_mask`` bool [N, T], ``image_feature_0`` [N, R, d], ``bbox``
    [N, R, 4], ``image_size`` [N, 2], ``region_mask`` bool [N, R].
    """

    pooling = "cls"

    @classmethod
    def inputs(cls, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """A batch's fields for the encoder, as far as it has them: one row of text for each image."""
        present = (name for name in FIELDS if name in batch)
        return {name: batch[name].unsqueeze(1) if name in TEXT_FIELDS else batch[name] for name in present}

    @classmethod
    def wanted(cls, pooling: str, attention_mask: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The positions that are looked at: bool [N, 1, T] and [N, 1, R]; masks [N, 1, T] and [N, R]."""
        raise NotImplementedError

    def planner(self, encoder: Encoder) -> TaskPlanner:
        """Makes the plans of batches, which :meth:`encode` makes where a batch has none."""
        it = encoder.trunk.planner
        return TaskPlanner(it.layout, it.streams, type(self), self.pooling)

    def encode(self, encoder: Encoder, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """States of text [N, T, hidden] and regions [N, R, hidden], where wanted; and the encoder's inputs."""
        inputs = self.inputs(batch)
        plan: Plan = batch["plan"] if "plan" in batch else self.planner(encoder)(batch)
        text, regions = encoder(**inputs, layouts=plan.layouts)
        return text.squeeze(1), regions.squeeze(1), inputs


class ClassificationHeads(TaskHeads):
    """A classifier of answers on the [CLS] state, or on what ``pooling`` puts in its place (see :class:`Pooler`)."""

    num_images = 1

    def __init__(self, encoder: Encoder, num_labels: int, dropout: float, pooling: str = "cls"):
        super().__init__()
        self.pooling = pooling
        self.pooler = Pooler(encoder.config, pooling)
        hidden = encoder.config.hidden_size
        self.classifier = ClassifierHead(self.num_images * hidden, hidden, num_labels, dropout)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Score the answers of a batch (see :class:`TaskHeads`): ``scores``, float [B, num_labels]."""
        return {"scores": self.classifier(self.pool(encoder, batch)).float()}

    def pool(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        """What is classified, float [B, num_images x hidden]."""
        text, regions, inputs = self.encode(encoder, batch)
        pooled = self.pooler(text, inputs["attention_mask"].squeeze(1), regions, inputs["region_mask"])
        return pooled.reshape(-1, self.num_images * encoder.config.hidden_size)

    @classmethod
    def wanted(cls, pooling: str, attention_mask: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
        return positions_pooled(pooling, attention_mask, region_mask.unsqueeze(1))


class ImagePairHeads(ClassificationHeads):
    """The same on the vectors of (text, left image) and (text, right image), one after the other.

    The image fields of the batch are of both images, ``image_feature_0`` [B, 2, R, d], ``bbox`` [B, 2, R, 4],
    ``image_size`` [B, 2, 2] and ``region_mask`` [B, 2, R]. All pass the encoder together.
    """

    num_images = 2

    @classmethod
    def inputs(cls, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        # [B, T] -> [2 B, T] and [B, 2, …] -> [2 B, …]
        return super().inputs(
            {
                name: batch[name].repeat_interleave(2, dim=0) if name in TEXT_FIELDS else batch[name].flatten(0, 1)
                for name in FIELDS
                if name in batch
            }
        )


class GroundingHeads(TaskHeads):
    """A score for each region's state, by a two-layer network that is the same for all of them."""

    def __init__(self, encoder: Encoder, dropout: float):
        super().__init__()
        hidden = encoder.config.hidden_size
        self.scorer = ClassifierHead(hidden, hidden, num_labels=1, dropout=dropout)

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Score the regions of a batch (see :class:`TaskHeads`), and choose the best.

        The batch has ``targets`` [B, R], the right regions, and ``labelled`` [B].

        Returns:
            ``scores`` float [B, R], minus infinity at padding; ``chosen_region`` int [B]; ``chosen_is_right`` bool [B];
            ``statistics``: ``reachable``, how many labelled samples have a right region, and how many there are.
        """
        scores = self.score(encoder, batch)
        chosen = scores.argmax(dim=1)
        right, labelled = batch["targets"], batch["labelled"]
        return {
            "scores": scores,
            "chosen_region": chosen,
            "chosen_is_right": right.gather(1, chosen.unsqueeze(1)).squeeze(1),
            "statistics": {"reachable": ((right.any(dim=1) & labelled).sum(), labelled.sum())},
        }

    def score(self, encoder: Encoder, batch: Mapping[str, Any]) -> Tensor:
        """The scores of the regions, float [B, R], minus infinity at padding; no targets are asked for."""
        _, states, _ = self.encode(encoder, batch)
        return self.scorer(states).squeeze(-1).float().masked_fill(~batch["region_mask"], -torch.inf)

    @classmethod
    def wanted(cls, pooling: str, attention_mask: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(attention_mask), region_mask.unsqueeze(1)
