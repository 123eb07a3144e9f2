"""How much images teach about what things look like: ridge regressions from regions to categories, colours and sizes.

Where few images teach nearly as much as many, pre-training on many has little to give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.toyworld.detector import Detection
from mmf_muvla.toyworld.scenes import LABELS, SceneObject, numbers_of

_PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LabelledRegions:
    """Features of regions [n, d], and the objects that they show."""

    features: Floats
    objects: Sequence[SceneObject]

    @classmethod
    def of(cls, detections: Sequence[Detection]) -> LabelledRegions:
        """All regions of some images."""
        features = np.concatenate([it.features for it in detections])
        return cls(features, [region.truth for it in detections for region in it.regions])


def probe(train: LabelledRegions, choose: LabelledRegions, test: LabelledRegions) -> dict[str, float]:
    """Accuracy on ``test`` of a classifier of each label, fitted on ``train`` with a penalty chosen on ``choose``."""
    mean = train.features.mean(axis=0)
    centred = train.features - mean
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred)
    found = {}
    for label, values in LABELS.items():
        targets = np.eye(len(values), dtype=np.float32)[numbers_of(train.objects, label)]
        base = targets.mean(axis=0)
        projected = vectors.T @ (centred.T @ (targets - base))
        fits = [vectors @ (projected / (eigenvalues[:, None] + penalty)) for penalty in _PENALTIES]
        chosen = max(fits, key=partial(_accuracy, choose, label, mean, base))
        found[label] = _accuracy(test, label, mean, base, chosen)
    return found


def _accuracy(regions: LabelledRegions, label: str, mean: Floats, base: Floats, weights: Floats) -> float:
    guesses = ((regions.features - mean) @ weights + base).argmax(axis=1)
    return float((guesses == numbers_of(regions.objects, label)).mean())
