"""Questions of one's own in the form of VQA's files: their names, any number of answers, names as image ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmf_muvla.datasets.tasks.conversion.command import convert_command
from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.vqa2.converter import convert_vqa2
from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import load_npy_object
from tests.datasets.small_tasks import DIM, make, write_regions
from tests.datasets.tasks.test_command import rows
from tests.datasets.tasks.test_vqa2 import annotation, question, write_annotations, write_questions


def ok_vqa(question_id: int, image_id: Any, answers: list[str]) -> dict[str, Any]:
    """An annotation with the fields that OK-VQA's have: the most frequent answer is not among them."""
    given = [
        {"answer_id": n, "raw_answer": a + "s", "answer_confidence": "yes", "answer": a} for n, a in enumerate(answers)
    ]
    return {
        "image_id": image_id,
        "answer_type": "other",
        "question_type": "four",
        "question_id": question_id,
        "answers": given,
        "confidence": 3,
    }


def convert(source: Path, *options: str) -> Path:
    convert_command(["task=vqa2", f"source={source}", f"out={source / 'out'}", "min_occurrences=1", *options])
    return source / "out"


def entries_of(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = load_npy_object(path).tolist()
    return entries[1:]


def test_the_names_and_fields_of_ok_vqa(tmp_path: Path) -> None:
    for subset in ("train2014", "val2014"):
        first = 10 if subset == "train2014" else 20
        names = tmp_path / f"OpenEnded_mscoco_{subset}_questions.json", tmp_path / f"mscoco_{subset}_annotations.json"
        write_questions(names[0], [question(first, first), question(first + 1, first)], subset)
        answers = ["pony tail"] * 6 + ["braid"] * 4
        write_annotations(names[1], [ok_vqa(first, first, answers), ok_vqa(first + 1, first, answers[::-1])])
    out = convert(tmp_path)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["answers_vqa.txt", "imdb_train.npy", "imdb_val.npy"]
    assert (out / "answers_vqa.txt").read_text() == "<unk>\npony tail\n"
    entry = entries_of(out / "imdb_val.npy")[0]
    assert entry["feature_path"] == "COCO_val2014_000000000020.npy" and entry["answers"][5:7] == ["pony tail", "braid"]
    # Both generations of files in one folder: those with v2_ are meant.
    write_questions(tmp_path / "v2_OpenEnded_mscoco_test2015_questions.json", [question(1, 1)], "test2015")
    assert "imdb_test.npy" in [
        path.name for path in convert(tmp_path, f"out={tmp_path / 'second'}").parent.joinpath("second").iterdir()
    ]
    assert not (tmp_path / "second" / "imdb_train.npy").exists()


@pytest.mark.parametrize("number", [1, 3, 5, 10])
def test_any_number_of_answers_becomes_a_data_set_with_scores(number: int, tmp_path: Path) -> None:
    from mmf_muvla.datasets.tasks.vqa2.metric import VQAAccuracy

    answers = {1: ["The Dog."], 3: ["dog", "cat", "dog"], 5: ["dog"] * 4 + ["cat"], 10: ["dog"] * 9 + ["cat"]}[number]
    expected = {1: [1, 0], 3: [2 / 3, 1 / 3], 5: [1, 4 / 15], 10: [1, 0.3]}[number]
    write_regions(tmp_path / "regions", images=3)
    # Two of the images have names like files in folders, one has a number.
    ids = ["shop/0.jpg", "1.PNG", 2]
    write_questions(tmp_path / "mine.json", [question(n, image) for n, image in enumerate(ids)], None)
    plain = [{"question_id": n, "image_id": image, "answers": answers} for n, image in enumerate(ids)]
    write_annotations(tmp_path / "answers.json", plain)
    out = convert(
        tmp_path, "questions.train=mine.json", "annotations.train=answers.json", "image_key={name}",
        "on_bad_record=skip", f"image_ids={tmp_path / 'regions'}",
    )  # fmt: skip
    # A number needs COCO's name of the set, which a file of names does not have.
    assert len((out / "left_out.jsonl").read_text().splitlines()) == 1
    assert [entry["image_name"] for entry in entries_of(out / "imdb_train.npy")] == ["0", "1"]
    (out / "answers_vqa.txt").write_text("<unk>\ndog\ncat\n")
    dataset = make(
        tmp_path, "vqa2", annotations={"train": str(out / "imdb_train.npy")}, answers=str(out / "answers_vqa.txt")
    )
    batch = dataset.__getitems__([0, 1])
    assert batch["image_feature_0"].shape[-1] == DIM and batch["image_id"] == ["0", "1"]
    for field in ("targets", "answer_accuracy"):
        assert batch[field][0].tolist() == pytest.approx([0, *expected])
    scores = torch.eye(3)[[1, 2]]
    found = VQAAccuracy().calculate(batch, {"scores": scores})
    assert found.item() == pytest.approx(sum(expected) / 2)
    assert batch["question_kind"].tolist() == [2, 2]


def test_files_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_questions(
        tmp_path / "q.json", [question(1, "a/b/photo.one.jpeg"), question(2, "scene.1"), question(3, "scene.2")]
    )
    write_annotations(elsewhere / "a.json", [annotation(1, "a/b/photo.one.jpeg", ["red", "red"])])
    out = convert(tmp_path, "questions.val=q.json", f"annotations.val={elsewhere / 'a.json'}")
    entries = entries_of(out / "imdb_val.npy")
    assert [entry["image_name"] for entry in entries] == ["photo.one", "scene.1", "scene.2"]
    assert [entry.get("answers") for entry in entries] == [["red", "red"], None, None]
    assert rows(capsys.readouterr().out)["unlabelled"] == ["2"]
    out = convert(tmp_path, "questions.test=q.json", "image_key={image_id}", f"out={tmp_path / 'ids'}").parent / "ids"
    assert [path.name for path in out.glob("[!.]*")] == ["imdb_test.npy"]
    assert entries_of(out / "imdb_test.npy")[0]["feature_path"] == "a/b/photo.one.jpeg.npy"


def test_keys_with_folders_reach_the_data_set(tmp_path: Path) -> None:
    from mmf_muvla.datasets.tasks.vqa2.dataset import image_key

    write_questions(tmp_path / "q.json", [question(1, "a/one.jpg"), question(2, "b/one.jpg")])
    out = convert(tmp_path, "questions.test=q.json", "image_key={image_id}")
    keys = [image_key(entry, "here") for entry in entries_of(out / "imdb_test.npy")]
    assert keys == ["a/one.jpg", "b/one.jpg"]
    # MMF's own files name folders that are no part of the key.
    assert (
        image_key({"feature_path": "train2014/COCO_1.npy", "image_name": "COCO_1", "image_id": 1}, "here") == "COCO_1"
    )
    with pytest.raises(InputError, match="'a/one.jpg' and 'b/one.jpg' have the same key 'one'.*image_key={image_id}"):
        convert(tmp_path, "questions.test=q.json")


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([], "has no answers"),
        ("red", "has no answers"),
        (["red", 7], r"answers\[1\] is 7, not a text"),
        ([{"answer": "red"}, {"text": "blue"}], r"answers\[1\] is None, not a text"),
        (["x" * 20_000], r"answers\[0\] has 20,000 characters"),
        (["red"] * 1001, "has 1,001 answers, more than 1,000"),
    ],
)
def test_answers_that_cannot_be_used(answers: Any, problem: str, tmp_path: Path) -> None:
    write_questions(tmp_path / "q.json", [question(1, 1), question(2, 1)])
    bad, good = annotation(1, 1, ["red"]), annotation(2, 1, ["red"])
    write_annotations(tmp_path / "a.json", [{**bad, "answers": answers}, good])
    files = tmp_path / "q.json", tmp_path / "a.json", tmp_path / "imdb.npy"
    with pytest.raises(InputError, match=rf"a\.json, question 1: {problem}"):
        convert_vqa2(*files, "train", options=Options(num_answers=None))
    counts = convert_vqa2(*files, "train", options=Options(num_answers=None, on_bad_record="skip"))
    assert (counts.written, counts.bad_records) == (1, 1)


