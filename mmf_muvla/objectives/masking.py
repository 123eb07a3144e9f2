"""One row of input with its targets, and how tokens and regions are chosen and masked (paper section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.options.data import Masking as MaskingConfig

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

IGNORE = -100  # "no target here", PyTorch's usual label


@dataclass(frozen=True)
class Vocabulary:
    """The ids of BERT's special tokens, and of all others, which may stand in for a masked one, int [v]."""

    cls_id: int
    sep_id: int
    mask_id: int
    pad_id: int
    ordinary_ids: Ints


@dataclass(frozen=True)
class Row:
    """One row of input for the encoder, with its targets. ``T`` tokens, ``n`` regions."""

    input_ids: Ints  # [T], with [CLS] first and [SEP] last, masks applied
    mlm_labels: Ints  # [T], the original token where it is a target, else IGNORE
    token_region: Ints  # [T], the region whose box replaces the token's position (tags), else -1
    hidden_regions: Bools  # [n], regions shown with the feature masked
    region_targets: Bools  # [n], regions whose class and feature are to be predicted
    predicts: tuple[str, ...]  # names of the losses that the row can have targets for, whatever the draw
    phrase_targets: tuple[Ints, ...] = ()  # for each region, the word pieces to be predicted (R-P); empty for none
    sees_regions: bool = True  # whether the regions are in the input


def make_row(
    shown: Ints,
    labels: Ints,
    vocabulary: Vocabulary,
    *,
    hidden_regions: Bools,
    predicts: tuple[str, ...],
    region_targets: Bools | None = None,
    token_region: Ints | None = None,
    **further: Any,
) -> Row:
    """A :class:`Row` with [CLS] and [SEP] around the text; ``shown``, ``labels`` and ``token_region`` are int [t].

    Without ``region_targets`` or ``token_region`` there are no such regions or tokens.
    """

    def with_ends(values: NDArray[np.generic], first: int, last: int) -> Ints:
        return np.concatenate([[first], values, [last]]).astype(np.int64)

    return Row(
        input_ids=with_ends(shown, vocabulary.cls_id, vocabulary.sep_id),
        mlm_labels=with_ends(labels, IGNORE, IGNORE),
        token_region=np.full(len(shown) + 2, -1) if token_region is None else with_ends(token_region, -1, -1),
        hidden_regions=hidden_regions,
        region_targets=np.zeros_like(hidden_regions) if region_targets is None else region_targets,
        predicts=predicts,
        **further,
    )


def choose(probability: Floats, rng: np.random.Generator, at_least_one: bool = False) -> Bools:
    """Choose each item with its own probability, float [m] -> bool [m].

    With ``at_least_one``, where the draw leaves none, one is chosen with probability proportional to ``probability``
    (none where all are 0).
    """
    chosen = rng.random(len(probability)) < probability
    total = probability.sum()
    if at_least_one and total > 0 and not chosen.any():
        chosen[rng.choice(len(probability), p=probability / total)] = True
    return chosen


def mask_tokens(
    tokens: Ints, chosen: Bools, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> tuple[Ints, Ints]:
    """Mask chosen tokens: 80 percent [MASK], 10 percent a random word, 10 percent unchanged.

    Returns:
        The tokens as shown, int [t], and the labels, int [t] (IGNORE where not chosen).
    """
    labels = np.where(chosen, tokens, IGNORE)
    lot = rng.random(len(tokens))
    words = vocabulary.ordinary_ids[rng.integers(len(vocabulary.ordinary_ids), size=len(tokens))]
    masked = chosen & (lot < config.mask_token_share)
    replaced = chosen & ~masked & (lot < config.mask_token_share + config.random_token_share)
    shown = np.where(masked, vocabulary.mask_id, np.where(replaced, words, tokens))
    return shown, labels


def hide_regions(targets: Bools, rng: np.random.Generator, config: MaskingConfig) -> Bools:
    """Of the chosen regions, bool [n], those whose feature is masked: 90 percent; the others are shown unchanged."""
    return targets & (rng.random(len(targets)) < config.hide_region_share)
