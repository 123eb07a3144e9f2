"""Shares of attention by hand, and heads that are chosen on other images."""

from __future__ import annotations

import numpy as np
import pytest

from mmf_muvla.report.attention_measures import Targets, at_heads, best_heads, halves, shares_on


def test_shares_by_hand() -> None:
    # Two heads of one layer: the second looks at regions nine times as much.
    weights = np.array([[[0.05, 0.02, 0.03], [0.09, 0.81, 0.0]]], np.float32)
    shares = shares_on(weights, np.array([True, False, True]))
    np.testing.assert_allclose(shares, [[0.8, 0.1, (0.08 + 0.09) / 1.0]], rtol=1e-6)


def test_where_nothing_goes_to_regions_there_is_no_preference() -> None:
    shares = shares_on(np.zeros((1, 2, 4), np.float32), np.array([True, False, False, False]))
    assert shares.tolist() == [[0.25, 0.25, 0.25]]


def test_a_word_that_is_not_read_has_no_share() -> None:
    assert np.isnan(shares_on(np.full((1, 2, 4), np.nan, np.float32), np.array([True, False, False, False]))).all()


def test_heads_are_chosen_on_the_other_half() -> None:
    """In the first half head 1 is best, in the second head 0: each half gets what is best in the other."""
    own = np.array([[[0.1, 0.9]], [[0.2, 0.8]], [[0.7, 0.3]], [[0.6, 0.4]]])
    in_half = np.array([True, True, False, False])
    chosen = best_heads(own, in_half)
    assert chosen == [[(0, 0), (0, 0)], [(0, 1), (0, 1)]]
    assert at_heads(own, in_half, chosen)[:, 0].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_the_best_of_all_layers() -> None:
    own = np.tile([[0.1, 0.2], [0.8, 0.3]], (4, 1, 1))
    in_half = np.array([True, False, True, False])
    chosen = best_heads(own, in_half)
    assert chosen == [[(0, 1), (1, 0), (1, 0)]] * 2
    assert at_heads(own, in_half, chosen).tolist() == [[0.2, 0.8, 0.8]] * 4


def test_means_are_over_targets_of_the_images_that_count() -> None:
    targets = Targets(np.array([0, 0, 2]), np.array([0.5, 0.5, 0.25]))
    mean = targets.mean(np.array([0.2, np.nan, 0.8]), 3)
    counts = np.array([[1.0, 1, 1], [3, 0, 1], [0, 2, 1]])
    assert mean(counts).tolist() == pytest.approx([0.5, 0.35, 0.8])


def test_halves_are_halves() -> None:
    found = halves(21, seed=3)
    assert found.sum() == 11 and (halves(21, seed=3) == found).all() and (halves(21, seed=4) != found).any()
