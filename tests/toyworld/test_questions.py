"""Questions are answered rightly, and their words alone say nearly nothing about the answers."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.blind import image_accuracies, majority, shown, text_accuracies
from mmf_muvla.toyworld.questions import KIND_SHARES, Question, all_answers, annotator_answers, ask
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.tasks import Tasks
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, synonym_words
from tests.toyworld.baselines import CATEGORY_OF, sampling_error


def make_scenes(seed: int, count: int) -> list[Scene]:
    return list(generate_scenes(random.Random(seed), count, 1, colour_habit=0.0, crowd_probability=0.8))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes(0, 300)


@pytest.fixture(scope="module")
def questions(scenes) -> list[Question]:
    return ask(random.Random(0), scenes, 1500)


@pytest.fixture(scope="module")
def test_questions_() -> list[Question]:
    return ask(random.Random(1), make_scenes(1, 200), 1000)


def of_kind(questions: list[Question], kind: str) -> list[Question]:
    return [question for question in questions if question.kind == kind]


def test_kinds_have_their_shares(questions):
    assert len(questions) == 1500
    for kind, share in KIND_SHARES.items():
        assert len(of_kind(questions, kind)) == pytest.approx(1500 * share, abs=2)


def right_answers(question: Question, scene: Scene) -> set[str]:
    """Work out a question's answers from its words and the boxes."""
    words = re.findall(r"[a-z]+", question.text)
    nouns = [CATEGORY_OF[word] for word in words if word in CATEGORY_OF]
    colours = [word for word in words if word in COLOURS]
    of_noun = [it for it in scene.objects if nouns and it.category == nouns[0]]
    if question.kind == "exists":
        return {"yes" if of_noun else "no"}
    if question.kind == "attribute":
        return {"yes" if it.colour == colours[0] else "no" for it in of_noun}
    if question.kind == "colour":
        return {it.colour for it in of_noun}
    if question.kind == "count":
        return {str(len(of_noun))}
    if question.kind == "object":
        if colours:
            return {it.category for it in scene.objects if it.colour == colours[0]}
        outermost = min if "left" in words else max
        return {outermost(scene.objects, key=lambda it: it.box[0] + it.box[2]).category}
    (it,) = of_noun
    x1, y1, x2, y2 = it.box
    middle = (x1 + x2) / 2
    others = [(o.category, o.box, (o.box[0] + o.box[2]) / 2) for o in scene.objects if o is not it]
    if "left" in words:
        return {name for name, box, x in others if x < middle and box[2] < x1 + 0.2 * min(x2 - x1, box[2] - box[0])}
    if "right" in words:
        return {name for name, box, x in others if x > middle and box[0] > x2 - 0.2 * min(x2 - x1, box[2] - box[0])}
    assert "on" in words
    return {name for name, box, x in others if x1 < x < x2 and abs(box[3] - y1) < 0.55 * (y2 - y1)}


def test_answers_are_right(questions, scenes):
    by_id = {scene.image_id: scene for scene in scenes}
    for question in questions:
        right = right_answers(question, by_id[question.image_id])
        if question.kind == "relation":
            assert question.answer in right, question
        else:
            assert right == {question.answer}, question


def test_every_yes_no_text_has_as_many_yes_as_no(questions):
    for kind in ("exists", "attribute"):
        answers = defaultdict(Counter)
        for question in of_kind(questions, kind):
            answers[question.text][question.answer] += 1
        assert all(counts["yes"] == counts["no"] for counts in answers.values())
        assert len(answers) > 50


def test_answers_of_every_other_text_are_even(questions):
    known = {
        "colour": COLOURS,
        "count": ("1", "2", "3", "4"),
        "relation": tuple(CATEGORIES),
        "object": tuple(CATEGORIES),
    }
    for kind, possible in known.items():
        answers = defaultdict(Counter)
        for question in of_kind(questions, kind):
            answers[question.text][question.answer] += 1
        for counts in answers.values():
            assert max(counts.values()) - min(counts[answer] for answer in possible) <= 1
    for kind, spread in (("colour", 2), ("count", 8)):
        totals = Counter(question.answer for question in of_kind(questions, kind))
        assert max(totals.values()) - min(totals.values()) <= spread


