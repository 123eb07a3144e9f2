"""What scores of images with captions say: each measure with a bootstrap interval over images.

Images are compared in groups, each image with its own caption and with those of the others in its group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, RECALLS, Standing
from mmf_muvla.objectives.masking import Bools, Floats, Ints

RESAMPLES = 2000
CONFIDENCE = 0.95
# A measure as a function of how often each image counts, float [B, images] -> float [B]; NaN where nothing is left.
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Group:
    """Candidates for each other: numbers of images, int [C], of which the first ``num_queries`` are asked for here and
    nowhere else. The others fill the last group up."""

    images: Ints
    num_queries: int

    def pairs(self) -> tuple[Ints, Ints]:
        """Places, in the group, of the image and of the caption of all pairs that have to be scored, int [pairs]."""
        asked = np.arange(len(self.images)) < self.num_queries
        rows, columns = np.nonzero(asked[:, None] | asked)
        return rows, columns


@dataclass(frozen=True)
class Measured:
    """A measure, with its interval (95 %, percentiles of the bootstrap)."""

    value: float
    low: float
    high: float


def make_groups(num_images: int, candidates: int, rng: np.random.Generator) -> list[Group]:
    """Divide images at random into groups of ``candidates``, of which there are at most as many as images."""
    order = rng.permutation(num_images)
    groups = []
    for start in range(0, num_images, candidates):
        asked = order[start : start + candidates]
        others = rng.choice(order[:start], candidates - len(asked), replace=False) if start else asked[:0]
        groups.append(Group(np.concatenate([asked, others]), len(asked)))
    return groups


@dataclass(frozen=True)
class Comparison:
    """The own score of a query, and those of the candidates that it competes with."""

    own: float
    others: Floats

    @property
    def standing(self) -> Standing:
        """How many of the others are higher, and how many equal."""
        return Standing(*(np.array([it.sum()]) for it in (self.others > self.own, self.others == self.own)))

    def won(self) -> float:
        """How many of the others are lower; an equal one is half of one."""
        return float((self.others < self.own).sum() + (self.others == self.own).sum() / 2)

    def in_first(self, k: int) -> float:
        """The probability to be among the first ``k`` if equal scores are put in random order."""
        return float(self.standing.in_first(k)[0])


def compare(groups: Sequence[Group], scores: Sequence[Floats], owned: Sequence[Bools]) -> dict[str, list[Comparison]]:
    """What each image's caption, or each caption's image, competes with, for both directions, in the images' order.

    Args:
        groups: of all images.
        scores: for each group, how well image (row) and caption (column) belong together, float [C, C].
        owned: where a caption is one of the image's own, bool [C, C]; it is no competitor then.
    """
    found: dict[str, dict[int, Comparison]] = {direction: {} for direction in DIRECTIONS}
    for group, score, own in zip(groups, scores, owned, strict=True):
        for place, image in enumerate(group.images[: group.num_queries].tolist()):
            for direction, line, is_own in zip(
                DIRECTIONS, (score[place], score[:, place]), (own[place], own[:, place]), strict=True
            ):
                found[direction][image] = Comparison(float(score[place, place]), line[~is_own])
    return {direction: [of[image] for image in sorted(of)] for direction, of in found.items()}


def matching_statistics(
    comparisons: dict[str, list[Comparison]], candidates: int, threshold: float | None = None
) -> dict[str, Statistic]:
    """The measures of a matching: ``pair_accuracy``, ``auc``, recall at :data:`RECALLS` below ``candidates`` in both
    directions; and with a ``threshold``, above which a pair counts as matched, ``accuracy``.

    ``pair_accuracy`` is how often an image's own caption scores higher than another image's, and ``auc`` how often any
    image's own does than any image's other; ``accuracy`` is the mean of the shares of own and of other captions that
    are told right.
    """
    of_images = comparisons["image_to_text"]
    num_others = np.array([len(it.others) for it in of_images], np.float64)
    won = np.array([it.won() / max(len(it.others), 1) for it in of_images])
    found: dict[str, Statistic] = {"pair_accuracy": ratio(won, num_others > 0), "auc": _auc(of_images)}
    if threshold is not None:
        own = np.array([it.own > threshold for it in of_images], np.float64)
        others = np.array([(it.others <= threshold).sum() for it in of_images]) / np.maximum(num_others, 1)
        own_share, others_share = ratio(own, np.ones(len(own))), ratio(others, num_others > 0)
        found["accuracy"] = lambda counts: (own_share(counts) + others_share(counts)) / 2
    for direction, queries in comparisons.items():
        for k in RECALLS:
            if k < candidates:
                hits = np.array([it.in_first(k) for it in queries])
                found[f"{direction}_r{k}"] = ratio(hits, np.ones(len(hits)))
    return found


def by_chance(name: str, candidates: int) -> float:
    """What guessing gives."""
    _, separator, k = name.rpartition("_r")
    return int(k) / candidates if separator else 0.5


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Statistic:
    """The sum over images of ``part`` over that of ``whole``, each a number or a bool of each image, [images]."""
    part, whole = part.astype(np.float64), whole.astype(np.float64)

    def statistic(counts: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return (counts @ part) / (counts @ whole)

    return statistic


def difference(one: Statistic, other: Statistic) -> Statistic:
    """How much more one measure is than another, on the same images."""
    return lambda counts: one(counts) - other(counts)


def _auc(of_images: Sequence[Comparison]) -> Statistic:
    own = np.array([it.own for it in of_images])
    won = np.empty((len(own), len(own)))
    for number, it in enumerate(of_images):
        others = np.sort(it.others)
        won[:, number] = (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")) / 2
    num_others = np.array([len(it.others) for it in of_images], np.float64)

    def statistic(counts: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return ((counts @ won) * counts).sum(axis=1) / (counts.sum(axis=1) * (counts @ num_others))

    return statistic


def resample(num_images: int, seed: int) -> Floats:
    """How often each image is drawn when as many as there are are drawn with replacement, float [RESAMPLES, images]."""
    rng = np.random.default_rng([seed, 1])
    return rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=RESAMPLES).astype(np.float64)


def measure(statistic: Statistic, resamples: Floats) -> Measured | None:
    """A measure on all images, and its interval; ``None`` where there is nothing to measure."""
    value = float(statistic(np.ones((1, resamples.shape[1])))[0])
    if np.isnan(value):
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(statistic(resamples), [tail, 100 - tail])
    return Measured(value, float(low), float(high))
