"""VQA 2.0's published files become MMF's annotation arrays and answer vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.vqa2.converter import build_vocabulary, convert_vqa2
from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import load_npy_object


def question(question_id: int, image_id: int, text: str = "Is the man's hat red?") -> dict[str, Any]:
    return {"image_id": image_id, "question": text, "question_id": question_id}


def annotation(question_id: int, image_id: int, answers: list[str], kind: str = "other") -> dict[str, Any]:
    given = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number} for number, answer in enumerate(answers, 1)
    ]
    return {
        "question_type": "what is",
        "multiple_choice_answer": max(answers, key=answers.count),
        "answers": given,
        "image_id": image_id,
        "answer_type": kind,
        "question_id": question_id,
    }


def write_questions(path: Path, questions: list[Any], subset: Any = "val2014") -> Path:
    content = {
        "info": {"version": "2.0"},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {},
        "data_subtype": subset,
        "questions": questions,
    }
    path.write_text(json.dumps(content))
    return path


def write_annotations(path: Path, annotations: list[Any]) -> Path:
    path.write_text(json.dumps({"info": {}, "data_subtype": "val2014", "annotations": annotations}))
    return path


QUESTIONS = [question(42000, 42), question(42001, 42, "How many?"), question(7000, 7, "Why, then?")]
ANNOTATIONS = [
    annotation(42001, 42, ["2"] * 6 + ["two"] * 3 + ["3"], "number"),
    annotation(42000, 42, ["yes"] * 10, "yes/no"),
    annotation(7000, 7, ["Fun."] * 5 + ["joy"] * 5),
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_questions(tmp_path / "q.json", QUESTIONS), write_annotations(tmp_path / "a.json", ANNOTATIONS)


def test_the_array(files: tuple[Path, Path], tmp_path: Path) -> None:
    counts = convert_vqa2(*files, tmp_path / "imdb_val.npy", "val", ["yes", "2", "joy"])
    header, first, second, third = load_npy_object(tmp_path / "imdb_val.npy")
    assert header == {"version": 1, "dataset_name": "vqa2", "split": "val"}
    assert first == {
        "question_id": 42000,
        "question_str": "Is the man's hat red?",
        "question_tokens": ["is", "the", "man", "'s", "hat", "red"],
        "image_id": 42,
        "image_name": "COCO_val2014_000000000042",
        "feature_path": "COCO_val2014_000000000042.npy",
        "answers": ["yes"] * 10,
        "question_type": "what is",
        "answer_type": "yes/no",
    }
    assert (second["question_id"], second["answers"]) == (42001, ["2"] * 6 + ["two"] * 3 + ["3"])
    # As published: normalising is for who compares them.
    assert (third["question_id"], third["answers"]) == (7000, ["Fun."] * 5 + ["joy"] * 5)
    assert (counts.records, counts.written, counts.images, counts.unlabelled) == (3, 3, 2, 0)
    # "3" of the second question and "fun" of the third; every question has an answer inside.
    assert (counts.answers_outside, counts.questions_outside) == (2, 0)
    counts = convert_vqa2(*files, tmp_path / "imdb_val.npy", "val", ["yes"])
    assert (counts.answers_outside, counts.questions_outside) == (4, 2)


def test_mmf_reads_the_array(files: tuple[Path, Path], tmp_path: Path) -> None:
    database = pytest.importorskip("mmf.datasets.databases.annotation_database")
    convert_vqa2(*files, tmp_path / "imdb_val.npy", "val")
    entries = database.AnnotationDatabase(None, str(tmp_path / "imdb_val.npy"))
    assert [entries[number]["question_id"] for number in range(len(entries))] == [42000, 42001, 7000]


@pytest.mark.parametrize(
    ("subset", "template", "path"),
    [
        ("train2014", "{name}", "COCO_train2014_000000000042.npy"),
        ("test2015", "{name}", "COCO_test2015_000000000042.npy"),
        # Its images are files of the test set.
        ("test-dev2015", "{name}", "COCO_test2015_000000000042.npy"),
        (None, "{image_id}", "42.npy"),
        ("val2014", "COCO_x_{image_id:06d}", "COCO_x_000042.npy"),
    ],
)
def test_names_of_images(subset: Any, template: str, path: str, tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.json", [QUESTIONS[0]], subset)
    options = Options(image_ids={path.removesuffix(".npy")}, unknown_images="skip", image_key=template)
    counts = convert_vqa2(questions, None, tmp_path / "imdb.npy", "test", options=options)
    entry = load_npy_object(tmp_path / "imdb.npy")[1]
    assert entry["feature_path"] == path
    assert "answers" not in entry
    assert (counts.written, counts.unlabelled, counts.unknown_images) == (1, 1, 0)


def test_questions_without_annotation(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.json", QUESTIONS)
    annotations = write_annotations(tmp_path / "a.json", ANNOTATIONS[:2])
    counts = convert_vqa2(questions, annotations, tmp_path / "a.npy", "val", ["yes"])
    assert (counts.written, counts.unlabelled, counts.questions_outside) == (3, 1, 1)
    counts = convert_vqa2(questions, annotations, tmp_path / "b.npy", "val", options=Options(unlabelled="skip"))
    assert (counts.written, counts.unlabelled, counts.questions_outside) == (2, 1, 0)
    assert [entry.get("question_id") for entry in load_npy_object(tmp_path / "b.npy")] == [None, 42000, 42001]


BAD_QUESTIONS = {
    "question_id is 'a'": {"question_id": "a", "image_id": 1, "question": "What?"},
    "question_id is True": {"question_id": True, "image_id": 1, "question": "What?"},
    "image_id is -1": question(5, -1),
    "question is ' '": question(5, 1, " "),
    "question_id 42000 is there twice": question(42000, 42),
    "has 9 answers, not 10": question(6, 1),
    "has 0 answers, not 10": question(8, 1),
    "image_id is 1, but 2 among the questions": question(9, 2),
    "answer_type is None": question(10, 1),
}


@pytest.mark.parametrize("problem", BAD_QUESTIONS)
def test_bad_questions(problem: str, tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.json", [QUESTIONS[0], BAD_QUESTIONS[problem]])
    others = [annotation(6, 1, ["no"] * 9), annotation(9, 1, ["no"] * 10)]
    others += [annotation(8, 1, ["no"]) | {"answers": "no"}, annotation(10, 1, ["no"] * 10) | {"answer_type": None}]
    annotations = write_annotations(tmp_path / "a.json", ANNOTATIONS + others)
    with pytest.raises(InputError) as error:
        convert_vqa2(questions, annotations, tmp_path / "imdb.npy", "val")
    assert problem in error.value.problem
    assert str(tmp_path) in error.value.where and "question" in error.value.where
    assert not (tmp_path / "imdb.npy").exists()
    options = Options(on_bad_record="skip")
    counts = convert_vqa2(questions, annotations, tmp_path / "imdb.npy", "val", options=options)
    assert (counts.records, counts.written, counts.bad_records) == (2, 1, 1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"questions": [', "cannot be read as JSON"),
        (b"\xff\xfe\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "holds a list, not a JSON object"),
        (b'{"data_subtype": "val2014", "questions": {}}', "has no list 'questions'"),
        (b'{"data_subtype": "val2014", "questions": [3]}', "is 3, not an object"),
        (b'{"data_subtype": "val2014", "questions": []}', "none of its records"),
        (b'{"questions": []}', "data_subtype is None"),
    ],
)
def test_files_that_are_no_such_files(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        convert_vqa2(tmp_path / "q.json", None, tmp_path / "imdb.npy", "test")
    assert not (tmp_path / "imdb.npy").exists()


def test_annotations_that_are_there_twice(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.json", QUESTIONS)
    annotations = write_annotations(tmp_path / "a.json", [ANNOTATIONS[0], ANNOTATIONS[0]])
    with pytest.raises(InputError, match="question_id 42001 is there twice"):
        convert_vqa2(questions, annotations, tmp_path / "imdb.npy", "val")


@pytest.mark.parametrize("template", ["{nam}", "{0}", "{image_id[0]}", "{name:d}", "{name", "same"])
def test_image_keys_that_cannot_be_filled_in(template: str) -> None:
    with pytest.raises(InputError, match="image_key="):
        Options(image_key=template)


def test_vocabulary(tmp_path: Path) -> None:
    train = write_annotations(
        tmp_path / "t.json",
        [annotation(number, 1, ["Yes."] * 10) for number in range(3)]
        + [annotation(number, 1, ["the"] * 10) for number in range(3, 6)],
    )
    val = write_annotations(
        tmp_path / "v.json",
        [annotation(9, 1, ["yes"] * 10), annotation(10, 1, ["cat"] * 10), annotation(11, 1, ["cat"] * 10)],
    )
    answers = build_vocabulary([train, val], tmp_path / "answers_vqa.txt", Options(min_occurrences=2))
    assert answers == ["yes", "", "cat"]
    # The mark for an unknown answer is the line of the empty one.
    assert (tmp_path / "answers_vqa.txt").read_text() == "<unk>\nyes\ncat\n"
    with pytest.raises(InputError, match="Lower min_occurrences"):
        build_vocabulary([train, val], tmp_path / "none.txt")
    assert not (tmp_path / "none.txt").exists()


def test_mmf_reads_the_vocabulary(tmp_path: Path) -> None:
    text = pytest.importorskip("mmf.utils.text")
    annotations = write_annotations(tmp_path / "a.json", ANNOTATIONS)
    build_vocabulary([annotations], tmp_path / "answers_vqa.txt", Options(min_occurrences=1))
    vocabulary = text.VocabDict(str(tmp_path / "answers_vqa.txt"))
    assert vocabulary.word_list == ["<unk>", "2", "fun", "yes"]
    assert vocabulary.get_unk_index() == 0


def test_bad_answers_in_the_vocabulary(tmp_path: Path) -> None:
    broken = annotation(5, 1, ["no"] * 10) | {"multiple_choice_answer": None}
    annotations = write_annotations(tmp_path / "a.json", [*ANNOTATIONS, broken])
    with pytest.raises(InputError, match="question 5: multiple_choice_answer is None"):
        build_vocabulary([annotations], tmp_path / "x.txt", Options(min_occurrences=1))
    options = Options(min_occurrences=1, on_bad_record="skip")
    assert build_vocabulary([annotations], tmp_path / "x.txt", options) == ["2", "fun", "yes"]
