"""Pairs in which no sentence is used for more than so many images, chosen greedily by score.

Of all pairs of an image and one of its candidates, the one of the highest score is taken first, unless the image has K
sentences by then or the sentence is used often enough. This is done for bands of scores, one after the other, so that
few pairs are in memory. Images with the same query have the same candidates, and stand in a queue for them. For those
that still lack sentences at the end, twice as many candidates are searched among what can still be used, again and
again. The result depends on nothing but the scores, and the order of sentences and images where these are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import RetrievalOptions
from mmf_muvla.pairing.csls import PenalisedEmbeddings
from mmf_muvla.pairing.embeddings import Embeddings

_BINS = 2**16
_PAIRS_AT_ONCE = 2**22
# What sentences that are used often enough lose: more than any two scores differ by.
_USED_UP = np.float32(4)


class Candidates(NamedTuple):
    """Sentences that queries may have.

    Attributes:
        queries: their numbers, int64 [q].
        sentences: of each query, int64 [q, n].
        scores: of these, within [-2, 2], float32 [q, n].
    """

    queries: np.ndarray
    sentences: np.ndarray
    scores: np.ndarray


def num_candidates(k: int, num_sentences: int) -> int:
    """How many candidates every query has at first."""
    return min(4 * k + 80, num_sentences)


def check_max_uses(max_uses: int, k: int, num_images: int, num_sentences: int) -> None:
    """Refuse, with an ``InputError``, a limit with which an image might go without its K sentences."""
    # While an image lacks one, K sentences or more can still be used, and it has fewer than K of them.
    least = -(-num_images * k // (num_sentences - k)) if num_sentences > k else None
    if least is None or max_uses < least:
        problem = f"{num_sentences} sentences are too few for {k} of them for each of {num_images} images"
        remedy = f"Raise it to {least} or more, or give more text" if least else "Give more text, or leave it out"
        raise InputError(f"retrieval.max_uses={max_uses}", problem, remedy)


def limit_uses(
    queries: Sequence[Path], candidates: Sequence[Path], pool: Embeddings, options: RetrievalOptions
) -> tuple[np.ndarray, np.ndarray]:
    """The sentences of all images, none for more than ``options.max_uses`` of them.

    Args:
        queries: files of embeddings [q, d], with the query of each image [n], as the stage *retrieve* makes them.
        candidates: files of as many rows in the same order, with each query's sentences and scores [q, n].
        pool: what was searched.
        options: K, the limit, and where to compute.

    Returns:
        Sentences, best first, int64 [images, K], and their scores, float32 [images, K].
    """
    query_of_image, firsts = [], [0]
    for file in queries:
        part = load_file(file)
        query_of_image.append(part["query_of_image"] + firsts[-1])
        firsts.append(firsts[-1] + len(part["embedding"]))
    pairs = CappedPairs(np.concatenate(query_of_image), options.k, len(pool), options.max_uses or 0)
    parts, first = [], 0  # one of these files may hold the rows of several of the others
    for file in candidates:
        parts.append(partial(_load_candidates, file, first))
        first += len(load_file(file)["sentence"])
    pairs.take(parts)
    wanted = num_candidates(options.k, len(pool))
    while len(lacking := pairs.lacking()):
        wanted = min(2 * wanted, int((pairs.free > 0).sum()))
        at_once = max(1, min(options.images_at_once, _PAIRS_AT_ONCE // wanted))
        found = []
        for start in range(0, len(lacking), at_once):
            numbers = lacking[start : start + at_once]
            asked = np.concatenate(
                [
                    load_file(file)["embedding"][numbers[(numbers >= begin) & (numbers < end)] - begin]
                    for file, begin, end in zip(queries, firsts[:-1], firsts[1:], strict=True)
                ]
            )
            found.append(Candidates(numbers, *_search_usable(asked, pool, pairs.free, wanted, options)))
        pairs.take([partial(Candidates, *part) for part in found])
    return pairs.sentences, pairs.scores


def _load_candidates(file: Path, first: int) -> Candidates:
    found = load_file(file)
    return Candidates(np.arange(first, first + len(found["sentence"])), found["sentence"], found["score"])


def _search_usable(
    queries: np.ndarray, pool: Embeddings, free: np.ndarray, k: int, options: RetrievalOptions
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best sentences that can be used at least once more."""
    from mmf_muvla.pairing.search import exact_top_k  # loads torch

    plain, penalty = (pool.plain, pool.penalty) if isinstance(pool, PenalisedEmbeddings) else (pool, np.float32(0))
    usable = PenalisedEmbeddings(plain, penalty + np.where(free > 0, np.float32(0), _USED_UP))
    found = exact_top_k(usable.queries(queries), usable, k, devices_of(options.device, "retrieval.device"))
    return found.ids, found.scores


