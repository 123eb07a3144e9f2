"""VQA 2.0: questions and ten annotators' answers, from the files of visualqa.org.

OK-VQA's files have the same form, and so may files of one's own: with any number of answers, names as image ids, and
without the fields that say what kind of question it is.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.tasks.conversion.image_keys import IMAGE_ENDINGS
from mmf_muvla.datasets.tasks.conversion.published import (
    Counts,
    Options,
    Sieve,
    check_key,
    list_in,
    nothing_left,
    read_json_object,
)
from mmf_muvla.datasets.tasks.conversion.report import Report
from mmf_muvla.datasets.tasks.vqa2.answers import answer_vocabulary, soft_scores
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_values import GET_AGAIN, check_object, check_record, number_of, text_of, text_problem

UNKNOWN_ANSWER = "<unk>"
"""MMF's mark for an answer outside the vocabulary; it would put it into a vocabulary that lacks it."""

MAX_ANSWERS = 1000
"""The most answers of a question."""

# The images of test-dev are files of the whole test set.
_SUBSET = re.compile(r"(train|val|test)(?:-[a-z]+)?([0-9]{4})")
_KINDS: tuple[str, ...] = ("question_type", "answer_type")
_TOKENS = re.compile(r"'s\b|\w+")


@dataclass
class Vqa2Counts(Counts):
    """As :class:`~mmf_muvla.datasets.tasks.conversion.published.Counts`, of what is written also:

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
    *,
    options: Options | None = None,
    report: Report | None = None,
) -> Vqa2Counts:
    """Write a published split as the annotation array that MMF's ``vqa2`` dataset reads.

    Answers are written as published: whether they are to be normalised depends on all ten of them
    (:func:`~mmf_muvla.datasets.tasks.vqa2.answers.vqa_accuracy`).

    Args:
        questions: ``v2_OpenEnded_mscoco_SUBSET_questions.json``: ``data_subtype`` and ``questions`` with
            ``question_id``, ``image_id``, ``question``. An image's id is COCO's number, or any other name; of a file's
            name the ending is no part of the image's key.
        annotations: ``v2_mscoco_SUBSET_annotations.json``: ``annotations`` with ``question_id``, ``image_id``,
            ten ``answers`` (or as many as ``options`` say), which are texts or have a text as ``answer``, and, where
            they are known, ``question_type`` and ``answer_type``; ``None`` for test questions.
        out: the ``.npy`` to write: an array of objects, a header and one dictionary a question, in the order of
            ``questions``.
        split: the header's name for it.
        vocabulary: the answers of which those outside are counted; none are where it is empty.
        options: questions without annotation are kept, without answers, unless they say otherwise.
        report: collects what concerns all splits, where there are several.

    Returns:
        What became of the questions.

    Raises:
        InputError: a file or a question cannot be used, or a question is there twice.
    """
    counts = Vqa2Counts()
    options = options or Options()
    sieve = Sieve(options, "keep", counts, report, split)
    content = read_json_object(questions)
    records = list_in(content, "questions", questions)
    subset = content.get("data_subtype")
    # Files of which the images have names of their own need not say so.
    is_needed = "{name" in options.image_key and not (subset is None and _have_names(records))
    images_name = _images_name(subset, questions) if is_needed else ""
    reader = _Reader(questions, images_name, _by_question(annotations, sieve), annotations, options)
    vocabulary = frozenset(vocabulary)
    entries: list[dict[str, Any]] = [{"version": 1, "dataset_name": "vqa2", "split": split}]
    images = set()
    with progress_bar(len(records), questions.name, "question") as progress:
        for number, record in enumerate(records):
            counts.records += 1
            progress.update()
            try:
                entry = reader.entry(record, number)
            except InputError as error:
                sieve.leave_out(error)
                continue
            if not sieve.admits((entry["image_name"],), entry["question_str"], "answers" in entry):
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

    The answer of a question is its ``multiple_choice_answer``; where there is none, as in OK-VQA, the most frequent of
    its answers, the first one of several.

    The first line is MMF's mark for an unknown answer. It stands for the empty answer as well, which the usual rule
    counts among its 3,129: so the file has just as many lines.

    Args:
        annotations: the published annotation files, of train and val for the usual vocabulary.
        out: the text file to write.
        options: ``min_occurrences`` (:func:`~mmf_muvla.datasets.tasks.vqa2.answers.answer_vocabulary` has the rule),
            and whether annotations without a usable answer are passed over.

    Returns:
        The answers by the rule, the empty one included.

    Raises:
        InputError: a file cannot be used, or no answer is frequent enough.
    """
    options = options or Options()
    answers = []
    for path in annotations:
        for number, record in enumerate(list_in(read_json_object(path), "annotations", path)):
            try:
                answers.append(_most_frequent_answer(record, f"{path}, annotation number {number}"))
            except InputError:
                if options.on_bad_record == "error":
                    raise
    vocabulary = answer_vocabulary(answers, options.min_occurrences)
    with publish_file(out) as temporary:
        lines = [UNKNOWN_ANSWER, *(answer for answer in vocabulary if answer)]
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return vocabulary


