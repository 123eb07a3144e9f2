"""The area under the ROC curve, by hand and by comparing all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.report.alignment import aligned_share, area_under_roc


def test_by_hand() -> None:
    # Aligned: 0.9 and 0.4; not: 0.5, 0.4, 0.1. Won: 3 by 0.9; 0.4 wins against 0.1, ties with 0.4: 4.5 of 6.
    scores, aligned = [0.9, 0.5, 0.4, 0.4, 0.1], [True, False, True, False, False]
    assert area_under_roc(scores, aligned) == pytest.approx(4.5 / 6)
    assert area_under_roc([1, 2, 3], [False, False, True]) == 1
    assert area_under_roc([1, 1, 1], [False, True, True]) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_share_of_won_comparisons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, aligned = rng.integers(0, 8, size=40), rng.random(40) < 0.4
    pairs = itertools.product(scores[aligned], scores[~aligned])
    won = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in pairs]
    assert area_under_roc(scores, aligned) == pytest.approx(sum(won) / len(won))


def test_pairs_of_one_kind_are_refused() -> None:
    with pytest.raises(InputError, match="of which 2 are aligned"):
        area_under_roc([0.1, 0.2], [True, True])


def test_alignment_is_the_share_of_what_is_said_that_is_seen() -> None:
    said = [{"dog"}, {"dog", "car"}, {"dog", "car", "cat"}, set()]
    seen = [{"dog", "tree"}, {"dog"}, {"tree"}, {"dog"}]
    assert aligned_share(said, seen).tolist() == [1, 0.5, 0, 0]
