"""Measures of matching, by hand, by comparing all pairs, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmf_muvla.report.matching_measures import (
    DIRECTIONS,
    Comparison,
    Group,
    Measured,
    by_chance,
    compare,
    difference,
    make_groups,
    matching_statistics,
    measure,
    ratio,
    resample,
)

ALL = Group(np.arange(4), 4)
# Row image, column caption.
SCORES = np.array([[3.0, 1.0, 2.0, 4.0], [0.0, 5.0, 5.0, 1.0], [2.0, 2.0, 2.0, 2.0], [-1.0, -2.0, -3.0, -4.0]])
OWN = np.eye(4, dtype=bool)


def values(scores: np.ndarray, own: np.ndarray, threshold: float | None = None) -> dict[str, float]:
    group = Group(np.arange(len(scores)), len(scores))
    statistics = matching_statistics(compare([group], [scores], [own]), len(scores), threshold)
    return {name: float(it(np.ones((1, len(scores))))[0]) for name, it in statistics.items()}


class TestGroups:
    def test_every_image_is_asked_for_once_among_as_many_candidates(self) -> None:
        groups = make_groups(25, 10, np.random.default_rng(0))
        assert [(len(it.images), it.num_queries) for it in groups] == [(10, 10), (10, 10), (10, 5)]
        assert sorted(np.concatenate([it.images[: it.num_queries] for it in groups]).tolist()) == list(range(25))
        assert all(len(set(it.images.tolist())) == 10 for it in groups)

    def test_what_fills_up_is_scored_with_those_that_are_asked_for_alone(self) -> None:
        pairs = {*zip(*(it.tolist() for it in Group(np.arange(3), 1).pairs()), strict=True)}
        assert pairs == {(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)}
        assert len(ALL.pairs()[0]) == 16

    def test_one_group_of_all(self) -> None:
        (group,) = make_groups(7, 7, np.random.default_rng(0))
        assert sorted(group.images.tolist()) == list(range(7)) and group.num_queries == 7


class TestByHand:
    def test_pair_accuracy(self) -> None:
        # Won of three: image 0: 2; image 1: 2 and a tie; image 2: three ties; image 3: 0.
        assert values(SCORES, OWN)["pair_accuracy"] == pytest.approx((2 + 2.5 + 1.5 + 0) / 12)

    def test_auc(self) -> None:
        truths = OWN.ravel()
        assert values(SCORES, OWN)["auc"] == pytest.approx(roc_auc_score(truths, SCORES.ravel()))

    def test_recall_with_ties(self) -> None:
        found = values(SCORES, OWN)
        # image 0 is second; image 1 first or second; image 2 at any of four places; image 3 last.
        assert found["image_to_text_r1"] == pytest.approx((0 + 1 / 2 + 1 / 4 + 0) / 4)
        # captions: 0 first; 1 first; image 1 is above the own one of caption 2, 0 equal; caption 3 has the lowest.
        assert found["text_to_image_r1"] == pytest.approx((1 + 1 + 0 + 0) / 4)
        assert not {"image_to_text_r5", "text_to_image_r10"} & set(found)

    def test_in_first(self) -> None:
        comparison = Comparison(1.0, np.array([2.0, 1.0, 1.0, 0.0]))
        assert [comparison.in_first(k) for k in (1, 2, 3, 4, 5)] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
        assert comparison.won() == 1 + 2 / 2

    def test_accuracy_at_a_threshold(self) -> None:
        # Above 1.5: own of images 0, 1, 2. Not above: of image 0 one of three, of 1 two, of 2 none, of 3 three.
        expected = (3 / 4 + (1 / 3 + 2 / 3 + 0 + 1) / 4) / 2
        assert values(SCORES, OWN, threshold=1.5)["accuracy"] == pytest.approx(expected)
        assert "accuracy" not in values(SCORES, OWN)

    def test_a_caption_that_is_also_its_own_is_no_competitor(self) -> None:
        own = OWN.copy()
        own[0, 3] = own[1, 2] = own[2, :] = True
        found = values(SCORES, own)
        # Image 0 wins two of two, image 1 two of two, image 3 none of three; image 2 has nothing to compare with.
        assert found["pair_accuracy"] == pytest.approx((1 + 1 + 0) / 3)
        others = ~own
        truths = np.r_[np.ones(4), np.zeros(others.sum())]
        assert found["auc"] == pytest.approx(roc_auc_score(truths, np.r_[SCORES.diagonal(), SCORES[others]]))

    def test_nothing_to_compare_with(self) -> None:
        statistics = matching_statistics(compare([ALL], [SCORES], [np.ones((4, 4), bool)]), 4)
        assert measure(statistics["pair_accuracy"], resample(4, 0)) is None
        assert measure(statistics["auc"], resample(4, 0)) is None


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_groups_and_images_gives_each_its_own(seed: int) -> None:
    """Scores that are known by image, in groups: every measure is that of single images by brute force."""
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 6, size=(25, 25)).astype(float)
    groups = make_groups(25, 10, rng)
    scores = [known[np.ix_(it.images, it.images)] for it in groups]
    found = compare(groups, scores, [np.eye(10, dtype=bool)] * 3)
    statistics = matching_statistics(found, 10)
    won, first, others = [], [], []
    for group in groups:
        for image in group.images[: group.num_queries]:
            rivals = known[image, group.images[group.images != image]]
            won.append(np.mean((rivals < known[image, image]) + (rivals == known[image, image]) / 2))
            others.append(rivals)
            rivals = known[group.images[group.images != image], image]
            orders = [rng.permutation(10) for _ in range(400)]
            ranks = [(np.r_[known[image, image], rivals] + 1e-6 * order).argmax() for order in orders]
            first.append(np.mean(np.array(ranks) == 0))
    everything = np.ones((1, 25))
    assert statistics["pair_accuracy"](everything)[0] == pytest.approx(np.mean(won))
    assert statistics["text_to_image_r1"](everything)[0] == pytest.approx(np.mean(first), abs=0.03)
    pooled = np.concatenate(others)
    auc = roc_auc_score(np.r_[np.ones(25), np.zeros(len(pooled))], np.r_[known.diagonal(), pooled])
    assert statistics["auc"](everything)[0] == pytest.approx(auc)


def test_weights_are_repetitions() -> None:
    """An image that is drawn twice counts as two images; that is what the interval's replicates are."""
    comparisons = compare([ALL], [SCORES], [OWN])
    counts = np.array([[2.0, 0.0, 1.0, 1.0]])
    repeated = {name: [of[i] for i in (0, 0, 2, 3)] for name, of in comparisons.items()}
    once = matching_statistics(comparisons, 4, threshold=1.5)
    twice = matching_statistics(repeated, 4, threshold=1.5)
    assert set(once) == {"pair_accuracy", "auc", "accuracy", *(f"{it}_r1" for it in DIRECTIONS)}
    for name in once:
        assert once[name](counts)[0] == pytest.approx(twice[name](np.ones((1, 4)))[0]), name


