"""Questions about scenes, balanced so that a question's words say nothing about its answer.

Every candidate question of all scenes is written down first; then questions are chosen under one rule per kind:

* yes or no: every question text is used as often with yes as with no;
* otherwise: of one text, no answer is used more than once more than any other answer that its kind knows, and over
  the whole kind the rarest answer goes first.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.scenes import Scene, SceneObject, is_left_of, is_on, is_right_of, objects_by_category
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, THEMES
from mmf_muvla.toyworld.wording import choose_noun, has_colour, is_person, with_article

KIND_SHARES = {"exists": 0.24, "attribute": 0.16, "colour": 0.24, "count": 0.12, "relation": 0.12, "object": 0.12}

_ANSWERS = {
    "exists": ("yes", "no"),
    "attribute": ("yes", "no"),
    "colour": COLOURS,
    "count": ("1", "2", "3", "4"),
    "relation": tuple(CATEGORIES),
    "object": tuple(CATEGORIES),
}
_NO_YES = ("no", "yes")
_ANNOTATORS = 10
_SYNONYM_SHARE = 0.5
_SLIP_PROBABILITY = 0.03


@dataclass(frozen=True)
class Question:
    """A question about one image, with its true answer."""

    kind: str
    text: str
    answer: str
    image_id: str

    def to_record(self, number: int, answers: list[str]) -> dict[str, Any]:
        """The entry of VQA's annotation files for MMF; ``answers`` are those of ten people."""
        return {
            "question_id": number,
            "question_str": self.text,
            "question_tokens": self.text.replace("?", "").split(),
            "question_type": self.kind,
            "image_id": self.image_id,
            "image_name": self.image_id,
            "feature_path": f"{self.image_id}.npy",
            "answers": answers,
            "all_answers": list(answers),
        }


def all_answers() -> tuple[str, ...]:
    """Every answer that a question can have, in a fixed order."""
    return tuple(dict.fromkeys(answer for answers in _ANSWERS.values() for answer in answers))


def ask(rng: random.Random, scenes: list[Scene], count: int) -> list[Question]:
    """Choose ``count`` balanced questions about the scenes, in random order, their kinds by :data:`KIND_SHARES`.

    Raises:
        InputError: the scenes do not offer enough balanced questions.
    """
    candidates = [Question(*it, scene.image_id) for scene in scenes for it in _candidates(rng, scene)]
    chosen: list[Question] = []
    for kind, share in KIND_SHARES.items():
        # What rounding leaves over goes to the last kind.
        wanted = count - len(chosen) if kind == list(KIND_SHARES)[-1] else 2 * round(share * count / 2)
        of_kind = [question for question in candidates if question.kind == kind]
        answers = _ANSWERS[kind]
        if answers == ("yes", "no"):
            found = _choose_pairs(rng, of_kind, wanted)
        else:
            found = _choose_evenly(rng, of_kind, wanted, answers)
        if len(found) < wanted:
            problem = f"only {len(found)} of {wanted} balanced questions of the kind '{kind}' can be asked"
            where, remedy = f"{count} questions on {len(scenes)} scenes", "Ask fewer questions or make more scenes"
            raise InputError(where, problem, remedy)
        chosen += found
    rng.shuffle(chosen)
    return chosen


def annotator_answers(rng: random.Random, question: Question) -> list[str]:
    """Answers of ten people: nearly always the truth, now and then a slip to another answer of the kind."""
    answers = [question.answer] * _ANNOTATORS
    for person in range(3):  # at least seven agree
        if rng.random() < _SLIP_PROBABILITY * _ANNOTATORS / 3:
            answers[person] = rng.choice([a for a in _ANSWERS[question.kind] if a != question.answer])
    rng.shuffle(answers)
    return answers


