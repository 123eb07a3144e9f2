"""Recalls and median ranks of scores of images with captions, in pools of any size, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, RECALLS, Bools, Captions, standings
from mmf_muvla.objectives.masking import Floats, Ints
from mmf_muvla.report.matching_measures import Statistic, make_groups, ratio

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """Captions that are ranked among each other: of some images, all or one of each.

    Attributes:
        captions: with numbers of images and texts of their own.
        images, texts: the numbers that these have among all, int.
        num_queries: the first images that are asked for here, and their captions; others only fill up.
        owned: which of the texts are captions of an image, drawn for it or not, bool [images, texts].
    """

    captions: Captions
    images: Ints
    texts: Ints
    num_queries: int
    owned: Bools


def make_pools(captions: Captions, candidates: int | str, seed: int) -> list[Pool]:
    """The whole pool (``all``), or pools of so many images at random with a caption, drawn at random, of each."""
    count, owned = len(captions.image_ids), captions.owned()
    if candidates == "all":
        return [Pool(captions, np.arange(count), np.arange(len(captions.texts)), count, owned)]
    rng = np.random.default_rng([seed, 4])
    drawn = np.array([rng.choice(np.flatnonzero(captions.image == image)) for image in range(count)])
    pools = []
    for group in make_groups(count, min(count, int(candidates)), rng):
        chosen = drawn[group.images]
        own = captions.text[chosen].tolist()
        ids = [captions.caption_ids[number] for number in chosen]
        keys = [captions.image_ids[image] for image in group.images]
        part = Captions.of([(key, captions.texts[text], it) for key, text, it in zip(keys, own, ids, strict=True)])
        texts = np.array([*dict.fromkeys(own)])
        pools.append(Pool(part, group.images, texts, group.num_queries, owned[np.ix_(group.images, texts)]))
    return pools


def pool_statistics(scores: Scores, pools: Sequence[Pool], num_images: int) -> dict[str, Statistic]:
    """``DIRECTION_r@K`` and ``DIRECTION_median_rank`` as functions of how often each image counts.

    Args:
        scores: of all images with all texts, float [images, texts].
        pools: in which, together, each image is asked for once.
        num_images: of all.
    """
    found: dict[str, Statistic] = {}
    for direction in DIRECTIONS:
        ranks, images = [], []
        for pool in pools:
            part = scores[np.ix_(pool.images, pool.texts)]
            of_query = np.arange(len(part)) if direction == "image_to_text" else pool.captions.image
            asked = of_query < pool.num_queries
            ranks.append(standings(part, pool.captions, direction, pool.owned).rank[asked])
            images.append(pool.images[of_query[asked]])
        rank, image = np.concatenate(ranks), np.concatenate(images)
        queries = np.bincount(image, minlength=num_images)
        for k in RECALLS:
            found[f"{direction}_r@{k}"] = ratio(np.bincount(image, weights=rank <= k, minlength=num_images), queries)
        found[f"{direction}_median_rank"] = median(rank, image)
    return found


def median(values: Ints, image: Ints) -> Statistic:
    """The median of values, each of which counts as often as its image does, int [q] twice."""
    order = np.argsort(values, kind="stable")
    ordered, of = values[order], image[order]

    def statistic(counts: Floats) -> Floats:
        found = []
        for line in counts:  # one at a time: all at once would take gigabytes
            ends = np.cumsum(line[of])
            middle = np.searchsorted(ends, [ends[-1] / 2, ends[-1] / 2 + 0.5], side="left")
            found.append(ordered[np.minimum(middle, len(ordered) - 1)].mean())
        return np.array(found)

    return statistic


def by_chance(pools: Sequence[Pool]) -> dict[str, float]:
    """What random scores give, on average (and of the median rank, its most likely value)."""
    found = {}
    for direction in DIRECTIONS:
        # Right ones and candidates of each query.
        numbers: list[tuple[int, int]] = []
        for pool in pools:
            images, total = len(pool.captions.image_ids), len(pool.captions)
            if direction == "image_to_text":
                own = np.bincount(pool.captions.image, minlength=images)[: pool.num_queries]
                numbers += [(int(count), total) for count in own]
            else:
                numbers += [(1, images)] * int((pool.captions.image < pool.num_queries).sum())
        kinds, weights = np.unique(numbers, axis=0, return_counts=True)

        def share(k: int, kinds: Ints = kinds, weights: Ints = weights) -> float:
            """How often a right one is among the first ``k``."""
            missed = [comb(total - own, k) / comb(total, k) if k <= total else 0.0 for own, total in kinds.tolist()]
            return float(1 - np.average(missed, weights=weights))

        for k in RECALLS:
            found[f"{direction}_r@{k}"] = share(k)
        most = int(kinds[:, 1].max())
        found[f"{direction}_median_rank"] = float(next(k for k in range(1, most + 1) if share(k) >= 0.5))
    return found