@pytest.mark.parametrize(("num_answers", "written"), [("any", 2), ("2", 1), ("3", 1), ("", None)])
def test_the_number_of_answers_can_be_said(num_answers: str, written: int | None, tmp_path: Path) -> None:
    write_questions(
        tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json", [question(1, 1), question(2, 1)], "train2014"
    )
    theirs = [annotation(1, 1, ["red"] * 2), annotation(2, 1, ["red"] * 3)]
    write_annotations(tmp_path / "v2_mscoco_train2014_annotations.json", theirs)
    options = ["on_bad_record=skip", f"num_answers={num_answers}"]
    if written is None:  # of the published files each question has ten
        with pytest.raises(InputError, match="none of its records"):
            convert(tmp_path, *options)
        with pytest.raises(InputError, match="has 2 answers, not 10. .*num_answers=any"):
            convert(tmp_path)
    else:
        assert len(entries_of(convert(tmp_path, *options) / "imdb_train.npy")) == written


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("annotations.val=a.json", "annotations.val=a.json: has no questions. .*questions.val="),
        ("questions.val=gone.json", "questions.val=gone.json: there is no file"),
        ("questions.dev=a.json", "unknown key 'questions.dev'. (Did you mean|Known keys)"),
        ("num_answers=0", "num_answers=0: is neither"),
        ("num_answers=ten", "num_answers=ten: is neither"),
    ],
)
def test_options_that_cannot_be_used(option: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"annotations": []}))
    with pytest.raises(InputError, match=message):
        convert(tmp_path, option)


def test_scores_of_ten_answers_are_unchanged_to_the_bit() -> None:
    from mmf_muvla.datasets.tasks.vqa2.dataset import AnswerVocabulary

    vocabulary = AnswerVocabulary(["red", "blue", "green"])
    # As the benchmark's evaluation adds up: nine or ten others, a third for each who agrees.
    for count in range(11):
        others = count - 1
        official = np.float32(((10 - count) * min(1.0, count / 3) + count * min(1.0, others / 3)) / 10)
        given = ["red"] * count + ["blue"] * (10 - count)
        assert vocabulary.accuracies(given)[0] == vocabulary.soft_targets(given)[0] == official
