"""What the tables of a weakly aligned corpus say (links, scores, sentences), counted batch by batch."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmf_muvla.artifacts.arrow import read_batches
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.pairing.store import PAIRS_FILE, SENTENCES_FILE, Corpus
from mmf_muvla.pairing.uses import measure_uses, use_frequencies

_TOP_SENTENCES = 20
_SCORE_STEP = 0.001  # similarities and scores are counted in steps of this size


class Distribution:
    """Counts how often numbers occur, rounded to multiples of a step; 1 for whole numbers."""

    def __init__(self, step: float = 1):
        self._step = step
        self._counts: Counter[int] = Counter()
        self._sum = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count more numbers, of any shape."""
        steps, counts = np.unique(np.rint(values / self._step).astype(np.int64), return_counts=True)
        self._counts.update(dict(zip(steps.tolist(), counts.tolist(), strict=True)))
        self._sum += float(values.sum(dtype=np.float64))

    def summary(self, max_bins: int = 50) -> dict[str, Any]:
        """``count``, exact ``mean``, ``deciles`` [11], the smallest numbers that 0, 10, … 100 percent of all do not
        exceed, and a ``histogram`` of at most ``max_bins`` bins, all of one ``width``; of nothing, all but ``count`` is
        null."""
        if not self._counts:
            return {"count": 0, "mean": None, "deciles": None, "histogram": None}
        steps = np.array(sorted(self._counts))
        counts = np.array([self._counts[step] for step in steps.tolist()])
        total = int(counts.sum())
        # In whole numbers: 0.1 * total is not the number it looks like.
        needed = np.maximum(np.arange(11) * total, 1)
        deciles = steps[np.searchsorted(np.cumsum(counts) * 10, needed)]
        widths = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
        width = next(width for width in widths if steps[-1] // width - steps[0] // width < max_bins)
        first = int(steps[0] // width)
        heights = np.bincount(steps // width - first, weights=counts).astype(int).tolist()
        return {
            "count": total,
            "mean": round(self._sum / total, 4),
            "deciles": [self._number(step) for step in deciles.tolist()],
            "histogram": {"start": self._number(first * width), "width": self._number(width), "counts": heights},
        }

    def _number(self, steps: int) -> float:
        return steps if self._step == 1 else round(steps * self._step, 6)


def measure_tables(corpus: Corpus) -> dict[str, Any]:
    """What the corpus's tables say: ``links``, ``scores`` (by rank), ``sentences`` and ``regions_per_image``.

    Links are shares of (region, retrieved sentence) pairs that are linked, of regions linked in at least one of the K
    sentences, and of noun phrases that a region is linked to, counted for every image of their sentence.
    """
    words, phrases_per_sentence, phrases_of = _measure_sentences(corpus)
    uses = np.zeros(corpus.num_sentences, np.int64)
    similarity, regions = Distribution(_SCORE_STEP), Distribution()
    by_rank = [Distribution(_SCORE_STEP) for _ in range(corpus.k)]
    totals: Counter[str] = Counter()
    with progress_bar(len(corpus), "links", "image") as progress:
        for batch in read_batches([corpus.path / PAIRS_FILE]):
            retrieved, scores = (_values(batch, name).reshape(-1, corpus.k) for name in ("sentence", "score"))
            np.add.at(uses, retrieved.reshape(-1), 1)
            for distribution, of_rank in zip(by_rank, scores.T, strict=True):
                distribution.add(of_rank)
            phrases, counts = _values(batch, "link_phrase"), _lengths(batch, "link_phrase") // corpus.k
            regions.add(counts)
            totals.update(_count_links(phrases, counts, corpus.k))
            similarity.add(_values(batch, "link_similarity")[phrases >= 0])
            totals["phrases"] += int(phrases_of[retrieved].sum())
            progress.update(len(retrieved))
    return {
        "links": {
            "of_pairs": share(totals["linked_pairs"], totals["pairs"]),
            "of_regions": share(totals["linked_regions"], totals["regions"]),
            "of_phrases": share(totals["linked_phrases"], totals["phrases"]),
            "similarity": similarity.summary(),
        },
        "scores": [distribution.summary() for distribution in by_rank],
        "sentences": {"words": words, "phrases": phrases_per_sentence, **_measure_uses(corpus, uses)},
        "regions_per_image": regions.summary(),
    }


def _count_links(phrases: np.ndarray, counts: np.ndarray, k: int) -> dict[str, int]:
    """Count links in a batch, from the linked phrase or -1 of all images in turn, each int16 [K, regions]."""
    image = np.repeat(np.arange(len(counts)), counts * k)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(phrases)) - k * starts[image]  # in the image
    linked = phrases >= 0
    image, place, phrase = image[linked], place[linked], phrases[linked]
    region = starts[image] + place % counts[image]
    sentence = image * k + place // counts[image]
    return {
        "pairs": len(phrases),
        "linked_pairs": len(phrase),
        "regions": int(counts.sum()),
        "linked_regions": len(np.unique(region)),
        "linked_phrases": len(np.unique(sentence << 16 | phrase)),
    }


def _measure_sentences(corpus: Corpus) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Summaries of the words and phrases of the sentences that are used, and how many phrases each has."""
    words, phrases = Distribution(), Distribution()
    phrases_of = [np.zeros(0, np.int64)]
    for batch in read_batches([corpus.path / SENTENCES_FILE]):
        # Words are what single spaces separate, since the sentences were cleaned.
        words.add(pc.count_substring(batch.column("sentence"), " ").to_numpy() + 1)
        phrases_of.append(_lengths(batch, "phrase_start"))
    phrases.add(np.concatenate(phrases_of))
    return words.summary(), phrases.summary(), np.concatenate(phrases_of)


def _measure_uses(corpus: Corpus, uses: np.ndarray) -> dict[str, Any]:
    """How unevenly sentences are used; ``as_many_as`` sentences, all equally used, would have the same entropy."""
    order = np.argsort(-uses, kind="stable")
    used = uses[order][uses[order] > 0]
    total = int(used.sum())
    shares = used / total if total else used
    pool = corpus.counts.get("sentences")
    return {
        "used": len(used),
        "pool": pool,
        "of_pool": share(len(used), pool) if pool else None,
        "retrievals": total,
        "used_once": int((used == 1).sum()),
        **measure_uses(use_frequencies(uses), pool),
        "as_many_as": round(float(np.exp(-(shares * np.log(shares)).sum()))) if total else 0,
        "share_of_top_1_percent": share(int(used[: -(-len(used) // 100)].sum()), total),
        "share_of_top_10_percent": share(int(used[: -(-len(used) // 10)].sum()), total),
        "most_used": [
            {"sentence": corpus.sentence(number).text, "uses": int(uses[number])}
            for number in order[:_TOP_SENTENCES].tolist()
        ],
    }


def _values(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).flatten().to_numpy()


def _lengths(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).value_lengths().to_numpy()


def share(part: int, whole: int) -> float | None:
    """A share to six decimals; of nothing, ``None``."""
    return round(part / whole, 6) if whole else None
