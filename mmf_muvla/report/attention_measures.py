"""How much of a naming word's attention falls on the named object, by layer, with bootstrap intervals over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.objectives.masking import Bools, Floats, Ints
from mmf_muvla.report.matching_measures import Statistic, ratio


@dataclass(frozen=True)
class Targets:
    """Named objects that attention is to fall on.

    Attributes:
        image: number of the image of each, int [n].
        uniform: the share of the image's regions that show it, which attention without a preference has, float [n].
    """

    image: Ints
    uniform: Floats

    def mean(self, values: Floats, num_images: int) -> Statistic:
        """The mean of a value of each target, float [n], as a function of how often each image counts; targets whose
        value is NaN are left out."""
        known = np.isfinite(values)
        of_image = self.image[known]
        sums = np.bincount(of_image, weights=values[known], minlength=num_images)
        return ratio(sums, np.bincount(of_image, minlength=num_images))


def shares_on(weights: NDArray[np.float32], shown: Bools) -> Floats:
    """The share on some regions of a word's attention to all regions: float64 [layers, heads + 1].

    The last one is that of the layer's mean weights over heads, in which heads that look at regions more count more.

    Args:
        weights: of the word, [layers, heads, regions].
        shown: the regions, bool [regions].
    """
    exact = weights.astype(np.float64)
    joined = np.concatenate([exact, exact.mean(axis=1, keepdims=True)], axis=1)
    total = joined.sum(axis=2)
    uniform = np.full(total.shape, shown.mean())  # where nothing at all goes to regions
    return np.divide(joined[:, :, shown].sum(axis=2), total, out=uniform, where=total != 0)


def halves(num_images: int, seed: int) -> Bools:
    """Images divided at random in two, bool [images]."""
    return np.random.default_rng([seed, 5]).permutation(num_images) % 2 == 0


def best_heads(own: Floats, in_half: Bools) -> list[list[tuple[int, int]]]:
    """For each half of the targets, the best heads by the other half: (layer, head) for each layer, and, last, the best
    of all layers.

    Args:
        own: shares of targets, [n, layers, heads], without NaN.
        in_half: which targets are in the first half, bool [n]; both have some.
    """
    chosen = []
    for half in (in_half, ~in_half):
        means = own[~half].mean(axis=0)
        heads = [(layer, int(line.argmax())) for layer, line in enumerate(means)]
        chosen.append([*heads, max(heads, key=lambda at: means[at])])
    return chosen


def at_heads(shares: Floats, in_half: Bools, chosen: Sequence[Sequence[tuple[int, int]]]) -> Floats:
    """Shares at the heads that were chosen on the other half: [n, layers, heads] -> [n, layers + 1]."""
    first, second = (np.stack([shares[:, layer, head] for layer, head in of_half], axis=1) for of_half in chosen)
    return np.where(in_half[:, None], first, second)