class CappedPairs:
    """Which sentences each image has so far.

    Args:
        query_of_image: number of the query of each image; images with the same query are equal, int64 [images].
        k: sentences that each is to get.
        num_sentences: how many there are.
        max_uses: images that a sentence is used for, at most.

    Attributes:
        sentences: int64 [images, K], best first, -1 where there is none yet.
        scores: float32 [images, K].
        free: for how many more images each sentence may be used, int32 [sentences].
    """

    def __init__(self, query_of_image: np.ndarray, k: int, num_sentences: int, max_uses: int):
        self.sentences = np.full((len(query_of_image), k), -1, np.int64)
        self.scores = np.full((len(query_of_image), k), -np.inf, np.float32)
        self.free = np.full(num_sentences, min(max_uses, len(query_of_image)), np.int32)
        self._count = np.zeros(len(query_of_image), np.int32)
        # Images, those of a query side by side in their order; of each query, where those begin that lack sentences.
        self._queue = np.argsort(query_of_image, kind="stable")
        numbers = np.arange(int(query_of_image.max(initial=-1)) + 1)
        ordered = query_of_image[self._queue]
        self._begin, self._end = (np.searchsorted(ordered, numbers, side) for side in ("left", "right"))

    def lacking(self) -> np.ndarray:
        """The queries of images that have fewer than K sentences, int64 [q], ascending."""
        return np.flatnonzero(self._begin < self._end)

    def take(self, parts: Sequence[Callable[[], Candidates]]) -> None:
        """Give images the best of these candidates; each part is loaded as often as there are bands of scores."""
        heights = np.zeros(_BINS, np.int64)
        for load in parts:
            heights += np.bincount(_bins(load().scores).reshape(-1), minlength=_BINS)
        for low, high in _bands(heights):
            self._take_band([self._in_band(load(), low, high) for load in parts])

    def _in_band(self, found: Candidates, low: int, high: int) -> Candidates:
        """Those whose scores lie in a band and that can still be given, as three arrays [pairs]."""
        place = _bins(found.scores)
        lacks = (self._begin < self._end)[found.queries]
        query, rank = np.nonzero((place >= low) & (place < high) & lacks[:, None] & (self.free[found.sentences] > 0))
        return Candidates(found.queries[query], found.sentences[query, rank], found.scores[query, rank])

    def _take_band(self, parts: Sequence[Candidates]) -> None:
        queries, sentences, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.lexsort((queries, sentences, -scores))
        pairs = (array[order].tolist() for array in (queries, sentences, scores))
        for query, sentence, score in zip(*pairs, strict=True):
            if self.free[sentence]:
                self._give(query, sentence, score)

    def _give(self, query: int, sentence: int, score: float) -> None:
        """Give a sentence to the first images of a query that lack some and do not have it."""
        k = self.sentences.shape[1]
        for image in self._queue[self._begin[query] : self._end[query]].tolist():
            if not self.free[sentence]:
                break
            if sentence not in self.sentences[image]:
                place = self._count[image]
                self.sentences[image, place], self.scores[image, place] = sentence, score
                self._count[image] += 1
                self.free[sentence] -= 1
        # Whoever stands in front has all that those behind have been given.
        while self._begin[query] < self._end[query] and self._count[self._queue[self._begin[query]]] == k:
            self._begin[query] += 1


def _bins(scores: np.ndarray) -> np.ndarray:
    return np.clip((scores + 2) * (_BINS / 4), 0, _BINS - 1).astype(np.int64)


def _bands(heights: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of bins, highest first, that hold few pairs each, but at least one bin."""
    high = len(heights)
    below = np.concatenate([[0], np.cumsum(heights)])
    while high > 0:
        low = min(int(np.searchsorted(below, below[high] - _PAIRS_AT_ONCE)), high - 1)
        if below[high] > below[low]:
            yield low, high
        high = low
