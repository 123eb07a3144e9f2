"""NLVR2 from MMF's stock files: is a sentence true of a pair of photographs?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmf_muvla.datasets.collate import collate_images
from mmf_muvla.datasets.tasks.task import (
    UNLABELLED,
    TaskDataset,
    TaskRecord,
    TaskSample,
    register_task,
    text_of,
    write_lines,
)
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_lines import read_json_lines

LABELS = {"false": 0, "true": 1}


@dataclass(frozen=True, slots=True)
class PairRecord(TaskRecord):
    """A sentence about two images.

    Attributes:
        identifier: ``split-set-pair-sentence``, e.g. ``dev-850-0-0``.
        label: 1 true, 0 false, UNLABELLED on hidden test splits.
        sentence_group: number of the sentence; examples of one sentence with different pairs have the same.
    """

    identifier: str
    label: int
    sentence_group: int


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
                raise InputError(
                    where, f"identifier is {shown(identifier)}", "It must be split-set-pair-sentence, as dev-850-0-0"
                )
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

    def image_fields(self, samples: Sequence[TaskSample[PairRecord]]) -> dict[str, Any]:
        """Both images of a batch, left then right: the fields of ``collate_images`` as [B, 2, …]."""
        fields = collate_images([image for sample in samples for image in sample.images])
        ids = fields.pop("image_id")
        pairs: dict[str, Any] = {name: value.unflatten(0, (len(samples), 2)) for name, value in fields.items()}
        return {**pairs, "image_id": list(zip(ids[::2], ids[1::2], strict=True))}

    def targets(self, samples: Sequence[TaskSample[PairRecord]]) -> dict[str, Tensor]:
        """``targets`` int [B] (1 true, 0 false, -1 unknown) and ``sentence_group`` int [B]."""
        return {
            "targets": torch.tensor([sample.record.label for sample in samples]),
            "sentence_group": torch.tensor([sample.record.sentence_group for sample in samples]),
        }

    def format_for_prediction(self, report: Any) -> list[str]:
        """One ``True`` or ``False`` for each sample of a batch."""
        return [str(bool(label)) for label in report["scores"].argmax(dim=1).tolist()]

    def write_predictions(self, path: Path, predictions: Sequence[Any]) -> None:
        """Write what the benchmark's own evaluation reads: a line ``identifier,True`` or ``identifier,False`` each."""
        write_lines(path, (f"{r.identifier},{p}" for r, p in zip(self.records, predictions, strict=True)))


def _label(value: Any, where: str) -> int:
    """The label as a number: MMF's files have it as a string, absent on hidden splits."""
    if value is None:
        return UNLABELLED
    if not isinstance(value, str | bool) or str(value).lower() not in LABELS:
        raise InputError(where, f"label is {shown(value)}", 'It must be "True" or "False", or absent')
    return LABELS[str(value).lower()]