def _choose_pairs(rng: random.Random, candidates: list[Question], wanted: int) -> list[Question]:
    """Pairs of one text, once answered yes and once no, one pair of each text before the next round."""
    by_text: dict[str, dict[str, list[Question]]] = defaultdict(lambda: {"yes": [], "no": []})
    rng.shuffle(candidates)
    for question in candidates:
        by_text[question.text][question.answer].append(question)
    chosen: list[Question] = []
    texts = list(by_text)
    while texts and len(chosen) < wanted:
        rng.shuffle(texts)
        texts = [text for text in texts if by_text[text]["yes"] and by_text[text]["no"]]
        for text in texts[: (wanted - len(chosen)) // 2]:
            chosen += [by_text[text]["yes"].pop(), by_text[text]["no"].pop()]
    return chosen


def _choose_evenly(rng: random.Random, questions: list[Question], count: int, answers: Sequence[str]) -> list[Question]:
    """Questions whose answers are even over each text, and as even as can be over all."""
    used: dict[str, Counter[str]] = defaultdict(Counter)  # answers by text
    totals: Counter[str] = Counter()
    waiting: dict[str, list[Question]] = defaultdict(list)
    rng.shuffle(questions)
    for question in questions:
        waiting[question.answer].append(question)
    chosen: list[Question] = []

    def is_allowed(question: Question) -> bool:
        counts = used[question.text]
        return counts[question.answer] <= min(counts[answer] for answer in answers)

    while len(chosen) < count:
        rarest_first = sorted(answers, key=lambda answer: totals[answer])
        found = next((it for answer in rarest_first for it in waiting[answer] if is_allowed(it)), None)
        if found is None:
            break
        waiting[found.answer].remove(found)
        used[found.text][found.answer] += 1
        totals[found.answer] += 1
        chosen.append(found)
    return chosen


def _candidates(rng: random.Random, scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Kind, text and answer of everything that can be asked about one scene, each thing in one or two wordings."""
    crowds = objects_by_category(scene)
    for category in THEMES[scene.theme].categories:
        for _ in range(2):
            a = with_article(choose_noun(rng, category, _SYNONYM_SHARE).singular)
            text = rng.choice((f"is there {a}?", f"can you see {a}?", f"is {a} in the picture?"))
            yield "exists", text, _NO_YES[category in crowds]
    for category, crowd in crowds.items():
        plural = choose_noun(rng, category, _SYNONYM_SHARE).plural
        if str(len(crowd)) in _ANSWERS["count"]:
            yield "count", f"how many {plural} are there?", str(len(crowd))
        if len(crowd) == 1:
            yield from _about_one(rng, crowd[0], scene)
    yield from _which_object(scene)


def _about_one(rng: random.Random, it: SceneObject, scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Colour, attribute and relation questions about the only object of its category."""

    def the() -> str:
        return f"the {choose_noun(rng, it.category, _SYNONYM_SHARE).singular}"

    wearing = " wearing" if is_person(it.category) else ""
    yield "colour", f"what color is {the()}{wearing}?", it.colour
    for colour in COLOURS:
        yield "attribute", f"is {the()}{wearing} {colour}?", _NO_YES[colour == it.colour]
    # "under" is left out: so little is ever under things that the words would tell it
    for words, holds in (("to the left of", is_left_of), ("to the right of", is_right_of), ("on", is_on)):
        others = [other for other in scene.objects if other is not it and holds(other, it)]
        if len(others) == 1:
            yield "relation", f"what is {words} {the()}?", others[0].category


def _which_object(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Questions that a position or a colour leads to one object."""
    in_order = sorted(scene.objects, key=lambda o: o.centre_x)
    for words, outer, inner in (("left", in_order[0], in_order[1]), ("right", in_order[-1], in_order[-2])):
        if abs(outer.centre_x - inner.centre_x) > 0.05 * scene.width:
            yield "object", f"what is at the far {words}?", outer.category
    for colour in COLOURS:
        categories = [it.category for it in scene.objects if it.colour == colour]
        if len(categories) == 1:
            who = "who" if is_person(categories[0]) else "which thing"
            yield "object", f"{who} {has_colour(categories[0], colour)}?", categories[0]
