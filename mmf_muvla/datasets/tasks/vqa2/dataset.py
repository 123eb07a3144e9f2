"""VQA 2.0 from MMF's stock files: an ``.npy`` annotation array per split, an answer vocabulary, region features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.datasets.tasks.conversion.published import usable_text
from mmf_muvla.datasets.tasks.task import UNLABELLED, TaskDataset, TaskRecord, TaskSample, register_loss, register_task
from mmf_muvla.datasets.tasks.vqa2.answers import (
    QUESTION_KINDS,
    normalize_answer,
    question_kind,
    read_answers,
    soft_scores,
    vqa_accuracy,
)
from mmf_muvla.datasets.tasks.vqa2.converter import MAX_ANSWERS
from mmf_muvla.errors import InputError, shown
from mmf_muvla.options.data import VQA2
from mmf_muvla.reading.json_values import text_problem
from mmf_muvla.reading.restricted_pickle import load_object_array

_REMEDY = "Mend or remove the entry"
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_accuracy = lru_cache(maxsize=2**16)(vqa_accuracy)  # unanimous answers come again and again


@dataclass(frozen=True, slots=True)
class QuestionRecord(TaskRecord):
    """A question about an image."""

    question_id: int  # the benchmark's number of the question
    answers: tuple[str, ...]  # the annotators', in alphabetical order; empty on hidden test splits
    kind: int  # index into QUESTION_KINDS, UNLABELLED without answers


class AnswerVocabulary:
    """What the answers that a model can give, each once, are worth."""

    def __init__(self, answers: Sequence[str]):
        self.answers = list(answers)
        self._index = {answer: index for index, answer in enumerate(answers)}
        self._same_when_normalized: defaultdict[str, list[int]] = defaultdict(list)
        for index, answer in enumerate(answers):
            self._same_when_normalized[normalize_answer(answer)].append(index)

    def soft_targets(self, annotators: Sequence[str]) -> NDArray[np.float32]:
        """What the classifier is trained towards, float32 [answers]: the annotators' soft scores."""
        targets = np.zeros(len(self.answers), np.float32)
        for answer, score in soft_scores(annotators).items():
            for index in [self._index[answer]] if answer in self._index else self._same(answer)[:1]:
                targets[index] = max(targets[index], score)
        return targets

    def accuracies(self, annotators: Sequence[str]) -> NDArray[np.float32]:
        """The benchmark's accuracy of every answer, float32 [answers], zeros without annotators."""
        values = np.zeros(len(self.answers), np.float32)
        # No other answer than those that equal an annotator's when normalised scores anything.
        for index in {index for answer in annotators for index in self._same(answer)}:
            values[index] = _accuracy(self.answers[index], tuple(annotators))
        return values

    def _same(self, answer: str) -> list[int]:
        return self._same_when_normalized.get(normalize_answer(answer), [])


