"""What a pre-training step has to know of a batch that depends on its content."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmf_muvla.models.heads import positions_pooled
from mmf_muvla.models.layout import Plan, Planner
from mmf_muvla.models.moving import Moves
from mmf_muvla.objectives import LOSSES
from mmf_muvla.objectives.registry import view_of_row

MATCHING_ROWS = ("matched", "mismatched")


@dataclass
class Places(Moves):
    """Where one head's targets are: the number of the sample, of the row and of the position, int [M] each."""

    sample: Tensor
    row: Tensor
    position: Tensor
    state: Tensor  # int [M], the place among the flattened states of text or of regions
    group: Tensor  # int [M], see Predictions


@dataclass
class Pairs(Moves):
    """What a head on pairs looks at: the numbers of the rows, int [rows], and of each sample's rows what is right."""

    rows: Tensor
    target: Tensor  # float [B x rows]
    group: Tensor  # int [B x rows], see Predictions


@dataclass
class PretrainingPlan(Plan):
    places: dict[str, Places] = field(default_factory=dict)  # by head
    pairs: dict[str, Pairs] = field(default_factory=dict)  # by head
    # The row in which the matching head sees the retrieved pair, for w_ITM, int [1]; None where it does not.
    weight_row: Tensor | None = None


@dataclass(frozen=True)
class PretrainingPlanner(Planner):
    """For batches of :func:`mmf_muvla.datasets.collate.collate_pretraining`.

    Attributes:
        pooling: what the matching head looks at, see :class:`~mmf_muvla.models.heads.Pooler`.
        heads: the heads of the model, by name.
        learned: those that a loss looks at; None: all.
    """

    pooling: str
    heads: tuple[str, ...]
    learned: Collection[str] | None

    def __call__(self, batch: Mapping[str, Any]) -> PretrainingPlan:
        chosen = self._chosen(batch)
        masks = batch["attention_mask"], batch["region_mask"]
        plan = PretrainingPlan(self.lay_out_rows(*masks, self._wanted(batch, chosen), batch["sees_regions"]))
        names, samples, device = list(batch["rows"]), len(batch["region_mask"]), batch["region_mask"].device
        view = torch.tensor([view_of_row(row) for row in names], device=device)
        pairs: dict[str, Any] = {}
        for name, where in chosen.items():
            if LOSSES[name].at == "pairs":
                pairs[name] = where
            else:
                sample, row, position = where.nonzero(as_tuple=True)
                state = (sample * where.shape[1] + row) * where.shape[2] + position
                plan.places[name] = Places(sample, row, position, state, view[row] * samples + sample)
        if "matched" in names:  # for metrics, even where it is not learned
            pairs["itm"] = MATCHING_ROWS
        for name, rows in pairs.items():
            numbers = torch.tensor([names.index(row) for row in rows], device=device)
            target = LOSSES[name].pair_targets(batch).repeat(samples)
            group = samples * view[numbers[0]] + torch.arange(samples, device=device)
            plan.pairs[name] = Pairs(numbers, target, group.repeat_interleave(len(rows)))
        if "itm" not in chosen and batch["weight_row"] and self._learns("itm"):
            plan.weight_row = torch.tensor([names.index(batch["weight_row"])], device=device)
        return plan

    def _learns(self, name: str) -> bool:
        return self.learned is None or name in self.learned

    def _chosen(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What each head looks at, by name; heads without a loss or without targets are left out."""
        heads = [name for name in self.heads if name in batch["predicts"] and self._learns(name)]
        return {name: LOSSES[name].chosen(batch) for name in heads}

    def _wanted(self, batch: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The positions that a head looks at: bool [B, V, T] and [B, V, R]."""
        text, regions = torch.zeros_like(batch["attention_mask"]), torch.zeros_like(batch["hidden_regions"])
        pooled = {*MATCHING_ROWS, batch["weight_row"]}
        for name, where in chosen.items():
            if LOSSES[name].at == "pairs":
                pooled.update(where)
            elif LOSSES[name].at == "text":
                text |= where
            else:
                regions |= where
        for number, row in enumerate(batch["rows"]):
            if row in pooled:
                at = positions_pooled(self.pooling, batch["attention_mask"][:, number], batch["region_mask"])
                text[:, number] |= at[0]
                regions[:, number] |= at[1]
        return text, regions
