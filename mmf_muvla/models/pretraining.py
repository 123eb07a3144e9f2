"""Pre-training: one pass of the encoder over all rows of a batch, heads on masked positions only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import FIELDS, ROW_FIELDS, Encoder
from mmf_muvla.models.heads import NextSentenceHead, Pooler, VocabularyHead, linear_head, vocabulary_logits
from mmf_muvla.models.pretraining_plan import PretrainingPlan, PretrainingPlanner
from mmf_muvla.objectives import HEADS, LOSSES, HeadKit, Predictions, PretrainingOutput
from mmf_muvla.objectives.curriculum import pair_weights, view_weights


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
        plan: PretrainingPlan = batch["plan"] if "plan" in batch else self.planner(encoder)(batch)
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
        elif plan.weight_row is not None:
            with torch.no_grad():
                pooled = self._pooled(batch, text, regions, plan.weight_row)
                self._weigh(output, self.itm(pooled.squeeze(1)).squeeze(-1), batch["epoch"])
        return result

    def planner(self, encoder: Encoder) -> PretrainingPlanner:
        """Makes the plans of batches, which :meth:`forward` makes where a batch has none."""
        it = encoder.trunk.planner
        return PretrainingPlanner(it.layout, it.streams, self.pooler.pooling, tuple(self.losses), self.learned)

    def _module_of(self, name: str) -> str:
        """The module that makes a loss's predictions."""
        return "mlm" if self.share_vocabulary_head and name == "p_mrtc" else name

    def _learns(self, name: str) -> bool:
        return self.learned is None or name in self.learned

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
