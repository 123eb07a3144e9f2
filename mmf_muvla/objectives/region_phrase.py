"""R-P, region-noun phrase alignment (paper section 3.2).

``L_RP = L_MLM(t^r_m | t^r_\\m, v) + L_pMRTC(v_m | v_\\m, t^r)``: linked phrases **or** linked regions are masked, with
a probability proportional to the link's similarity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.objectives.loss import HeadKit, Predictions, PretrainingLoss
from mmf_muvla.objectives.masking import (
    IGNORE,
    Floats,
    Ints,
    MaskingConfig,
    Row,
    Vocabulary,
    choose,
    hide_regions,
    make_row,
    mask_tokens,
)
from mmf_muvla.objectives.objective import Material, Objective
from mmf_muvla.objectives.registry import register_loss, register_objective


@dataclass(frozen=True)
class Links:
    """Links between the regions and the noun phrases of one sentence."""

    phrase_of_token: Ints  # [t], the phrase that each token of the sentence lies in (no [CLS], [SEP]), -1 for none
    phrase: Ints  # [n], the phrase linked to each region, -1 for none
    similarity: Floats  # [n], the link's similarity in [0, 1], 0 for none


def tokens_in_phrases(offsets: Ints, phrases: Ints) -> Ints:
    """Which phrase each token lies in, by character span (never by the word itself), int [t], -1 for none.

    Spans, int [t, 2] and [p, 2], are from the first to the one-past-last character.
    """
    inside = (offsets[:, None, 0] >= phrases[None, :, 0]) & (offsets[:, None, 1] <= phrases[None, :, 1])
    inside &= (offsets[:, 1] > offsets[:, 0])[:, None]
    return np.where(inside.any(axis=1), inside.argmax(axis=1), -1) if len(phrases) else np.full(len(offsets), -1)


def region_phrase_row(
    tokens: Ints, links: Links, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> Row:
    """Mask linked phrases or linked regions, never both, with probability proportional to similarity.

    Links of the sentence, int [t], to phrases of which no token is left (cut sentences) are passed over.
    """
    n = len(links.phrase)
    has_tokens = np.zeros(max(links.phrase_of_token.max(initial=-1), links.phrase.max(initial=-1)) + 2, bool)
    has_tokens[links.phrase_of_token] = True
    has_tokens[-1] = False  # where index -1, no phrase, ends up
    similarity = np.where(has_tokens[links.phrase], links.similarity, 0.0)
    nothing = np.empty(0, np.int64)
    if rng.random() < 0.5:
        # A phrase may be linked to several regions: its best link counts.
        phrase_similarity = np.zeros(len(has_tokens))
        np.maximum.at(phrase_similarity, links.phrase, similarity)  # index -1 is the spare last entry
        phrase_similarity[-1] = 0.0
        probability = config.phrase_rate * phrase_similarity[links.phrase_of_token]
        chosen = choose(probability, rng, config.at_least_one)
        shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
        hidden, phrase_targets = np.zeros(n, bool), (nothing,) * n
    else:
        targets = choose(config.phrase_rate * similarity, rng, config.at_least_one)
        hidden = hide_regions(targets, rng, config)
        shown, labels = tokens, np.full(len(tokens), IGNORE)
        phrase_targets = tuple(
            tokens[links.phrase_of_token == links.phrase[i]] if targets[i] else nothing for i in range(n)
        )
    return make_row(
        shown, labels, vocabulary, hidden_regions=hidden, predicts=RegionPhrase.losses, phrase_targets=phrase_targets
    )


@register_objective
class RegionPhrase(Objective):
    """Input ``[t^r, v]``: the retrieved sentence and the regions."""

    name, rows, weighted, losses = "region_phrase", ("region_phrase",), True, ("mlm", "p_mrtc")

    def make(self, material: Material) -> dict[str, Row]:
        links = Links(
            phrase_of_token=tokens_in_phrases(material.offsets, material.sentence.phrases),
            phrase=material.item.link_phrase[material.rank].astype(np.int64),
            similarity=material.item.link_similarity[material.rank].astype(np.float64),
        )
        rng = material.rng(self.name)
        return {self.name: region_phrase_row(material.tokens, links, rng, material.vocabulary, material.masking)}


@register_loss
class PhraseGuidedMaskedRegionTokenClassification(PretrainingLoss):
    """p-MRTC: cross-entropy between the prediction at a masked region and its linked phrase's word pieces.

    The target distribution is uniform over the phrase's word pieces (a piece that occurs twice counts twice). They are
    int [M, P], padded with IGNORE.
    """

    name = "p_mrtc"
    at = "regions"

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        return kit.vocabulary()

    @staticmethod
    def chosen(batch: Mapping[str, Any]) -> Tensor:
        chosen = torch.zeros_like(batch["region_targets"])
        chosen[:, list(batch["rows"]).index("region_phrase")] = batch["phrase_ids"][..., 0] != IGNORE
        return chosen

    @staticmethod
    def targets(batch: Mapping[str, Any], sample: Tensor, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        return {"target": batch["phrase_ids"][sample, position]}

    def target_losses(self, it: Predictions) -> Tensor:
        present = it.target != IGNORE
        log_probability = F.log_softmax(it.prediction.float(), dim=-1).gather(1, it.target.clamp(min=0))
        return -(log_probability * present).sum(dim=1) / present.sum(dim=1)
