"""VQA 2.0: questions and ten annotators' answers, from the files of visualqa.org."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.annotations.published import (
    Counts,
    Options,
    Sieve,
    nothing_left,
    number_of,
    read_json_object,
    read_records,
    text_of,
)
from mmf_muvla.annotations.vqa_answers import answer_vocabulary, soft_scores
from mmf_muvla.corpus.outputs import publish_output
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.errors import InputError

UNKNOWN_ANSWER = "<unk>"
"""MMF's mark for an answer outside the vocabulary; it would put it into a vocabulary that lacks it."""

_ANNOTATORS = 10
# The images of test-dev are files of the whole test set.
_SUBSET = re.compile(r"(train|val|test)(?:-[a-z]+)?([0-9]{4})")
_TOKENS = re.compile(r"'s\b|\w+")


@dataclass
class Vqa2Counts(Counts):
    """As :class:`~mmf_muvla.annotations.published.Counts`, of what is written also:

    Attributes:
        images: how many different images there are.
        answers_outside: different answers to a question that the vocabulary lacks, over all questions.
        questions_outside: questions of which it lacks every answer.
    """

    images: int = 0
    answers_outside: int = 0
    questions_outside: int = 0


def convert_vqa2(
    questions: Path,
    annotations: Path | None,
    out: Path,
    split: str,
    vocabulary: Collection[str] = (),
    options: Options | None = None,
) -> Vqa2Counts:
    """Write a published split as the annotation array that MMF's ``vqa2`` dataset reads.

    Answers are written as published: whether they are to be normalised depends on all ten of them
    (:func:`~mmf_muvla.annotations.vqa_answers.vqa_accuracy`).

    Args:
        questions: ``v2_OpenEnded_mscoco_SUBSET_questions.json``: ``data_subtype`` and ``questions`` with
            ``question_id``, ``image_id``, ``question``.
        annotations: ``v2_mscoco_SUBSET_annotations.json``: ``annotations`` with ``question_id``, ``image_id``,
            ``question_type``, ``answer_type`` and ten ``answers``; ``None`` for test questions.
        out: the ``.npy`` to write: an array of objects, a header and one dictionary a question, in the order of
            ``questions``.
        split: the header's name for it.
        vocabulary: the answers of which those outside are counted; none are where it is empty.
        options: questions without annotation are kept, without answers, unless they say otherwise.

    Returns:
        What became of the questions.

    Raises:
        InputError: a file or a question cannot be used, or a question is there twice.
    """
    counts = Vqa2Counts()
    options = options or Options()
    sieve = Sieve(options, "keep", counts)
    content = read_json_object(questions)
    reader = _Reader(questions, content.get("data_subtype"), _by_question(annotations), annotations, options)
    vocabulary = frozenset(vocabulary)
    entries: list[dict[str, Any]] = [{"version": 1, "dataset_name": "vqa2", "split": split}]
    images = set()
    records = read_records(questions, "questions", content)
    with progress_bar(len(records), questions.name, "question") as progress:
        for number, record in enumerate(records):
            counts.records += 1
            progress.update()
            try:
                entry = reader.entry(record, number)
            except InputError as error:
                sieve.leave_out(error)
                continue
            if not sieve.admits((entry["image_name"],), "answers" in entry):
                continue
            images.add(entry["image_name"])
            _count_outside(entry.get("answers", ()), vocabulary, counts)
            entries.append(entry)
    if len(entries) == 1:
        raise nothing_left(questions)
    counts.images = len(images)
    _write_array(out, entries)
    return counts


def build_vocabulary(annotations: Sequence[Path], out: Path, options: Options | None = None) -> list[str]:
    """Write the answer vocabulary that MMF reads, an answer a line.

    The first line is MMF's mark for an unknown answer. It stands for the empty answer as well, which the usual rule
    counts among its 3,129: so the file has just as many lines.

    Args:
        annotations: the published annotation files, of train and val for the usual vocabulary.
        out: the text file to write.
        options: ``min_occurrences`` (:func:`~mmf_muvla.annotations.vqa_answers.answer_vocabulary` has the rule),
            and whether annotations without a usable answer are passed over.

    Returns:
        The answers by the rule, the empty one included.

    Raises:
        InputError: a file cannot be used, or no answer is frequent enough.
    """
    options = options or Options()
    answers = []
    for path in annotations:
        for number, record in enumerate(read_records(path, "annotations")):
            answer = record.get("multiple_choice_answer")
            if isinstance(answer, str):
                answers.append(answer)
            elif options.on_bad_record == "error":
                where = f"{path}, question {record.get('question_id', f'number {number}')}"
                problem = f"multiple_choice_answer is {answer!r:.40}, not a text"
                raise InputError(where, problem, "Get the file again from its source")
    vocabulary = answer_vocabulary(answers, options.min_occurrences)
    with publish_output(out) as temporary:
        lines = [UNKNOWN_ANSWER, *(answer for answer in vocabulary if answer)]
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return vocabulary


