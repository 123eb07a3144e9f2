"""VQA's soft targets and accuracies over the answer vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.datasets.tasks.vqa2.answers import soft_scores, vqa_accuracy
from mmf_muvla.datasets.tasks.vqa2.dataset import AnswerVocabulary, read_answers
from mmf_muvla.errors import InputError
from tests.datasets.small_tasks import ANSWERS, make, records

TEN = ["yes"] * 4 + ["no"] * 3 + ["two"] * 2 + ["a red car"]


def test_accuracies_are_the_benchmarks_for_every_answer_of_the_vocabulary() -> None:
    vocabulary = AnswerVocabulary(["yes", "no", "2", "red car", "Red Car!", "dog"])
    expected = [vqa_accuracy(answer, TEN) for answer in vocabulary.answers]
    assert vocabulary.accuracies(TEN).tolist() == pytest.approx(expected)
    # By hand: four of ten are 1; three are 0.9; two are 0.6, one is 0.3, after "two" became "2" and "a" vanished.
    assert expected == pytest.approx([1.0, 0.9, 0.6, 0.3, 0.3, 0.0])


def test_soft_targets_are_the_soft_scores_of_the_annotators() -> None:
    vocabulary = AnswerVocabulary(["dog", "red car", "no", "2", "yes"])
    scores = soft_scores(TEN)
    targets = dict(zip(vocabulary.answers, vocabulary.soft_targets(TEN).tolist(), strict=True))
    assert targets["yes"] == 1 and targets["dog"] == 0
    for answer in ("no", "2", "red car"):
        assert targets[answer] == pytest.approx(scores[answer])
    assert AnswerVocabulary(["cat"]).soft_targets(TEN).tolist() == [0.0]


def test_unanimous_answers_reach_the_vocabularys_form_in_training() -> None:
    assert AnswerVocabulary(["red car"]).soft_targets(["the red car"] * 10).tolist() == [1.0]


def test_nobody_asked_means_zeros() -> None:
    vocabulary = AnswerVocabulary(ANSWERS)
    assert not vocabulary.soft_targets(()).any() and not vocabulary.accuracies(()).any()


def test_kinds_of_questions(tmp_path: Path) -> None:
    answers = [["yes"] * 10, ["2"] * 10, ["red car"] * 10, ["yes"] * 10]
    entries = [{**entry, "answers": theirs} for entry, theirs in zip(records("vqa2"), answers, strict=False)]
    entries[3]["answer_type"] = "other"  # what the annotations say goes before what the answers look like
    batch = make(tmp_path, "vqa2", entries).__getitems__(range(4))
    assert batch["question_kind"].tolist() == [0, 1, 2, 2]
    assert batch["question_id"].tolist() == [100, 101, 102, 103]


def test_an_answer_vocabulary_is_checked(tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text("yes\nno\nyes\n")
    with pytest.raises(InputError, match="the answer 'yes' stands there twice"):
        read_answers(tmp_path / "answers.txt")
    with pytest.raises(InputError, match="no such answer vocabulary"):
        read_answers(tmp_path / "gone.txt")
