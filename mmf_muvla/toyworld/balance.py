"""Choosing sentences so that neither the sentences nor the images alone say anything about the labels.

A *round* is one sentence for each label: a first one that has every label on equally many images of a group, and for
every shift of the labels a sentence whose labels are the first one's, shifted. So every sentence has every label
equally often, and every image exactly once: whatever looks at only one of them is right as often as a guess.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Labelled:
    """A sentence of some kind, with its label on every image of a group: numbers from 0."""

    kind: str
    text: str
    labels: tuple[int, ...]


class RoundMaker:
    """Takes rounds out of groups, the kinds of sentence as even as they can be over all rounds."""

    def __init__(self, rng: random.Random, labels: int):
        self._rng = rng
        self._labels = labels
        self._used: Counter[str] = Counter()

    def take(self, candidates: Sequence[Labelled], rounds: int) -> list[Labelled]:
        """Choose ``labels`` sentences for each round, in random order within it; fewer if there are too few candidates.

        Of those, which are about one group, uneven ones are passed over, and of equal texts all but the first.
        """
        unique = {sentence.text: sentence for sentence in reversed(candidates)}.values()
        even = [it for it in unique if set(Counter(it.labels).values()) == {len(it.labels) / self._labels}]
        self._rng.shuffle(even)
        waiting: dict[tuple[int, ...], list[Labelled]] = defaultdict(list)
        for sentence in even:
            waiting[sentence.labels].append(sentence)
        chosen: list[Labelled] = []
        for _ in range(rounds):
            found = self._round(waiting)
            if not found:
                break
            for sentence in found:
                waiting[sentence.labels].remove(sentence)
            self._used.update(sentence.kind for sentence in found)
            self._rng.shuffle(found)
            chosen += found
        return chosen

    def _round(self, waiting: dict[tuple[int, ...], list[Labelled]]) -> list[Labelled]:
        """One round that begins with the rarest kind of sentence that has partners; empty where there is none."""
        everything = [sentence for sentences in waiting.values() for sentence in sentences]
        self._rng.shuffle(everything)
        for first in sorted(everything, key=self._frequency):
            shifts = (tuple((label + by) % self._labels for label in first.labels) for by in range(1, self._labels))
            partners = [waiting.get(labels, []) for labels in shifts]
            if all(partners):
                return [first, *(min(sentences, key=self._frequency) for sentences in partners)]
        return []

    def _frequency(self, sentence: Labelled) -> int:
        return self._used[sentence.kind]
