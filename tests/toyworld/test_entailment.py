"""Hypotheses are judged rightly, and neither the hypothesis nor the picture says anything alone."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.blind import image_accuracies, shown, text_accuracies
from mmf_muvla.toyworld.entailment import KINDS, LABELS, hypothesise, judge_all
from mmf_muvla.toyworld.scenes import Scene, SceneObject
from mmf_muvla.toyworld.tasks import Tasks
from mmf_muvla.toyworld.vocabulary import COLOURS
from tests.toyworld.baselines import categories_in, sampling_error

SIZES = {"train": 2700, "val": 594, "test": 1197}  # whole nines of 2700, 600 and 1200
CHANCE = 1 / 3


def judged(hypothesis: str, scene: Scene) -> str:
    """Read a hypothesis again, and hold it against the picture."""
    parts = re.split(r" and (?=.* (?:is|wears) )", hypothesis)
    if len(parts) == 2:
        labels = [judged(part, scene) for part in parts]
        return max(labels, key=LABELS.index)  # false before open before true
    categories = categories_in(hypothesis)
    crowds = [[it for it in scene.objects if it.category == category] for category in categories]
    assert all(len(crowd) < 2 for crowd in crowds), hypothesis
    if not all(crowds):
        return "neutral"
    return "entailment" if holds(hypothesis, [crowd[0] for crowd in crowds]) else "contradiction"


def holds(hypothesis: str, things: list[SceneObject]) -> bool:
    colours = [word for word in hypothesis.split() if word in COLOURS]
    if found := re.fullmatch(r"the \w+ is (small|large)", hypothesis):
        assert things[0].size is not None
        return things[0].size == found[1]
    if "same color" in hypothesis:
        return things[0].colour == things[1].colour
    if found := re.fullmatch(r"the \w+ is to the (left|right) of the \w+", hypothesis):
        (a, b) = (it.box for it in things)
        assert min(a[2] - b[0], b[2] - a[0]) < 0.2 * min(a[2] - a[0], b[2] - b[0])  # beside each other
        return (a[0] < b[0]) == (found[1] == "left")
    assert re.fullmatch(r"the \w+ (is|wears|is not|does not wear) \w+( or \w+)?", hypothesis), hypothesis
    return (things[0].colour in colours) != ("not" in hypothesis)


def scene(number: int, *things: SceneObject) -> Scene:
    return Scene(str(number), "kitchen", 640, 480, things)


def thing(category: str, colour: str, size: str | None = None, x: float = 0) -> SceneObject:
    return SceneObject(category, colour, size, (x, 100.0, x + 50, 150.0))


ONE = scene(1, thing("table", "brown", "large"), thing("apple", "red", x=200), thing("banana", "red", x=400))
TWO = scene(2, thing("table", "white", "small", x=300), thing("apple", "green", x=200), thing("cat", "black"))
THREE = scene(3, thing("apple", "red"), thing("apple", "blue"), thing("banana", "red", x=100))
E, N, C = range(3)


def told_of(*scenes: Scene) -> dict[str, tuple[int, ...]]:
    """Every hypothesis in every order of its parts, with its labels on the scenes."""
    return {it.text: it.labels for seed in range(12) for it in judge_all(random.Random(seed), scenes, {})}


JUDGEMENTS = {
    # judged on ONE and TWO
    "the table is brown": (E, C),
    "the banana is red": (E, N),
    "the table is not white": (E, C),
    "the apple is not red": (C, E),
    "the apple is not blue": (E, E),
    "the table is large": (E, C),
    "the table is small": (C, E),
    "the table is to the left of the apple": (E, C),
    "the apple is to the right of the table": (E, C),
    "the apple is to the left of the banana": (E, N),
}


@pytest.mark.parametrize(("hypothesis", "labels"), JUDGEMENTS.items())
def test_labels_of_hand_made_pictures(hypothesis, labels):
    assert told_of(ONE, TWO)[hypothesis] == labels
    assert tuple(LABELS.index(judged(hypothesis, it)) for it in (ONE, TWO)) == labels


@pytest.mark.parametrize(
    ("parts", "label"),
    [
        (("the table is brown", "the apple is red"), C),  # both in view in TWO, both false there
        (("the table is brown", "the banana is red"), C),  # no banana there, but the table is not brown
        (("the apple is red", "the banana is red"), C),
    ],
)
def test_one_false_part_makes_a_hypothesis_false(parts, label):
    told = told_of(ONE, TWO)
    assert told[" and ".join(parts)] == told[" and ".join(reversed(parts))] == (E, label)


def test_a_true_part_and_one_out_of_view_leave_it_open():
    brown_table_only = scene(4, thing("table", "brown"))
    assert told_of(ONE, brown_table_only)["the table is brown and the banana is red"] == (E, N)


def test_two_colours_are_one_or_the_other():
    told = told_of(ONE, TWO)
    assert told["the apple is red or green"] == told["the apple is green or red"] == (E, E)
    assert told["the apple is red or blue"] == (E, C)
    assert told["the banana is red or blue"] == (E, N)


def test_same_colours_are_seen_together_only():
    assert told_of(ONE, TWO)["the apple and the banana have the same color"] == (E, N)


def test_where_several_could_be_meant_nothing_is_said():
    told = told_of(ONE, THREE)
    assert told and not any("apple" in text for text in told)


def test_what_was_said_of_an_image_is_not_said_again():
    assert "the table is brown" in told_of(ONE, TWO)
    told = judge_all(random.Random(0), [ONE, TWO], {"2": {"the table is brown"}})
    assert "the table is brown" not in {it.text for it in told}


def test_things_of_no_special_size_are_not_called_large_or_small():
    assert "the table is large" not in told_of(ONE, scene(5, thing("table", "brown")))


def test_every_hypothesis_is_judged_rightly(tasks: Tasks, scene_of):
    for entailments in tasks.entailments.values():
        for it in entailments:
            assert judged(it.hypothesis, scene_of[it.image_id]) == it.label, it


@pytest.mark.parametrize("split", SIZES)
def test_every_hypothesis_and_every_image_has_every_label_as_often(tasks: Tasks, split):
    assert len(tasks.entailments[split]) == SIZES[split]
    for key in ("hypothesis", "image_id"):
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for it in tasks.entailments[split]:
            labels[getattr(it, key)][it.label] += 1
        assert len(labels) > 50
        assert all(len(set(counts.values())) == 1 and set(counts) == set(LABELS) for counts in labels.values())


def test_no_image_has_the_same_hypothesis_twice(tasks: Tasks):
    for entailments in tasks.entailments.values():
        assert len({(it.image_id, it.hypothesis) for it in entailments}) == len(entailments)


def test_every_kind_is_frequent_and_every_kind_of_label_in_it(tasks: Tasks):
    kinds = Counter(it.kind for it in tasks.entailments["train"])
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 0.05 * SIZES["train"], kinds
    for kind in KINDS:
        labels = Counter(it.label for it in tasks.entailments["train"] if it.kind == kind)
        assert len(set(labels.values())) == 1, (kind, labels)


def test_neither_the_hypothesis_nor_the_picture_decides(tasks: Tasks, scene_of):
    train, test = tasks.entailments["train"], tasks.entailments["test"]
    labels = [it.label for it in train], [it.label for it in test]
    texts = [it.hypothesis for it in train], [it.hypothesis for it in test]
    pictures = [[shown([("", scene_of[it.image_id])]) for it in part] for part in (train, test)]
    found = text_accuracies((texts[0], labels[0]), (texts[1], labels[1]))
    found |= image_accuracies((pictures[0], labels[0]), (pictures[1], labels[1]))
    # Both are balanced in the test split too, so that a guess is right exactly every third time.
    assert found == dict.fromkeys(found, pytest.approx(CHANCE, abs=1e-9))


def test_hypothesis_and_picture_decide_together(tasks: Tasks, scene_of):
    """What a reader of nouns can do: neutral if a noun's thing is not in view. So the labels do depend on both."""
    test = tasks.entailments["test"]
    seen = [{it.category for it in scene_of[e.image_id].objects} >= set(categories_in(e.hypothesis)) for e in test]
    right = sum((it.label != "neutral") == all_seen for it, all_seen in zip(test, seen, strict=True)) / len(test)
    assert right > 2 / 3 + 0.2 + sampling_error(2 / 3, len(test))


def test_too_many_hypotheses_are_refused(tasks: Tasks):
    with pytest.raises(InputError, match="balanced ones can be told"):
        hypothesise(random.Random(0), tasks.scenes["regions_tasks"][:30], 5000)


def test_equal_seeds_make_equal_hypotheses(tasks: Tasks):
    scenes = tasks.scenes["regions_tasks"][:200]
    assert hypothesise(random.Random(1), scenes, 90) == hypothesise(random.Random(1), scenes, 98)
    assert hypothesise(random.Random(1), scenes, 90) != hypothesise(random.Random(2), scenes, 90)