class _Reader:
    """Makes entries of the annotation array out of published questions."""

    def __init__(
        self,
        path: Path,
        subset: Any,
        annotations: dict[int, dict[str, Any]],
        annotations_path: Path | None,
        options: Options,
    ):
        self._path = path
        self._images = _images_name(subset, path) if "{name" in options.image_key else ""
        self._annotations = annotations
        self._annotations_path = annotations_path
        self._options = options
        self._seen: set[int] = set()

    def entry(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        question_id = number_of(record, "question_id", f"{self._path}, question number {number}")
        where = f"{self._path}, question {question_id}"
        if question_id in self._seen:
            raise InputError(where, f"question_id {question_id} is there twice", "Remove one of the two")
        question = text_of(record, "question", where)
        image_id = number_of(record, "image_id", where)
        key = self._options.key_of(f"COCO_{self._images}_{image_id:012d}", image_id)
        entry = {
            "question_id": question_id,
            "question_str": question,
            "question_tokens": _TOKENS.findall(question.lower()),
            "image_id": image_id,
            "image_name": key,
            "feature_path": f"{key}.npy",
        }
        if question_id in self._annotations:
            entry |= _answers(
                self._annotations[question_id], image_id, f"{self._annotations_path}, question {question_id}"
            )
        self._seen.add(question_id)
        return entry


def _answers(annotation: dict[str, Any], image_id: int, where: str) -> dict[str, Any]:
    if annotation.get("image_id") != image_id:
        problem = f"image_id is {annotation.get('image_id')!r:.40}, but {image_id} among the questions"
        raise InputError(where, problem, "Give questions and annotations of the same split")
    given = annotation.get("answers")
    answers = [answer.get("answer") for answer in given if isinstance(answer, dict)] if isinstance(given, list) else []
    texts = [sys.intern(answer) for answer in answers if isinstance(answer, str)]
    if len(texts) != _ANNOTATORS:
        raise InputError(where, f"has {len(texts)} answers, not {_ANNOTATORS}", "Get the file again from its source")
    kinds = {name: sys.intern(text_of(annotation, name, where)) for name in ("question_type", "answer_type")}
    return {"answers": texts, **kinds}


def _by_question(path: Path | None) -> dict[int, dict[str, Any]]:
    if path is None:
        return {}
    annotations: dict[int, dict[str, Any]] = {}
    for number, record in enumerate(read_records(path, "annotations")):
        question_id = number_of(record, "question_id", f"{path}, annotation number {number}")
        if question_id in annotations:
            where = f"{path}, question {question_id}"
            raise InputError(where, f"question_id {question_id} is there twice", "Remove one of the two")
        annotations[question_id] = record
    return annotations


def _images_name(subset: Any, path: Path) -> str:
    """What COCO's file names say about the set of images that a file of questions is about: ``val2014``."""
    parts = _SUBSET.fullmatch(subset) if isinstance(subset, str) else None
    if parts is None:
        raise InputError(
            str(path),
            f"data_subtype is {subset!r:.40}, which does not tell the names of the images",
            "Write it as in val2014, or say with image_key=COCO_val2014_{image_id:012d} what they are called",
        )
    return "".join(parts.groups())


def _count_outside(answers: Sequence[str], vocabulary: frozenset[str], counts: Vqa2Counts) -> None:
    if not vocabulary or not answers:
        return
    is_outside = [answer not in vocabulary for answer in soft_scores(answers)]
    counts.answers_outside += sum(is_outside)
    counts.questions_outside += all(is_outside)


def _write_array(path: Path, entries: list[dict[str, Any]]) -> None:
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    with publish_output(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=True)
