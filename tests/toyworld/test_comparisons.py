"""Sentences about two pictures are judged rightly, and neither sentence nor pictures decide alone."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from mmf_muvla.toyworld.blind import image_accuracies, shown, text_accuracies
from mmf_muvla.toyworld.comparisons import KINDS, Comparison, compare, tell
from mmf_muvla.toyworld.scenes import Scene, SceneObject
from mmf_muvla.toyworld.tasks import Tasks
from mmf_muvla.toyworld.vocabulary import COLOURS, THEMES
from mmf_muvla.toyworld.wording import NUMBER_WORDS
from tests.toyworld.baselines import categories_in

SIZES = {"train": 2160, "val": 600, "test": 1200}
SENTENCES = {"train": 18, "val": 6, "test": 6}  # of each set


def swap_sides(sentence: str) -> str:
    """The sentence with "left" and "right" exchanged: it says of swapped pictures what the sentence said before."""
    return re.sub(r"\b(left|right)\b", lambda found: {"left": "right", "right": "left"}[found.group()], sentence)


def kitchen(*things: str) -> Scene:
    """A scene of things like "red apple"; where they are does not matter."""
    objects = tuple(
        SceneObject(category, colour, None, (0.0, 0.0, 9.0, 9.0)) for colour, category in (it.split() for it in things)
    )
    return Scene("1", "kitchen", 640, 480, objects)


def matching(part: str, scene: Scene) -> int:
    """How many objects a noun phrase fits."""
    (category,) = categories_in(part)
    colours = [word for word in part.split() if word in COLOURS]
    return sum(it.category == category and it.colour in (colours or COLOURS) for it in scene.objects)


def is_true(sentence: str, left: Scene, right: Scene) -> bool:
    """Read a sentence again, and hold it against the pictures."""
    sides = {"left": left, "right": right}
    if found := re.fullmatch(r"there is something (\w+) in both pictures", sentence):
        return all(any(it.colour == found[1] for it in scene.objects) for scene in sides.values())
    if found := re.fullmatch(r"there is (.*) in both pictures", sentence):
        return all(matching(found[1], scene) for scene in sides.values())
    if found := re.fullmatch(r"only one of the pictures shows (.*)", sentence):
        return bool(matching(found[1], left)) != bool(matching(found[1], right))
    if found := re.fullmatch(r"neither picture shows (.*)", sentence):
        return not matching(found[1], left) and not matching(found[1], right)
    if found := re.fullmatch(r"there are (\w+) (\w+) in the two pictures together", sentence):
        return NUMBER_WORDS.index(found[1]) == matching(found[2], left) + matching(found[2], right)
    if found := re.fullmatch(r"the (\w+) picture shows more (\w+) than the (\w+) one", sentence):
        return matching(found[2], sides[found[1]]) > matching(found[2], sides[found[3]])
    if found := re.fullmatch(r"the (\w+) picture shows (.*) and the (\w+) one shows (.*)", sentence):
        return bool(matching(found[2], sides[found[1]]) and matching(found[4], sides[found[3]]))
    if found := re.fullmatch(r"the (\w+) picture shows (.*)", sentence):
        return bool(matching(found[2], sides[found[1]]))
    found = re.fullmatch(r"the (\w+) in the (\w+) picture (?:is|wears) (\w+)", sentence)
    assert found, sentence
    assert matching(found[1], sides[found[2]]) < 2, sentence
    return bool(matching(f"{found[3]} {found[1]}", sides[found[2]]))


LEFT, RIGHT = kitchen("red apple", "red apple", "brown table"), kitchen("red apple", "yellow banana", "red table")
TRUTHS = {
    "there is an apple in both pictures": True,
    "there is a banana in both pictures": False,
    "there is a brown table in both pictures": False,
    "only one of the pictures shows a banana": True,
    "only one of the pictures shows an apple": False,
    "only one of the pictures shows a red table": True,
    "neither picture shows a banana": False,
    "neither picture shows a blue banana": True,
    "there are three apples in the two pictures together": True,
    "there are two apples in the two pictures together": False,
    "there is something red in both pictures": True,
    "there is something yellow in both pictures": False,
    "the right picture shows a banana": True,
    "the left picture shows a banana": False,
    "the left picture shows a red table": False,
    "the left picture shows more apples than the right one": True,
    "the right picture shows more apples than the left one": False,
    "the left picture shows more tables than the right one": False,
    "the table in the left picture is brown": True,
    "the table in the right picture is brown": False,
    "the banana in the left picture is yellow": False,
    "the apple in the right picture is red": True,
}


@pytest.mark.parametrize(("sentence", "truth"), TRUTHS.items())
def test_truths_of_hand_made_pictures(sentence, truth):
    # The colours that are spoken of are drawn anew each time.
    times = (tell(random.Random(seed), THEMES["kitchen"], [(LEFT, RIGHT)]) for seed in range(100))
    told = {it.labels for all_told in times for it in all_told if it.text == sentence}
    assert told == {(int(truth),)}
    assert is_true(sentence, LEFT, RIGHT) is truth


def test_one_thing_on_each_side():
    told = [it for it in tell(random.Random(0), THEMES["kitchen"], [(LEFT, RIGHT)]) if it.kind == "each side"]
    assert len(told) == 2 * len(THEMES["kitchen"].categories)
    found = {it.text: bool(it.labels[0]) for it in told}
    assert found == {text: is_true(text, LEFT, RIGHT) for text in found}
    sentence = "the left picture shows {} and the right one shows {}"
    assert is_true(sentence.format("an apple", "a banana"), LEFT, RIGHT)
    assert not is_true(sentence.format("a banana", "an apple"), LEFT, RIGHT)


def test_the_one_of_several_is_never_told():
    told = tell(random.Random(0), THEMES["kitchen"], [(LEFT, RIGHT)])
    assert not any(it.text.startswith("the apple in the left picture") for it in told)


@pytest.mark.parametrize(
    ("sentence", "swapped"),
    [
        ("the left picture shows more cars than the right one", "the right picture shows more cars than the left one"),
        ("the chair in the right picture is blue", "the chair in the left picture is blue"),
        ("only one of the pictures shows a bright cup", "only one of the pictures shows a bright cup"),
    ],
)
def test_sides_are_swapped_in_words(sentence, swapped):
    assert swap_sides(sentence) == swapped
    assert swap_sides(swapped) == sentence


def pair_of(comparison: Comparison, scene_of: dict[str, Scene]) -> tuple[Scene, Scene]:
    return scene_of[f"{comparison.pair}-img0"], scene_of[f"{comparison.pair}-img1"]


def test_every_sentence_is_judged_rightly_also_if_all_is_swapped(tasks: Tasks, scene_of):
    for comparisons in tasks.comparisons.values():
        for it in comparisons:
            left, right = pair_of(it, scene_of)
            assert is_true(it.sentence, left, right) is it.label, it
            assert is_true(swap_sides(it.sentence), right, left) is it.label, it


def test_some_kinds_depend_on_the_order_and_some_do_not(tasks: Tasks):
    ordered = {it.kind for it in tasks.comparisons["train"] if swap_sides(it.sentence) != it.sentence}
    unordered = {it.kind for it in tasks.comparisons["train"] if swap_sides(it.sentence) == it.sentence}
    assert ordered == {"side", "each side", "more", "colour"}
    assert ordered | unordered == set(KINDS) and not ordered & unordered


def test_kinds_are_about_even(tasks: Tasks):
    for split, ratio in (("train", 6), ("val", 2.5), ("test", 2.5)):  # so many sentences of a set use up its rare kinds
        counts = Counter(it.kind for it in tasks.comparisons[split])
        assert set(counts) == set(KINDS)
        assert max(counts.values()) < ratio * min(counts.values()), counts


@pytest.mark.parametrize("split", SIZES)
def test_sets_are_four_pairs_with_their_sentences(tasks: Tasks, scene_of, split):
    comparisons = tasks.comparisons[split]
    assert len(comparisons) == SIZES[split]
    sets: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for it in comparisons:
        name, number, pair, sentence = it.identifier.split("-")
        assert name == split
        sets[number][sentence].add(pair)
        assert {scene.theme for scene in pair_of(it, scene_of)} <= set(THEMES)
    assert set(sets) == {str(number) for number in range(SIZES[split] // (4 * SENTENCES[split]))}
    for sentences in sets.values():
        assert set(sentences) == set(map(str, range(SENTENCES[split])))
        assert all(pairs == set("0123") for pairs in sentences.values())
    assert len({it.identifier for it in comparisons}) == len(comparisons)


@pytest.mark.parametrize("split", SIZES)
def test_every_sentence_and_every_pair_is_true_as_often_as_false(tasks: Tasks, split):
    for key in ("sentence", "pair"):
        truths: dict[str, list[bool]] = defaultdict(list)
        for it in tasks.comparisons[split]:
            truths[getattr(it, key)].append(it.label)
        assert len(truths) > 20
        assert all(sum(found) * 2 == len(found) for found in truths.values())


def test_neither_the_sentence_nor_the_pictures_decide(tasks: Tasks, scene_of):
    train, test = tasks.comparisons["train"], tasks.comparisons["test"]
    labels = [str(it.label) for it in train], [str(it.label) for it in test]
    sentences = [it.sentence for it in train], [it.sentence for it in test]
    found = text_accuracies((sentences[0], labels[0]), (sentences[1], labels[1]))
    for sides in ([0], [1], [0, 1]):
        pictures = [
            [shown((f"{side} ", pair_of(it, scene_of)[side]) for side in sides) for it in part]
            for part in (train, test)
        ]
        found |= {
            f"{name} {sides}": accuracy
            for name, accuracy in image_accuracies((pictures[0], labels[0]), (pictures[1], labels[1])).items()
        }
    # Every sentence and every pair is balanced in the test split too, so that a guess is right exactly half the time.
    assert found == dict.fromkeys(found, pytest.approx(0.5, abs=1e-9))


def test_equal_seeds_make_equal_sets():
    assert compare(random.Random(3), "val", 48, 6, 0.8) == compare(random.Random(3), "val", 71, 6, 0.8)
    assert compare(random.Random(3), "val", 48, 6, 0.8) != compare(random.Random(4), "val", 48, 6, 0.8)
