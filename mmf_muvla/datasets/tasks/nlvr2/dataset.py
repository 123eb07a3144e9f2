"""NLVR2 from MMF's stock files: is a sentence true of a pair of photographs?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmf_muvla.datasets.tasks.nlvr2.converter import LABELS
from mmf_muvla.datasets.tasks.task import UNLABELLED, TaskDataset, TaskRecord, TaskSample, register_task, text_of
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_lines import read_json_lines


@dataclass(frozen=True, slots=True)
class PairRecord(TaskRecord):
    """A sentence about two images."""

    identifier: str  # split-set-pair-sentence, as dev-850-0-0
    label: int  # 1 true, 0 false, UNLABELLED on hidden test splits
    sentence_group: int  # number of the sentence; examples of one sentence with different pairs have the same


@register_task("nlvr2")
class NLVR2Dataset(TaskDataset[PairRecord]):
    """Sentences with two images each, from jsonl with ``sentence``, ``label`` and ``identifier``.

    The images are ``IDENTIFIER-img0`` (left) and ``-img1`` (right), without the identifier's last part.
    """

    prediction_suffix: ClassVar[str] = ".csv"
    num_labels = len(LABELS)

    def read_records(self) -> Iterator[PairRecord]:
        groups: dict[str, int] = {}
        for line, entry in read_json_lines(self.path):
            where = f"{self.path}, line {line}"
            identifier = text_of(entry, "identifier", where)
            parts = identifier.split("-")
            if len(parts) != 4 or not all(parts):
                remedy = "It must be split-set-pair-sentence, as dev-850-0-0"
                raise InputError(where, f"identifier is {shown(identifier)}", remedy)
            pair, sentence = "-".join(parts[:3]), "-".join([parts[0], parts[1], parts[3]])
            label = _label(entry.get("label"), where)
            yield PairRecord(
                place=line,
                text=text_of(entry, "sentence", where),
                images=(f"{pair}-img0", f"{pair}-img1"),
                labelled=label != UNLABELLED,
                identifier=identifier,
                label=label,
                sentence_group=groups.setdefault(sentence, len(groups)),
            )

    def targets(self, samples: Sequence[TaskSample[PairRecord]]) -> dict[str, Tensor]:
        """``targets`` int [B] (1 true, 0 false, -1 unknown) and ``sentence_group`` int [B]."""
        return {
            "targets": torch.tensor([sample.record.label for sample in samples]),
            "sentence_group": torch.tensor([sample.record.sentence_group for sample in samples]),
        }

    def format_for_prediction(self, report: Any) -> list[str]:
        """One ``True`` or ``False`` for each sample of a batch."""
        return [str(bool(label)) for label in report["scores"].argmax(dim=1).tolist()]

    def submission(self, record: PairRecord, prediction: str) -> str:
        """What the benchmark's own evaluation reads: ``identifier,True`` or ``identifier,False``."""
        return f"{record.identifier},{prediction}"


def _label(value: Any, where: str) -> int:
    if value is None:
        return UNLABELLED
    if not isinstance(value, str | bool) or str(value).lower() not in LABELS:
        raise InputError(where, f"label is {shown(value)}", 'It must be "True" or "False", or absent')
    return LABELS[str(value).lower()]
