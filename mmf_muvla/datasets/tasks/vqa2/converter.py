"""VQA 2.0: questions and ten annotators' answers, from the files of visualqa.org.

OK-VQA's files have the same form, and so may files of one's own: with any number of answers, names as image ids, and
without the fields that say what kind of question it is.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.tasks.conversion.image_keys import IMAGE_ENDINGS
from mmf_muvla.datasets.tasks.conversion.published import (
    Counts,
    Options,
    check_key,
    nothing_left,
    read_json_object,
    usable_text,
)
from mmf_muvla.datasets.tasks.conversion.report import Report, Sieve
from mmf_muvla.datasets.tasks.vqa2.answers import answer_vocabulary, soft_scores
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_values import GET_AGAIN, check_object, check_record, number_of, text_of

UNKNOWN_ANSWER = "<unk>"  # MMF's mark for an answer outside the vocabulary, which it adds to one that lacks it
MAX_ANSWERS = 1000  # of a question
# The images of test-dev are files of the whole test set.
_SUBSET = re.compile(r"(train|val|test)(?:-[a-z]+)?([0-9]{4})")
_TOKENS = re.compile(r"'s\b|\w+")


@dataclass
class Vqa2Counts(Counts):
    """The last three are of what is written."""

    images: int = 0  # different ones
    answers_outside: int = 0  # different answers to a question that the vocabulary lacks, over all questions
    questions_outside: int = 0  # questions of which it lacks every answer


def convert_vqa2(
    questions: Path,
    annotations: Path | None,
    out: Path,
    split: str,
    vocabulary: Collection[str] = (),
    *,
    options: Options | None = None,
    report: Report | None = None,
    halves: Sequence[Path] = (),
) -> Vqa2Counts:
    """Write a published split as the annotation array that MMF's ``vqa2`` dataset reads.

    Answers are written as published: whether they are to be normalised depends on all ten of them
    (:func:`~mmf_muvla.datasets.tasks.vqa2.answers.vqa_accuracy`).

    Args:
        questions: ``v2_OpenEnded_mscoco_SUBSET_questions.json``: ``data_subtype`` and ``questions`` with
            ``question_id``, ``image_id`` (COCO's number or any name; the ending of a file's name is no part of the
            image's key) and ``question``.
        annotations: ``v2_mscoco_SUBSET_annotations.json``: ``annotations`` with ``question_id``, ``image_id``,
            ten ``answers`` (or as many as ``options`` say), which are texts or have a text as ``answer``, and, where
            they are known, ``question_type`` and ``answer_type``; ``None`` for test questions.
        out: the ``.npy`` to write: an array of objects, a header and a dictionary for each question, in their order.
        split: the header's name for it.
        vocabulary: the answers of which those outside are counted; none are where it is empty.
        options: questions without annotation are kept, without answers, unless they say otherwise.
        report: collects what concerns all splits.
        halves: two more ``.npy`` to write, each with the questions about half of the images: a hash of the image's key
            decides which.

    Raises:
        InputError: a file or a question cannot be used, or a question is there twice.
    """
    sieve = Sieve(split, Vqa2Counts(), options, report)
    counts = sieve.counts
    content = read_json_object(questions, "questions")
    reader = _Reader(content, questions, annotations, sieve)
    known = frozenset(vocabulary)
    entries: list[dict[str, Any]] = [{"version": 1, "dataset_name": "vqa2", "split": split}]
    with progress_bar(len(content["questions"]), questions.name, "question") as progress:
        for number, record in enumerate(content["questions"]):
            counts.records += 1
            progress.update()
            with sieve.leaving_out():
                entry = reader.entry(record, number)
                if sieve.admits((entry["image_name"],), entry["question_str"], "answers" in entry):
                    entries.append(entry)
                    if known and "answers" in entry:
                        is_outside = [answer not in known for answer in soft_scores(entry["answers"])]
                        counts.answers_outside += sum(is_outside)
                        counts.questions_outside += all(is_outside)
    if len(entries) == 1:
        raise nothing_left(questions)
    counts.images = sieve.num_images
    _write(out, entries)
    for half, path in enumerate(halves):
        _write(path, [entries[0], *(entry for entry in entries[1:] if _half_of(entry["image_name"]) == half)])
    return counts


def _half_of(image_name: str) -> int:
    return hashlib.blake2b(image_name.encode(), digest_size=1).digest()[0] % 2


def _write(out: Path, entries: Sequence[dict[str, Any]]) -> None:
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    with publish_file(out) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=True)


def build_vocabulary(annotations: Sequence[Path], out: Path, options: Options | None = None) -> list[str]:
    """Write the answer vocabulary that MMF reads, an answer a line.

    The answer of a question is its ``multiple_choice_answer``; where there is none, as in OK-VQA, the most frequent of
    its answers, the first one of several. The first line is MMF's mark for an unknown answer. It stands for the empty
    answer as well, which the usual rule counts among its 3,129: so the file has just as many lines.

    Args:
        annotations: the published annotation files, of train and val for the usual vocabulary.
        out: the text file to write.
        options: ``min_occurrences``, and whether annotations without a usable answer are passed over.

    Returns:
        The answers of :func:`~mmf_muvla.datasets.tasks.vqa2.answers.answer_vocabulary`, the empty one included.

    Raises:
        InputError: a file cannot be used, or no answer is frequent enough.
    """
    options = options or Options()
    passed_over = (InputError,) if options.on_bad_record == "skip" else ()
    answers = []
    for path in annotations:
        for number, record in enumerate(read_json_object(path, "annotations")["annotations"]):
            with suppress(*passed_over):
                answers.append(_most_frequent_answer(record, path, number))
    vocabulary = answer_vocabulary(answers, options.min_occurrences)
    with publish_file(out) as temporary:
        lines = [UNKNOWN_ANSWER, *filter(None, vocabulary)]
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return vocabulary


class _Reader:
    """Makes entries of the annotation array out of published questions."""

    def __init__(self, content: dict[str, Any], questions: Path, annotations: Path | None, sieve: Sieve[Vqa2Counts]):
        self._questions, self._annotations = questions, annotations
        self._options = sieve.options
        self._images_name = _images_name(content, questions, sieve.options)
        self._answers = {} if annotations is None else _by_question(annotations, sieve)
        self._seen: set[int] = set()
        self._image_of_key: dict[str, int | str] = {}

    def entry(self, record: Any, number: int) -> dict[str, Any]:
        where = f"{self._questions}, question number {number}"
        check_object(record, where)
        question_id = number_of(record, "question_id", where)
        where = f"{self._questions}, question {question_id}"
        if question_id in self._seen:
            raise InputError(where, f"question_id {question_id} is there twice", "Remove one of the two")
        question = text_of(record, "question", where)
        value_of = text_of if isinstance(record.get("image_id"), str) else number_of
        image_id: int | str = value_of(record, "image_id", where)
        check_record(record, where)
        key = self._key_of(image_id, where)
        entry = {
            "question_id": question_id,
            "question_str": question,
            "question_tokens": _TOKENS.findall(question.lower()),
            "image_id": image_id,
            "image_name": key,
            "feature_path": f"{key}.npy",
        }
        if question_id in self._answers:
            where = f"{self._annotations}, question {question_id}"
            entry |= _answers(self._answers[question_id], image_id, where, self._options.num_answers)
        self._seen.add(question_id)
        return entry

    def _key_of(self, image_id: int | str, where: str) -> str:
        if isinstance(image_id, str):
            # An image's name has neither the folders nor the ending of its file.
            path = PurePosixPath(image_id)
            name = path.stem if path.suffix.lower() in IMAGE_ENDINGS else path.name
        elif "{name" in self._options.image_key and not self._images_name:
            problem = f"image_id is {image_id}, which is no name, as those of other questions are"
            raise InputError(where, problem, "Name all images in one way, or set image_key={image_id}")
        else:
            name = f"COCO_{self._images_name}_{image_id:012d}"
        key = check_key(self._options.key_of(name, image_id), where)
        other = self._image_of_key.setdefault(key, image_id)
        if other != image_id:
            problem = f"the images {shown(other, 80)} and {shown(image_id, 80)} have the same key {shown(key, 80)}"
            raise InputError(where, problem, "Set image_key={image_id}")
        return key


def _images_name(content: dict[str, Any], path: Path, options: Options) -> str:
    """What COCO's file names say about the set of images (``val2014``), where that is needed."""
    subset = content.get("data_subtype")
    # Files of which the images have names of their own need not say so.
    names = (isinstance(it, dict) and isinstance(it.get("image_id"), str) for it in content["questions"])
    if "{name" not in options.image_key or (subset is None and any(names)):
        return ""
    parts = _SUBSET.fullmatch(subset) if isinstance(subset, str) else None
    if parts is None:
        problem = f"data_subtype is {shown(subset)}, which does not tell the names of the images"
        remedy = "Write it as in val2014, or say with image_key=COCO_val2014_{image_id:012d} what they are called"
        raise InputError(str(path), problem, remedy)
    return "".join(parts.groups())


def _by_question(path: Path, sieve: Sieve[Vqa2Counts]) -> dict[int, dict[str, Any]]:
    annotations: dict[int, dict[str, Any]] = {}
    for number, record in enumerate(read_json_object(path, "annotations")["annotations"]):
        where = f"{path}, annotation number {number}"
        with sieve.leaving_out():
            check_object(record, where)
            question_id = number_of(record, "question_id", where)
            if question_id in annotations:
                where = f"{path}, question {question_id}"
                raise InputError(where, f"question_id {question_id} is there twice", "Remove one of the two")
            annotations[question_id] = record
    return annotations


def _answers(annotation: dict[str, Any], image_id: int | str, where: str, num_answers: int | None) -> dict[str, Any]:
    if annotation.get("image_id") != image_id:
        problem = f"image_id is {shown(annotation.get('image_id'))}, but {shown(image_id)} among the questions"
        raise InputError(where, problem, "Give questions and annotations of the same split")
    texts = [sys.intern(text) for text in _answer_texts(annotation, where)]
    if num_answers is not None and len(texts) != num_answers:
        remedy = "Get the file again from its source, or set num_answers=any for data of your own"
        raise InputError(where, f"has {len(texts)} answers, not {num_answers}", remedy)
    if not texts:
        raise InputError(where, "has no answers", "Remove the annotation of a question without answers")
    # Data of one's own may not have them; what is there is checked.
    kinds = [name for name in ("question_type", "answer_type") if name in annotation]
    entry: dict[str, Any] = {"answers": texts, **{name: sys.intern(text_of(annotation, name, where)) for name in kinds}}
    check_record(annotation, where)
    return entry


def _most_frequent_answer(annotation: Any, path: Path, number: int) -> str:
    where = f"{path}, annotation number {number}"
    check_object(annotation, where)
    if "question_id" in annotation:
        where = f"{path}, question {shown(annotation['question_id'])}"
    if "multiple_choice_answer" in annotation:
        return usable_text(annotation["multiple_choice_answer"], "multiple_choice_answer", where, GET_AGAIN)
    texts = _answer_texts(annotation, where)
    if not texts:
        raise InputError(where, "has neither multiple_choice_answer nor answers", GET_AGAIN)
    return Counter(texts).most_common(1)[0][0]


def _answer_texts(annotation: dict[str, Any], where: str) -> list[str]:
    given = annotation.get("answers")
    if not isinstance(given, list):
        return []
    remedy = "Mend or remove the annotation"
    if len(given) > MAX_ANSWERS:
        raise InputError(where, f"has {len(given):,} answers, more than {MAX_ANSWERS:,}", remedy)
    texts = (answer.get("answer") if isinstance(answer, dict) else answer for answer in given)
    return [usable_text(text, f"answers[{number}]", where, remedy) for number, text in enumerate(texts)]
