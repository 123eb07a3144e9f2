"""Objectives of the systems that the paper compares with, and of its study of joint input: plain random masking.

==============  ==========================  =====================================================
objective       input                       targets
==============  ==========================  =====================================================
text_only       sentence                    MLM
region_only     regions                     MRC and MRFR
masked_pair     sentence + regions          MLM, MRC and MRFR at once
masked_text     sentence + regions          MLM
masked_regions  sentence + regions          MRC and MRFR
==============  ==========================  =====================================================
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmf_muvla.objectives.masking import (
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
from mmf_muvla.objectives.registry import register_objective

Part = Literal["absent", "whole", "masked"]


class PlainObjective(Objective):
    """Any token or region may be masked, whatever the links say."""

    text: Part
    regions: Part

    def predicts(self, masking: MaskingConfig) -> tuple[str, ...]:
        return ("mlm",) * (self.text == "masked") + ("mrc", "mrfr") * (self.regions == "masked")

    def make(self, material: Material) -> dict[str, Row]:
        rng, n = material.rng(self.name), material.num_regions
        return {self.name: plain_row(self, material.tokens, n, rng, material.vocabulary, material.masking)}


def plain_row(
    view: PlainObjective, tokens: Ints, n: int, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> Row:
    """Of what is masked, 15 percent of the ``tokens`` and 15 percent of the ``n`` regions, each by itself."""
    if view.text == "absent":
        tokens = tokens[:0]
    chosen = choose(np.full(len(tokens), config.token_rate if view.text == "masked" else 0.0), rng)
    shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
    targets = choose(np.full(n, config.region_rate if view.regions == "masked" else 0.0), rng)
    return make_row(
        shown,
        labels,
        vocabulary,
        hidden_regions=hide_regions(targets, rng, config),
        region_targets=targets,
        predicts=view.predicts(config),
        sees_regions=view.regions != "absent",
    )


@register_objective
class TextOnly(PlainObjective):
    name, rows, text, regions = "text_only", ("text_only",), "masked", "absent"


@register_objective
class RegionOnly(PlainObjective):
    name, rows, text, regions = "region_only", ("region_only",), "absent", "masked"


@register_objective
class MaskedPair(PlainObjective):
    name, rows, text, regions = "masked_pair", ("masked_pair",), "masked", "masked"


@register_objective
class MaskedText(PlainObjective):
    name, rows, text, regions = "masked_text", ("masked_text",), "masked", "whole"


@register_objective
class MaskedRegions(PlainObjective):
    name, rows, text, regions = "masked_regions", ("masked_regions",), "whole", "masked"
