from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmf_muvla.pairing.uses import count_uses, hub_warning, measure_uses, use_frequencies


def test_by_hand() -> None:
    # Mean 2, deviations -2, -2, 4: variance 8, third moment 16.
    assert measure_uses(use_frequencies(np.array([0, 0, 6]))) == {
        "max_uses": 6,
        "share_of_top_100": 1.0,
        "skewness": round(16 / 8**1.5, 2),
    }
    assert measure_uses(use_frequencies(np.array([3, 3, 3, 3])))["skewness"] == 0


def test_the_share_of_the_hundred_most_used() -> None:
    uses = np.concatenate([np.full(100, 9), np.full(300, 1)])
    assert measure_uses(use_frequencies(uses))["share_of_top_100"] == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_sentences_that_are_never_used_may_be_left_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    uses = np.maximum(random.poisson(0.5, 500) * random.integers(1, 9, 500), 0)
    whole = measure_uses(use_frequencies(uses))
    assert measure_uses(use_frequencies(uses[uses > 0]), 500) == whole
    assert whole["skewness"] == pytest.approx(((uses - uses.mean()) ** 3).mean() / uses.std() ** 3, abs=0.01)


def test_uses_are_counted_some_sentences_at_a_time() -> None:
    pieces = [np.array([[3, 0], [7, 3]]), np.array([[9, 3]])]
    expected = [1, 0, 0, 3, 0, 0, 0, 1, 0, 1]
    for at_once in (1, 3, 10, 100):
        found = list(count_uses(lambda: iter(pieces), 10, at_once))
        assert [first for first, _ in found] == list(range(0, 10, at_once))
        assert np.concatenate([uses for _, uses in found]).tolist() == expected
        together = sum((use_frequencies(uses) for _, uses in found), Counter())
        assert together == {0: 6, 1: 3, 3: 1}


def test_nothing_is_used() -> None:
    assert measure_uses(use_frequencies(np.zeros(0, np.int64))) == {
        "max_uses": 0,
        "share_of_top_100": 0.0,
        "skewness": 0.0,
    }


def test_the_warning_needs_skewness_and_a_share() -> None:
    hubs = {"skewness": 33.3, "share_of_top_100": 0.525, "max_uses": 1289}
    warning = hub_warning(hubs)
    for said in ("100 most used have 52% of all places", "1,289 images", "33.3", "retrieval.max_uses", "scores=csls"):
        assert said in warning
    assert hub_warning({**hubs, "skewness": 10.0}) == hub_warning({**hubs, "share_of_top_100": 0.1}) == ""
