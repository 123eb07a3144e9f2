"""SNLI-VE from MMF's stock files: does a photograph entail a sentence, contradict it, or neither?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmf_muvla.datasets.tasks.task import UNLABELLED, TaskDataset, TaskRecord, TaskSample, register_task, text_of
from mmf_muvla.datasets.tasks.visual_entailment.converter import LABELS
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_lines import read_json_lines


@dataclass(frozen=True, slots=True)
class HypothesisRecord(TaskRecord):
    """A hypothesis about an image."""

    pair_id: str  # the benchmark's name of the pair of image and hypothesis
    label: int  # index into LABELS, UNLABELLED where the annotators did not agree


@register_task("visual_entailment")
class VisualEntailmentDataset(TaskDataset[HypothesisRecord]):
    """Hypotheses with their image, from jsonl with ``sentence2``, ``gold_label``, ``Flikr30kID`` and ``pairID``.

    The image's key is what stands before the first period of ``Flikr30kID``.
    """

    prediction_suffix: ClassVar[str] = ".jsonl"
    num_labels = len(LABELS)

    def read_records(self) -> Iterator[HypothesisRecord]:
        for line, entry in read_json_lines(self.path):
            where = f"{self.path}, line {line}"
            label = _label(entry.get("gold_label"), where)
            yield HypothesisRecord(
                place=line,
                text=text_of(entry, "sentence2", where),
                images=(text_of(entry, "Flikr30kID", where).partition(".")[0],),
                labelled=label != UNLABELLED,
                pair_id=text_of(entry, "pairID", where),
                label=label,
            )

    def targets(self, samples: Sequence[TaskSample[HypothesisRecord]]) -> dict[str, Tensor]:
        """``targets`` int [B], index into ``LABELS``, -1 where unknown."""
        return {"targets": torch.tensor([sample.record.label for sample in samples])}

    def format_for_prediction(self, report: Any) -> list[str]:
        """One word of ``LABELS`` for each sample of a batch."""
        return [LABELS[label] for label in report["scores"].argmax(dim=1).tolist()]

    def submission(self, record: HypothesisRecord, prediction: str) -> str:
        """A line of JSON."""
        return json.dumps({"pairID": record.pair_id, "prediction": prediction}, ensure_ascii=False)


def _label(value: Any, where: str) -> int:
    if value is None or value == "-":  # the annotators did not agree
        return UNLABELLED
    if value not in LABELS:
        raise InputError(where, f"gold_label is {shown(value)}", f'It must be {", ".join(LABELS)}, "-" or absent')
    return LABELS.index(value)
