"""Pre-training: one pass of the encoder over all rows of a batch, heads on masked positions only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.heads import Pooler, VocabularyHead, linear_head, vocabulary_logits
from mmf_muvla.models.load_report import LoadReport
from mmf_muvla.models.trunk import MASKED_TOKEN_HEAD_TIES, masked_token_head_state, read_checkpoint
from mmf_muvla.objectives.curriculum import pair_weights, view_weights
from mmf_muvla.objectives.outputs import Predictions, PretrainingOutput
from mmf_muvla.objectives.views import IGNORE, OBJECTIVES, ROWS_OF_OBJECTIVE

VIEW_OF_ROW = {row: OBJECTIVES.index(view) for view, rows in ROWS_OF_OBJECTIVE.items() for row in rows}


class PretrainingHeads(nn.Module):
    """The heads of the objectives (paper section 3), also of those of other systems.

    Args:
        encoder: the encoder they stand on; the vocabulary heads share its word embeddings.
        feature_dim: size of a region feature, for MRFR.
        num_object_classes: number of detector classes, for MRC.
        warmup_epochs: m of the curriculum.
        itm_pooling: what the matching head looks at, see :class:`~mmf_muvla.models.heads.Pooler`.
        learned: the heads that a loss looks at; None: all. The others predict nothing, and a matching head that is
            not trained weighs nothing.
    """

    def __init__(
        self,
        encoder: Encoder,
        feature_dim: int,
        num_object_classes: int,
        warmup_epochs: int,
        itm_pooling: str = "cls",
        learned: Collection[str] | None = None,
    ):
        super().__init__()
        config = encoder.config
        self.learned = learned
        self.warmup_epochs = warmup_epochs
        self.mlm = VocabularyHead(config, encoder.embeddings.word)
        self.p_mrtc = VocabularyHead(config, encoder.embeddings.word)
        self.mrc = linear_head(config, num_object_classes)
        self.mrfr = linear_head(config, feature_dim)
        self.pooler = Pooler(config, itm_pooling, "itm_pooling")
        self.itm = linear_head(config, 1)

    def load_bert(self, pretrained: str, report: LoadReport) -> LoadReport:
        """Start the MLM head where BERT's own masked-token head is, if the checkpoint has it (MiniLM has none).

        Args:
            pretrained: the BERT checkpoint that the encoder was loaded from.
            report: what the encoder took from it.

        Returns:
            What encoder and heads together took, and what of the model and of the checkpoint is left.
        """
        state = masked_token_head_state(read_checkpoint(pretrained))
        self.mlm.load_state_dict({ours: value for ours, (_, value) in state.items()}, strict=False)
        # The decoder's matrix is the word embedding, which the encoder has taken or kept.
        own = [name for name in self.state_dict() if not name.endswith("decoder.weight")]
        loaded = [f"mlm.{name}" for name in state]
        used = {theirs for theirs, _ in state.values()} | MASKED_TOKEN_HEAD_TIES
        return LoadReport(
            loaded=(*report.loaded, *(f"heads.{name}" for name in loaded)),
            missing=(*report.missing, *(f"heads.{name}" for name in own if name not in loaded)),
            mismatched=report.mismatched,
            unused=tuple(name for name in report.unused if not state or name not in used),
        )

    def forward(self, encoder: Encoder, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Encode a batch and predict every target.

        Args:
            encoder: the encoder given at construction.
            batch: as made by :func:`mmf_muvla.datasets.collate.collate_pretraining`.

        Returns:
            ``pretraining``: a :class:`PretrainingOutput`; and where the batch has the image-sentence view
            ``scores`` and ``targets``, float [2 B]: matching logits and truths, for metrics.
        """
        rows: tuple[str, ...] = tuple(batch["rows"])
        predicts = {name for name in batch["predicts"] if self.learned is None or name in self.learned}
        text, regions = encoder(
            batch["input_ids"],
            batch["attention_mask"],
            batch["image_feature_0"],
            batch["bbox"],
            batch["image_size"],
            batch["region_mask"],
            batch["token_region"],
            batch["hidden_regions"],
            self._wanted(rows, batch),
            batch["sees_regions"],
        )
        samples = text.shape[0]
        row_view = torch.tensor([VIEW_OF_ROW[row] for row in rows], device=text.device)

        def group(sample: Tensor, row: Tensor) -> Tensor:
            return row_view[row] * samples + sample

        ones = torch.ones(samples, device=text.device)
        output = PretrainingOutput(samples, view_weights(ones), ones)

        self._predict_words(output, predicts, rows, batch, text, regions, group)
        if {"mrc", "mrfr"} & predicts:
            sample, row, region = batch["region_targets"].nonzero(as_tuple=True)
            states, of_region = regions[sample, row, region], group(sample, row)
            if "mrc" in predicts:
                classes, confidence = (batch[name][sample, region] for name in ("object_class", "object_confidence"))
                output.mrc = Predictions(self.mrc(states), classes, of_region, confidence)
            if "mrfr" in predicts:
                output.mrfr = Predictions(self.mrfr(states), batch["image_feature_0"][sample, region], of_region)
        result: dict[str, Any] = {"pretraining": output}
        if "matched" in rows:
            pairs = [rows.index("matched"), rows.index("mismatched")]
            region_mask = batch["region_mask"].unsqueeze(1).expand(-1, 2, -1)
            logits = self.match(
                text[:, pairs], batch["attention_mask"][:, pairs], regions[:, pairs], region_mask
            )  # [B, 2]
            truth = torch.tensor([1.0, 0.0], device=logits.device).expand_as(logits)
            if "itm" in predicts:
                pair = torch.arange(samples, device=logits.device).repeat_interleave(2)
                output.itm = Predictions(
                    logits.flatten(), truth.flatten(), samples * OBJECTIVES.index("image_sentence") + pair
                )
                self._weigh(output, logits[:, 0], batch["epoch"])
            result["scores"], result["targets"] = logits.detach().flatten(), truth.flatten()
        elif batch["weight_row"] and (self.learned is None or "itm" in self.learned):
            number = rows.index(batch["weight_row"])
            with torch.no_grad():
                logits = self.match(
                    text[:, number], batch["attention_mask"][:, number], regions[:, number], batch["region_mask"]
                )
            self._weigh(output, logits, batch["epoch"])
        return result

    def match(self, text: Tensor, text_mask: Tensor, regions: Tensor, region_mask: Tensor) -> Tensor:
        """Does the text belong to the image? Arguments as for :class:`Pooler`; logits, float [...]."""
        return self.itm(self.pooler(text, text_mask, regions, region_mask)).squeeze(-1)

    def _weigh(self, output: PretrainingOutput, matched_logits: Tensor, epoch: Tensor) -> None:
        output.match_probability = matched_logits.detach().float().sigmoid()
        output.pair_weight = pair_weights(matched_logits, epoch, self.warmup_epochs)
        output.view_weight = view_weights(output.pair_weight)

    def _predict_words(
        self,
        output: PretrainingOutput,
        predicts: set[str],
        rows: tuple[str, ...],
        batch: Mapping[str, Any],
        text: Tensor,
        regions: Tensor,
        group: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """MLM and p-MRTC: the two that share the output matrix."""
        states: dict[str, Tensor] = {}
        targets: dict[str, tuple[Tensor, Tensor]] = {}
        if "mlm" in predicts:
            sample, row, position = (batch["mlm_labels"] != IGNORE).nonzero(as_tuple=True)
            states["mlm"] = text[sample, row, position]
            targets["mlm"] = batch["mlm_labels"][sample, row, position], group(sample, row)
        if "p_mrtc" in predicts:
            number = rows.index("region_phrase")
            sample, region = (batch["phrase_ids"][..., 0] != IGNORE).nonzero(as_tuple=True)
            states["p_mrtc"] = regions[sample, number, region]
            targets["p_mrtc"] = batch["phrase_ids"][sample, region], group(sample, torch.full_like(sample, number))
        if states:
            heads = {"mlm": self.mlm, "p_mrtc": self.p_mrtc}
            logits = vocabulary_logits([heads[name] for name in states], list(states.values()))
            for name, prediction in zip(states, logits, strict=True):
                setattr(output, name, Predictions(prediction, *targets[name]))

    def _wanted(self, rows: tuple[str, ...], batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The positions that a head looks at: bool [B, V, T] and [B, V, R]."""
        text = batch["mlm_labels"] != IGNORE
        regions = batch["region_targets"].clone()
        if "region_phrase" in rows:
            regions[:, rows.index("region_phrase")] = batch["phrase_ids"][..., 0] != IGNORE
        for row in {"matched", "mismatched", batch["weight_row"]} & set(rows):
            number = rows.index(row)
            pooled = self.pooler.looks_at(batch["attention_mask"][:, number], batch["region_mask"])
            text[:, number] |= pooled[0]
            regions[:, number] |= pooled[1]
        return text, regions
