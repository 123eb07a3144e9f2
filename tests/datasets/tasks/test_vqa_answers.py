"""The benchmark's rules for answers; every expected value is worked out by hand from what its evaluation does."""

from __future__ import annotations

import itertools

import pytest

from mmf_muvla.datasets.tasks.vqa2.answers import (
    answer_vocabulary,
    normalize_answer,
    question_kind,
    soft_scores,
    vqa_accuracy,
)
from mmf_muvla.errors import InputError

NORMALIZED = {
    # case, blanks
    "Yes": "yes",
    "  black\tand\nwhite ": "black and white",
    # articles
    "the dog": "dog",
    "An apple a day": "apple day",
    "the": "",
    "theater": "theater",
    # number words up to ten
    "Two": "2",
    "none": "0",
    "zero": "0",
    "ten": "10",
    "eleven": "eleven",
    "one of ten": "1 of 10",
    # punctuation becomes a blank, or vanishes if it stands next to a blank anywhere
    "t-shirt": "t shirt",
    "black/white": "black white",
    "black / white": "black white",
    "t-shirt - blue": "tshirt blue",
    "red, white-blue": "red white blue",
    "red,white": "red white",
    "what?": "what",
    '"stop"': "stop",
    "it's": "it's",
    # a comma between two digits makes all punctuation vanish
    "1,000": "1000",
    "1,000-2,000": "10002000",
    "1,,2": "1 2",
    # periods stay only in front of a digit
    "3.5": "3.5",
    "$.50": "$.50",
    "5.": "5",
    "a.m.": "am",
    "st. louis": "st louis",
    "." * 32 + "x": "x",
    "." * 33 + "x": ".x",
    # one missing apostrophe
    "dont": "don't",
    "don't know": "don't know",
    "Cant": "can't",
    "couldn'tve": "couldn't've",
    "couldnt've": "couldn't've",
    "couldntve": "couldntve",
    "oclock": "o'clock",
    "ow's'at": "'ow's'at",
    "somebody'd": "somebodyd",
    "well": "well",
}


@pytest.mark.parametrize("answer", NORMALIZED)
def test_normalized(answer: str) -> None:
    assert normalize_answer(answer) == NORMALIZED[answer]


@pytest.mark.parametrize(("count", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_accuracy_is_the_mean_over_annotators_left_out(count: int, accuracy: float) -> None:
    annotators = ["red"] * count + ["blue"] * (10 - count)
    assert vqa_accuracy("red", annotators) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("total", "accuracies"),
    [
        (1, [0, 1]),
        (2, [0, 1 / 2, 1]),
        (3, [0, 1 / 3, 2 / 3, 1]),
        # Of four, two say red: left out in turn they leave 1, 1, 2 and 2 others who say so: (1 + 1 + 2 + 2) / 3 / 4.
        (4, [0, 1 / 4, 1 / 2, 3 / 4, 1]),
        # Of five, two: 1, 1, 2, 2, 2; three: 2, 2, 2, 3, 3.
        (5, [0, 4 / 15, 8 / 15, 12 / 15, 1, 1]),
    ],
)
def test_accuracy_with_another_number_of_annotators(total: int, accuracies: list[float]) -> None:
    found = [vqa_accuracy("red", ["red"] * count + ["blue"] * (total - count)) for count in range(total + 1)]
    assert found == pytest.approx(accuracies)
    with pytest.raises(ValueError, match="annotator"):
        vqa_accuracy("red", [])


@pytest.mark.parametrize("total", [1, 3, 5, 11])
def test_answers_of_another_number_of_annotators_are_always_normalised(total: int) -> None:
    annotators = ["The T-shirt."] * total
    assert vqa_accuracy("t shirt", annotators) == 1.0
    assert soft_scores(annotators) == {"t shirt": 1.0}


def test_answers_are_normalised_where_annotators_differ() -> None:
    annotators = ["T-shirt"] * 3 + ["the shirt"] * 3 + ["two"] * 4
    assert vqa_accuracy("t shirt", annotators) == pytest.approx(0.9)
    assert vqa_accuracy("Shirt.", annotators) == pytest.approx(0.9)
    assert vqa_accuracy("2", annotators) == 1.0
    # Different spellings of one answer are different: these annotators are not unanimous.
    assert vqa_accuracy("yes", ["Yes"] * 5 + ["yes"] * 5) == 1.0


def test_answers_are_taken_to_the_letter_where_annotators_agree() -> None:
    annotators = ["T-shirt"] * 9 + [" T-shirt\n"]
    assert vqa_accuracy("T-shirt\t", annotators) == 1.0
    assert vqa_accuracy("t shirt", annotators) == 0.0
    assert vqa_accuracy("yes.", ["yes"] * 10) == 0.0


def test_soft_scores_are_the_accuracies() -> None:
    annotators = ["Two", "2", "2", "three", "a dog", "the dog"] + ["many"] * 4
    scores = soft_scores(annotators)
    assert scores == pytest.approx({"2": 0.9, "3": 0.3, "dog": 0.6, "many": 1.0})
    assert scores == {answer: vqa_accuracy(answer, annotators) for answer in scores}
    assert soft_scores(["T-shirt"] * 10) == {"T-shirt": 1.0}
    assert soft_scores([]) == {}


def test_vocabulary() -> None:
    answers = ["yes"] * 8 + ["Yes."] + ["2"] * 5 + ["two"] * 5 + ["cat"] * 8 + ["a"] * 9 + ["bird"] * 9
    assert answer_vocabulary(answers) == ["2", "", "bird", "yes"]
    assert answer_vocabulary(answers, min_occurrences=10) == ["2"]
    assert answer_vocabulary(answers, min_occurrences=8) == ["2", "", "bird", "yes", "cat"]
    with pytest.raises(InputError, match="none of 5 different answers is that of 11"):
        answer_vocabulary(answers, min_occurrences=11)


def test_question_kind() -> None:
    for kind in ("yes/no", "number", "other"):
        assert question_kind(kind, ["red"] * 10) == kind
    assert question_kind(None, ["Yes."] * 6 + ["2"] * 4) == "yes/no"
    assert question_kind(None, ["two"] * 6 + ["yes"] * 4) == "number"
    assert question_kind("exists", ["3.5"] * 10) == "number"
    assert question_kind(None, ["red"] * 10) == "other"
    assert question_kind(None) == "other"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_agrees_with_mmf() -> None:
    processors = pytest.importorskip("mmf.datasets.processors.processors")
    reference = processors.EvalAIAnswerProcessor()
    for typed, right in reference.CONTRACTIONS.items():
        # Words are made small before they are looked up, so that those with capitals are never found.
        assert normalize_answer(typed) == (right if typed.islower() else typed.lower())
    pieces = ["The", "a", "Two", "none", "dont", "1,000", "t-shirt", "5.", ".5", "a.m.", "x/y", "x /y", "(x", "é", "?"]
    for parts in itertools.product(pieces, pieces, ["", " ", "_"]):
        answer = parts[0] + parts[2] + parts[1]
        assert normalize_answer(answer) == reference.process_digit_article(reference.process_punctuation(answer))