def test_question_only_baselines_stay_near_chance(questions, test_questions_):
    """The commonest answer to the same text, and a linear classifier on the words."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    limits = {"exists": 0.56, "attribute": 0.58, "colour": 0.19, "count": 0.34, "relation": 0.20, "object": 0.16}
    for kind, limit in limits.items():
        train, test = of_kind(questions, kind), of_kind(test_questions_, kind)
        counts = defaultdict(Counter)
        for question in train:
            counts[question.text][question.answer] += 1
        overall = Counter(question.answer for question in train)
        guesses = [(counts[q.text] or overall).most_common(1)[0][0] for q in test]
        majority = sum(guess == q.answer for guess, q in zip(guesses, test, strict=True)) / len(test)
        vectorizer = text.CountVectorizer(ngram_range=(1, 3))
        words = vectorizer.fit_transform([question.text for question in train])
        model = linear_model.LogisticRegression(max_iter=300).fit(words, [question.answer for question in train])
        linear = model.score(vectorizer.transform([q.text for q in test]), [q.answer for q in test])
        assert majority <= limit and linear <= limit, (kind, majority, linear)


def test_the_words_alone_are_worth_no_more_than_the_commonest_answer(tasks: Tasks):
    """For every kind of question, and for all together: which kind it is can be read from the question."""
    train, test = tasks.questions["train"], tasks.questions["test"]
    by_kind, by_words = 0.0, 0.0
    for kind in KIND_SHARES:
        parts = [of_kind(part, kind) for part in (train, test)]
        (texts, answers), (test_texts, test_answers) = [([q.text for q in p], [q.answer for q in p]) for p in parts]
        commonest = majority(answers, test_answers)
        best = max(text_accuracies((texts, answers), (test_texts, test_answers)).values())
        assert best <= commonest + 0.03 + sampling_error(best, len(test_texts)), (kind, commonest, best)
        by_kind += commonest * len(test_texts) / len(test)
        by_words += best * len(test_texts) / len(test)
    assert by_words <= by_kind + 0.03


def test_the_image_alone_is_worth_no_more_than_the_commonest_answer(tasks: Tasks, scene_of):
    train, test = tasks.questions["train"], tasks.questions["test"]
    answers = [q.answer for q in train], [q.answer for q in test]
    pictures = [[shown([("", scene_of[q.image_id])]) for q in part] for part in (train, test)]
    found = image_accuracies((pictures[0], answers[0]), (pictures[1], answers[1]))
    limit = majority(*answers) + 0.03
    assert max(found.values()) <= limit + sampling_error(limit, len(test)), (limit, found)


def test_questions_use_words_that_tags_never_use(questions):
    foreign = [bool(set(re.findall(r"[a-z]+", q.text)) & synonym_words()) for q in questions if q.kind != "object"]
    assert sum(foreign) / len(foreign) > 0.3


def test_too_many_questions_are_refused(scenes):
    with pytest.raises(InputError, match="balanced questions of the kind"):
        ask(random.Random(0), scenes[:5], 500)


def test_ten_annotators_mostly_agree(questions):
    rng = random.Random(0)
    slips = 0
    for question in questions:
        answers = annotator_answers(rng, question)
        assert len(answers) == 10
        assert Counter(answers).most_common(1)[0][0] == question.answer
        assert answers.count(question.answer) >= 7
        assert set(answers) <= set(all_answers())
        slips += 10 - answers.count(question.answer)
    assert 0.02 < slips / (10 * len(questions)) < 0.04


def test_equal_seeds_give_equal_questions(scenes, questions):
    assert ask(random.Random(0), scenes, 1500) == questions