class TestIntervals:
    def test_they_are_those_of_the_seed(self) -> None:
        values = np.random.default_rng(0).random(50)
        statistic = ratio(values, np.ones(50))
        first = measure(statistic, resample(50, 3))
        assert first == measure(statistic, resample(50, 3)) != measure(statistic, resample(50, 4))

    def test_they_have_the_width_of_a_mean(self) -> None:
        values = np.random.default_rng(0).random(400)
        found = measure(ratio(values, np.ones(400)), resample(400, 0))
        error = values.std() / 20
        assert found is not None and found.value == pytest.approx(values.mean())
        assert (found.low, found.high) == pytest.approx(
            (found.value - 1.96 * error, found.value + 1.96 * error), abs=2e-3
        )

    def test_a_difference_is_taken_image_by_image(self) -> None:
        """Two measures that differ by as much in every image differ by that, without doubt."""
        values = np.random.default_rng(0).random(30)
        ones = np.ones(30)
        found = measure(difference(ratio(values + 0.25, ones), ratio(values, ones)), resample(30, 0))
        assert found is not None
        assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))

    def test_draws_without_anything_to_measure_are_passed_over(self) -> None:
        whole = np.array([1.0, 0.0, 0.0])
        assert measure(ratio(whole / 2, whole), resample(3, 0)) == Measured(0.5, 0.5, 0.5)


def test_guessing() -> None:
    assert by_chance("pair_accuracy", 100) == by_chance("auc", 100) == 0.5
    assert by_chance("text_to_image_r10", 40) == 0.25
    constant = values(np.zeros((20, 20)), np.eye(20, dtype=bool))
    assert constant == pytest.approx({name: by_chance(name, 20) for name in constant})
