from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.pairing import capped
from mmf_muvla.pairing.capped import Candidates, CappedPairs, check_max_uses, num_candidates


def all_candidates(scores: np.ndarray, parts: int = 1) -> list[Callable[[], Candidates]]:
    """Every sentence for every query, from scores [queries, sentences], in so many parts."""
    order = np.argsort(-scores, axis=1, kind="stable")
    sorted_scores = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    return [
        lambda rows=rows: Candidates(rows, order[rows], sorted_scores[rows])
        for rows in np.array_split(np.arange(len(scores)), parts)
    ]


def greedy(scores: np.ndarray, query_of_image: np.ndarray, k: int, max_uses: int) -> list[list[int]]:
    """The same in the plainest way, pair by pair; of equal scores the lower sentence, query and image come first."""
    chosen: list[list[int]] = [[] for _ in query_of_image]
    uses = [0] * scores.shape[1]
    pairs = [(-scores[q, s], s, q, i) for i, q in enumerate(query_of_image) for s in range(scores.shape[1])]
    for _, sentence, _, image in sorted(pairs):
        if len(chosen[image]) < k and uses[sentence] < max_uses:
            chosen[image].append(sentence)
            uses[sentence] += 1
    return chosen


def test_by_hand() -> None:
    # Both images like sentence 0 best; the second likes it more. The first takes what comes next for it.
    scores = np.array([[0.8, 0.5, 0.3, 0.1], [0.9, 0.2, 0.7, 0.1]])
    pairs = CappedPairs(np.arange(2), k=2, num_sentences=4, max_uses=1)
    pairs.take(all_candidates(scores))
    assert pairs.sentences.tolist() == [[1, 3], [0, 2]]
    np.testing.assert_allclose(pairs.scores, [[0.5, 0.1], [0.9, 0.7]])
    assert pairs.free.tolist() == [0, 0, 0, 0] and len(pairs.lacking()) == 0


def test_images_with_the_same_query_queue_for_sentences() -> None:
    pairs = CappedPairs(np.array([0, 1, 0, 0]), k=1, num_sentences=3, max_uses=2)
    pairs.take(all_candidates(np.array([[0.9, 0.5, 0.4], [0.8, 0.1, 0.2]])))
    # Sentence 0 goes to the first two of the three; image 1 finds it used up.
    assert pairs.sentences.tolist() == [[0], [2], [0], [1]]


def test_those_who_lack_sentences_go_on_with_other_candidates() -> None:
    pairs = CappedPairs(np.array([0, 0]), k=2, num_sentences=5, max_uses=1)
    pairs.take([lambda: Candidates(np.array([0]), np.array([[4, 2, 0]]), np.array([[0.9, 0.8, 0.7]], np.float32))])
    assert pairs.sentences.tolist() == [[4, 2], [0, -1]]
    assert pairs.lacking().tolist() == [0]
    # What an image has, or what is used up, is not given to it (again).
    again = Candidates(np.array([0]), np.array([[2, 0, 3, 1]]), np.array([[0.8, 0.7, 0.6, 0.5]], np.float32))
    pairs.take([lambda: again])
    assert pairs.sentences.tolist() == [[4, 2], [0, 3]]


@pytest.mark.parametrize("seed", range(6))
def test_as_one_would_pair_by_pair(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    max_uses = int(random.integers(3, 6))
    query_of_image = random.integers(12, size=40)
    # Many are equal.
    scores = random.integers(-9, 10, size=(12, 60)) / 10
    expected = greedy(scores, query_of_image, 3, max_uses)
    assert np.bincount(np.concatenate(expected)).max() == max_uses
    for parts, pairs_at_once in ((1, 10**6), (5, 7), (12, 1)):
        monkeypatch.setattr(capped, "_PAIRS_AT_ONCE", pairs_at_once)
        pairs = CappedPairs(query_of_image, 3, 60, max_uses)
        pairs.take(all_candidates(scores, parts))
        assert pairs.sentences.tolist() == expected


def test_limits_that_cannot_be_kept_are_refused() -> None:
    # 10 images need 30 places; while one lacks a sentence, 7 of 10 sentences are not its own.
    check_max_uses(5, k=3, num_images=10, num_sentences=10)
    with pytest.raises(InputError, match="retrieval.max_uses=4: 10 sentences are too few .* Raise it to 5 or more"):
        check_max_uses(4, k=3, num_images=10, num_sentences=10)
    with pytest.raises(InputError, match="Give more text"):
        check_max_uses(100, k=3, num_images=10, num_sentences=3)


def test_a_limit_that_is_just_high_enough_leaves_no_image_without() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        k, images, sentences = 3, 10, int(random.integers(4, 12))
        max_uses = -(-images * k // (sentences - k))
        check_max_uses(max_uses, k, images, sentences)
        pairs = CappedPairs(np.arange(images), k, sentences, max_uses)
        pairs.take(all_candidates(random.random((images, sentences))))
        assert len(pairs.lacking()) == 0 and (pairs.free >= 0).all()
        assert all(len(set(row)) == k for row in pairs.sentences.tolist())


def test_candidates_are_never_more_than_there_are() -> None:
    assert (num_candidates(5, 1000), num_candidates(5, 20)) == (100, 20)