@dataclass
class _Reader:
    """Makes entries of the annotation array out of published questions."""

    path: Path
    images_name: str
    annotations: dict[int, dict[str, Any]]
    annotations_path: Path | None
    options: Options
    seen: set[int] = field(default_factory=set)
    image_of_key: dict[str, int | str] = field(default_factory=dict)

    def entry(self, record: Any, number: int) -> dict[str, Any]:
        where = f"{self.path}, question number {number}"
        check_object(record, where)
        question_id = number_of(record, "question_id", where)
        where = f"{self.path}, question {question_id}"
        if question_id in self.seen:
            raise InputError(where, f"question_id {question_id} is there twice", "Remove one of the two")
        question = text_of(record, "question", where)
        is_name = isinstance(record.get("image_id"), str)
        image_id = text_of(record, "image_id", where) if is_name else number_of(record, "image_id", where)
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
        if question_id in self.annotations:
            where = f"{self.annotations_path}, question {question_id}"
            entry |= _answers(self.annotations[question_id], image_id, where, self.options)
        self.seen.add(question_id)
        return entry

    def _key_of(self, image_id: int | str, where: str) -> str:
        if isinstance(image_id, int):
            if "{name" in self.options.image_key and not self.images_name:
                problem = f"image_id is {image_id}, which is no name, as those of other questions are"
                raise InputError(where, problem, "Name all images in one way, or set image_key={image_id}")
            key = self.options.key_of(f"COCO_{self.images_name}_{image_id:012d}", image_id)
        else:
            key = self.options.key_of(_name_of(image_id), image_id)
        other = self.image_of_key.setdefault(check_key(key, where), image_id)
        if other != image_id:
            problem = f"the images {shown(other, 80)} and {shown(image_id, 80)} have the same key {shown(key, 80)}"
            raise InputError(where, problem, "Set image_key={image_id}")
        return key


def _have_names(records: list[Any]) -> bool:
    """Whether images have names instead of COCO's numbers."""
    return any(isinstance(record, dict) and isinstance(record.get("image_id"), str) for record in records)


def _name_of(image_id: str) -> str:
    """An image's name without the folders and the ending of its file."""
    name = PurePosixPath(image_id)
    return name.stem if name.suffix.lower() in IMAGE_ENDINGS else name.name


def _answers(annotation: dict[str, Any], image_id: int | str, where: str, options: Options) -> dict[str, Any]:
    if annotation.get("image_id") != image_id:
        problem = f"image_id is {shown(annotation.get('image_id'))}, but {shown(image_id)} among the questions"
        raise InputError(where, problem, "Give questions and annotations of the same split")
    texts = [sys.intern(text) for text in _answer_texts(annotation, where)]
    if options.num_answers is not None and len(texts) != options.num_answers:
        raise InputError(
            where,
            f"has {len(texts)} answers, not {options.num_answers}",
            "Get the file again from its source, or set num_answers=any for data of your own",
        )
    if not texts:
        raise InputError(where, "has no answers", "Remove the annotation of a question without answers")
    # Data of one's own may not have them; what is there is checked.
    names = [name for name in _KINDS if name in annotation]
    kinds: dict[str, Any] = {name: sys.intern(text_of(annotation, name, where)) for name in names}
    check_record(annotation, where)
    return {"answers": texts, **kinds}


def _answer_texts(annotation: dict[str, Any], where: str) -> list[str]:
    given = annotation.get("answers")
    if not isinstance(given, list):
        return []
    remedy = "Mend or remove the annotation"
    if len(given) > MAX_ANSWERS:
        raise InputError(where, f"has {len(given):,} answers, more than {MAX_ANSWERS:,}", remedy)
    texts = (answer.get("answer") if isinstance(answer, dict) else answer for answer in given)
    return [_usable_text(text, f"answers[{number}]", where, remedy) for number, text in enumerate(texts)]


def _most_frequent_answer(annotation: Any, where: str) -> str:
    check_object(annotation, where)
    if "question_id" in annotation:
        where = f"{where.rpartition(', ')[0]}, question {shown(annotation['question_id'])}"
    if "multiple_choice_answer" not in annotation:
        texts = _answer_texts(annotation, where)
        if not texts:
            raise InputError(where, "has neither multiple_choice_answer nor answers", GET_AGAIN)
        return Counter(texts).most_common(1)[0][0]
    return _usable_text(annotation["multiple_choice_answer"], "multiple_choice_answer", where, GET_AGAIN)


def _usable_text(text: Any, name: str, where: str, remedy: str) -> str:
    """A text, which may be empty; else an InputError."""
    problem = text_problem(text) if isinstance(text, str) else f"is {shown(text)}, not a text"
    if problem:
        raise InputError(where, f"{name} {problem}", remedy)
    return str(text)


def _by_question(path: Path | None, sieve: Sieve) -> dict[int, dict[str, Any]]:
    if path is None:
        return {}
    annotations: dict[int, dict[str, Any]] = {}
    for number, record in enumerate(list_in(read_json_object(path), "annotations", path)):
        where = f"{path}, annotation number {number}"
        try:
            check_object(record, where)
            question_id = number_of(record, "question_id", where)
            if question_id in annotations:
                where = f"{path}, question {question_id}"
                raise InputError(where, f"question_id {question_id} is there twice", "Remove one of the two")
        except InputError as error:
            sieve.leave_out(error)
        else:
            annotations[question_id] = record
    return annotations


def _images_name(subset: Any, path: Path) -> str:
    """What COCO's file names say about the set of images that a file of questions is about: ``val2014``."""
    parts = _SUBSET.fullmatch(subset) if isinstance(subset, str) else None
    if parts is None:
        raise InputError(
            str(path),
            f"data_subtype is {shown(subset)}, which does not tell the names of the images",
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
    with publish_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=True)
