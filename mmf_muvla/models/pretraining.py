"""Pre-training: one pass of the encoder over all rows of a batch, heads on masked positions only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import FIELDS, ROW_FIELDS, Encoder
from mmf_muvla.models.heads import NextSentenceHead, Pooler, VocabularyHead, linear_head, vocabulary_logits
from mmf_muvla.objectives import HEADS, LOSSES, HeadKit, Predictions, PretrainingOutput
from mmf_muvla.objectives.curriculum import pair_weights, view_weights
from mmf_muvla.objectives.registry import view_of_row

MATCHING_ROWS = ("matched", "mismatched")


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
        chosen = self._chosen(batch)
        fields = {name: batch[name] for name in (*FIELDS, *ROW_FIELDS)}
        text, regions = encoder(**fields, wanted=self._wanted(batch, chosen))
        ones = torch.ones(len(text), device=text.device)
        output = PretrainingOutput(len(text), view_weights(ones), ones)
        result: dict[str, Any] = {"pretraining": output}
        self._predict(output, batch, {"text": text, "regions": regions}, chosen)
        pairs = {name: rows for name, rows in chosen.items() if self.losses[name].at == "pairs"}
        if "matched" in batch["rows"]:  # for metrics, even where it is not learned
            pairs["itm"] = MATCHING_ROWS
        for name, rows in pairs.items():
            predictions = self._predict_pairs(name, batch, self._pooled(batch, text, regions, rows))
            if name in chosen:
                output.predictions[name] = predictions
            if name == "itm":
                result["scores"], result["targets"] = predictions.prediction.detach(), predictions.target
        if "itm" in chosen:
            self._weigh(output, result["scores"].view(-1, 2)[:, 0], batch["epoch"])
        elif batch["weight_row"] and self._learns("itm"):
            with torch.no_grad():
                pooled = self._pooled(batch, text, regions, [batch["weight_row"]])
                self._weigh(output, self.itm(pooled.squeeze(1)).squeeze(-1), batch["epoch"])
        return result

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
        self,
        output: PretrainingOutput,
        batch: Mapping[str, Any],
        states: Mapping[str, Tensor],
        chosen: Mapping[str, Any],
    ) -> None:
        """Apply heads to the states at their positions."""
        view = torch.tensor([view_of_row(row) for row in batch["rows"]], device=output.view_weight.device)
        places = {name: it.nonzero(as_tuple=True) for name, it in chosen.items() if self.losses[name].at != "pairs"}
        at = {name: states[self.losses[name].at][place] for name, place in places.items()}
        heads: dict[str, Any] = {name: self.get_submodule(self._module_of(name)) for name in places}
        # Heads that share their output matrix are applied together.
        words = [name for name in places if isinstance(heads[name], VocabularyHead)]
        logits = vocabulary_logits([heads[name] for name in words], [at[name] for name in words]) if words else []
        predictions = dict(zip(words, logits, strict=True))
        for name, (sample, row, position) in places.items():
            prediction = predictions[name] if name in predictions else heads[name](at[name])
            targets = self.losses[name].targets(batch, sample, row, position)
            output.predictions[name] = Predictions(prediction, group=view[row] * output.num_samples + sample, **targets)

    def _pooled(self, batch: Mapping[str, Any], text: Tensor, regions: Tensor, rows: Sequence[str]) -> Tensor:
        """One vector for each of these rows, float [B, rows, hidden]."""
        numbers = [list(batch["rows"]).index(row) for row in rows]
        region_mask = batch["region_mask"].unsqueeze(1).expand(-1, len(rows), -1)
        return self.pooler(text[:, numbers], batch["attention_mask"][:, numbers], regions[:, numbers], region_mask)

    def _predict_pairs(self, name: str, batch: Mapping[str, Any], pooled: Tensor) -> Predictions:
        """Apply a head to pooled rows, float [B, rows, hidden]."""
        loss = self.losses[name]
        prediction = self.get_submodule(name)(pooled).squeeze(-1)
        samples, rows = pooled.shape[:2]
        view = view_of_row(loss.chosen(batch)[0])
        group = samples * view + torch.arange(samples, device=pooled.device).repeat_interleave(rows)
        target = loss.pair_targets(batch).expand(samples, rows)
        return Predictions(prediction.flatten(0, 1), target.flatten(), group)

    def _weigh(self, output: PretrainingOutput, matched_logits: Tensor, epoch: Tensor) -> None:
        output.match_probability = matched_logits.detach().float().sigmoid()
        output.pair_weight = pair_weights(matched_logits, epoch, self.warmup_epochs)
        output.view_weight = view_weights(output.pair_weight)
