"""Pre-training: one pass of the encoder over all rows of a batch, heads on masked positions only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import FIELDS, ROW_FIELDS, Encoder
from mmf_muvla.models.heads import NextSentenceHead, Pooler, VocabularyHead, linear_head, vocabulary_logits
from mmf_muvla.models.layout import Plan
from mmf_muvla.models.moving import Moves
from mmf_muvla.objectives import HEADS, LOSSES, HeadKit, Predictions, PretrainingOutput
from mmf_muvla.objectives.curriculum import pair_weights, view_weights
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
    places: dict[str, Places]  # by head
    pairs: dict[str, Pairs]  # by head
    weight_row: Tensor  # int [1], or [0]: the row in which the matching head sees the retrieved pair, for w_ITM


class PretrainingHeads(nn.Module):
    """The heads of the losses (paper section 3), also of those of other systems.

    Args:
        encoder: the encoder they stand on; the vocabulary heads share its word embeddings.
        feature_dim, num_object_classes: sizes of a region feature, for MRFR, and of the detector, for MRC.
        warmup_epochs: m of the curriculum; None: no curriculum.
        itm_pooling: what the matching head looks at, see :class:`Pooler`; on BERT's pooler it is BERT's own
            next-sentence head.
        share_vocabulary_head: whether p-MRTC predicts with MLM's head, instead of one of its own.
        learned: the heads that a loss looks at; None: all. The others predict nothing and weigh nothing.
    """

    def __init__(
        self,
        encoder: Encoder,
        feature_dim: int,
        num_object_classes: int,
        warmup_epochs: int | None,
        itm_pooling: str = "cls",
        *,
        share_vocabulary_head: bool = False,
        learned: Collection[str] | None = None,
    ):
        super().__init__()
        self.itm: nn.Module
        config = encoder.config
        self.learned = learned
        self.warmup_epochs = warmup_epochs
        self.share_vocabulary_head = share_vocabulary_head
        kit = HeadKit(
            vocabulary=partial(VocabularyHead, config, encoder.embeddings.word),
            linear=partial(linear_head, config),
            matching=partial(NextSentenceHead, config) if itm_pooling == "bert" else partial(linear_head, config, 1),
            hidden_size=config.hidden_size,
            feature_dim=feature_dim,
            num_object_classes=num_object_classes,
        )
        self.losses = {name: LOSSES[name] for name in (*HEADS, *sorted({*(learned or ())} - {*HEADS}))}
        for name, loss in self.losses.items():
            if name == "itm":
                self.pooler = Pooler(config, itm_pooling)
            if self._module_of(name) == name:
                self.add_module(name, loss.head(kit))

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Encode a batch of :func:`mmf_muvla.datasets.collate.collate_pretraining`, and predict every target.

        Returns:
            ``pretraining``: a :class:`PretrainingOutput`; and where the batch has the image-sentence rows
            ``scores`` and ``targets``, float [2 B]: matching logits and truths, for metrics.
        """
        plan: PretrainingPlan = batch["plan"] if "plan" in batch else self.plan(encoder, batch)
        text, regions = encoder(**{name: batch[name] for name in (*FIELDS, *ROW_FIELDS)}, layouts=plan.layouts)
        ones = torch.ones(len(text), device=text.device)
        output = PretrainingOutput(len(text), view_weights(ones), ones)
        result: dict[str, Any] = {"pretraining": output}
        self._predict(output, batch, {"text": text, "regions": regions}, plan)
        for name, pairs in plan.pairs.items():
            logits = self.get_submodule(name)(self._pooled(batch, text, regions, pairs.rows)).squeeze(-1)
            predictions = Predictions(logits.flatten(0, 1), pairs.target, pairs.group)
            if self._learns(name):
                output.predictions[name] = predictions
            if name == "itm":
                result["scores"], result["targets"] = predictions.prediction.detach(), predictions.target
        if "itm" in output.predictions:
            self._weigh(output, result["scores"].view(-1, 2)[:, 0], batch["epoch"])
        elif len(plan.weight_row):
            with torch.no_grad():
                pooled = self._pooled(batch, text, regions, plan.weight_row)
                self._weigh(output, self.itm(pooled.squeeze(1)).squeeze(-1), batch["epoch"])
        return result

    def plan(self, encoder: Encoder, batch: Mapping[str, Any]) -> PretrainingPlan:
        """Find positions in use, wanted states and targets of a batch; best while it is on the CPU."""
        chosen = self._chosen(batch)
        wanted = self._wanted(batch, chosen)
        names, samples = list(batch["rows"]), len(batch["region_mask"])
        view = torch.tensor([view_of_row(row) for row in names], device=wanted[0].device)
        plan = PretrainingPlan(encoder.lay_out(batch, wanted, batch["sees_regions"]), {}, {}, view.new_empty(0))
        pairs: dict[str, Any] = {}
        for name, where in chosen.items():
            if self.losses[name].at == "pairs":
                pairs[name] = where
            else:
                sample, row, position = where.nonzero(as_tuple=True)
                state = (sample * where.shape[1] + row) * where.shape[2] + position
                plan.places[name] = Places(sample, row, position, state, view[row] * samples + sample)
        if "matched" in names:  # for metrics, even where it is not learned
            pairs["itm"] = MATCHING_ROWS
        for name, rows in pairs.items():
            numbers = torch.tensor([names.index(row) for row in rows], device=view.device)
            target = self.losses[name].pair_targets(batch).repeat(samples)
            group = samples * view[numbers[0]] + torch.arange(samples, device=view.device)
            plan.pairs[name] = Pairs(numbers, target, group.repeat_interleave(len(rows)))
        if "itm" not in chosen and batch["weight_row"] and self._learns("itm"):
            plan.weight_row = torch.tensor([names.index(batch["weight_row"])], device=view.device)
        return plan

    def _module_of(self, name: str) -> str:
        """The module that makes a loss's predictions."""
        return "mlm" if self.share_vocabulary_head and name == "p_mrtc" else name

    def _learns(self, name: str) -> bool:
        return self.learned is None or name in self.learned

    def _chosen(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What each head looks at, by name; heads without a loss or without targets are left out."""
        return {
            name: loss.chosen(batch)
            for name, loss in self.losses.items()
            if name in batch["predicts"] and self._learns(name)
        }

    def _wanted(self, batch: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The positions that a head looks at: bool [B, V, T] and [B, V, R]."""
        wanted = {
            at: torch.zeros_like(batch[it]) for at, it in (("text", "attention_mask"), ("regions", "hidden_regions"))
        }
        pooled = {*MATCHING_ROWS, batch["weight_row"]}
        for name, where in chosen.items():
            if self.losses[name].at == "pairs":
                pooled.update(where)
            else:
                wanted[self.losses[name].at] |= where
        for number, row in enumerate(batch["rows"]):
            if row in pooled:
                text, regions = self.pooler.looks_at(batch["attention_mask"][:, number], batch["region_mask"])
                wanted["text"][:, number] |= text
                wanted["regions"][:, number] |= regions
        return wanted["text"], wanted["regions"]

    def _predict(
        self, output: PretrainingOutput, batch: Mapping[str, Any], states: Mapping[str, Tensor], plan: PretrainingPlan
    ) -> None:
        """Apply heads to the states at their positions."""
        flat = {at: it.flatten(0, 2) for at, it in states.items()}
        at = {name: flat[self.losses[name].at].index_select(0, it.state) for name, it in plan.places.items()}
        heads: dict[str, Any] = {name: self.get_submodule(self._module_of(name)) for name in plan.places}
        # Heads that share their output matrix are applied together.
        words = [name for name in plan.places if isinstance(heads[name], VocabularyHead)]
        logits = vocabulary_logits([heads[name] for name in words], [at[name] for name in words]) if words else []
        predictions = dict(zip(words, logits, strict=True))
        for name, it in plan.places.items():
            prediction = predictions[name] if name in predictions else heads[name](at[name])
            targets = self.losses[name].targets(batch, it.sample, it.row, it.position)
            output.predictions[name] = Predictions(prediction, group=it.group, **targets)

    def _pooled(self, batch: Mapping[str, Any], text: Tensor, regions: Tensor, rows: Tensor) -> Tensor:
        """One vector for each of these rows, int [rows] -> float [B, rows, hidden]."""
        region_mask = batch["region_mask"].unsqueeze(1).expand(-1, len(rows), -1)
        of_rows = (it.index_select(1, rows) for it in (text, batch["attention_mask"], regions))
        return self.pooler(*of_rows, region_mask)

    def _weigh(self, output: PretrainingOutput, matched_logits: Tensor, epoch: Tensor) -> None:
        output.match_probability = matched_logits.detach().float().sigmoid()
        output.pair_weight = pair_weights(matched_logits, epoch, self.warmup_epochs)
        output.view_weight = view_weights(output.pair_weight)