@register_loss("muvla_answer_bce")
def answer_bce(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits, float [B, answers], with soft targets, summed over the answers: float [B].

    It is MMF's ``logit_bce``.

    Raises:
        InputError: the model chooses from another number of answers than there are targets for.
    """
    if scores.shape != targets.shape:
        raise InputError(
            f"model_config.muvla.num_labels={scores.shape[1]}",
            f"the data set's vocabulary has {targets.shape[1]} answers",
            "Set it to null, or give the vocabulary that belongs to it (dataset_config.vqa2.answers)",
        )
    return F.binary_cross_entropy_with_logits(scores.float(), targets, reduction="none").sum(dim=1)


@register_task("vqa2", options=VQA2)
class VQA2Dataset(TaskDataset[QuestionRecord]):
    """Questions with their image's regions and soft answer scores.

    The image's key is the entry's ``feature_path`` without folders and ending, else its ``image_id``. Entries without
    ``answers`` are unlabelled. A question may have any number of answers; official scores are those of ten.
    """

    entry: ClassVar[str] = "entry"

    def __init__(self, dataset_name: str, config: Any, dataset_type: str):
        self.vocabulary = AnswerVocabulary(read_answers(config.answers))
        self.num_labels = len(self.vocabulary.answers)
        super().__init__(dataset_name, config, dataset_type)

    def read_records(self) -> Iterator[QuestionRecord]:
        for number, entry in enumerate(load_object_array(self.path)):
            where = f"{self.path}, entry {number}"
            if not isinstance(entry, dict):
                raise InputError(where, f"is {shown(entry)}, not a dictionary", "Give an MMF vqa2 annotation file")
            if "image_id" not in entry:
                if number == 0:  # the first entry of an MMF annotation file describes the file
                    continue
                raise InputError(where, "image_id is missing", _REMEDY)
            answers = _answers(entry.get("answers"), where)
            kind = question_kind(_text(entry, "answer_type", where), answers)
            yield QuestionRecord(
                place=number,
                text=_text(entry, "question_str", where),
                images=(image_key(entry, where),),
                labelled=bool(answers),
                question_id=_question_id(entry.get("question_id"), where),
                answers=answers,
                kind=QUESTION_KINDS.index(kind) if answers else UNLABELLED,
            )

    def targets(self, samples: Sequence[TaskSample[QuestionRecord]]) -> dict[str, Tensor]:
        """``targets`` float [B, answers], the soft scores; ``answer_accuracy`` float [B, answers], the benchmark's
        accuracy of each answer; ``question_kind`` int [B], index into ``QUESTION_KINDS``, -1 where unlabelled;
        ``question_id`` int [B].
        """
        records = [sample.record for sample in samples]
        return {
            "targets": torch.from_numpy(np.stack([self.vocabulary.soft_targets(r.answers) for r in records])),
            "answer_accuracy": torch.from_numpy(np.stack([self.vocabulary.accuracies(r.answers) for r in records])),
            "question_kind": torch.tensor([r.kind for r in records]),
            "question_id": torch.tensor([r.question_id for r in records]),
        }

    def format_for_prediction(self, report: Any) -> list[dict[str, Any]]:
        """Predictions in the benchmark's submission format: ``[{"question_id": …, "answer": …}]``."""
        best = report["scores"].argmax(dim=1).tolist()
        return [
            {"question_id": question, "answer": self.vocabulary.answers[answer]}
            for question, answer in zip(report["question_id"].tolist(), best, strict=True)
        ]


def image_key(entry: dict[str, Any], where: str) -> str:
    """The key of an entry's image: its feature path without folders and ending, else its image id.

    Where the feature path is the image's name with ``.npy``, the name is the key, folders included.
    """
    if path := _text(entry, "feature_path", where):
        return path.removesuffix(".npy") if path == f"{entry.get('image_name')}.npy" else Path(path).stem
    image_id = entry["image_id"]
    is_number = isinstance(image_id, int | np.integer) and not isinstance(image_id, bool)
    if (is_number and _SMALLEST <= image_id <= _LARGEST) or (isinstance(image_id, str) and image_id):
        return str(image_id)
    raise InputError(where, f"image_id is {shown(image_id)}, neither a name nor a whole number", _REMEDY)


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    """A text, empty where there is none; else an InputError."""
    value = entry.get(key)
    return "" if value is None else usable_text(value, key, where, _REMEDY)


def _answers(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple | np.ndarray) or not all(isinstance(answer, str) for answer in value):
        raise InputError(where, f"answers is {shown(value, 60)}, not a list of strings", _REMEDY)
    if len(value) > MAX_ANSWERS:
        raise InputError(where, f"has {len(value):,} answers, more than {MAX_ANSWERS:,}", _REMEDY)
    if problem := next(filter(None, map(text_problem, value)), None):
        raise InputError(where, f"one of answers {problem}", _REMEDY)
    # The order says nothing, and one order makes equal lists of answers equal.
    return tuple(sorted(str(answer) for answer in value))


def _question_id(value: Any, where: str) -> int:
    try:
        # Of digits that are too many for a number, 20 are as good.
        number = int(value[:20] if isinstance(value, str) else value)
        if not isinstance(value, str) and number != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(where, f"question_id is {shown(value)}, not a whole number", _REMEDY) from None
    if not _SMALLEST <= number <= _LARGEST:
        raise InputError(where, f"question_id is {shown(value)}, which is out of range", _REMEDY)
    return number
