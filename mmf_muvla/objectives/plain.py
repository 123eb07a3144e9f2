"""Objectives of the systems that the paper compares with, and of its study of joint input: plain random masking."""

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
from mmf_muvla.objectives.registry import OBJECTIVES

Part = Literal["absent", "whole", "masked"]


class PlainObjective(Objective):
    """Any token or region may be masked, whatever the links say; the targets are MLM's, or MRC's and MRFR's, or all."""

    def __init__(self, name: str, text: Part, regions: Part):
        self.name, self.rows, self.text, self.regions = name, (name,), text, regions

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


_PLAIN: tuple[tuple[str, Part, Part], ...] = (
    ("text_only", "masked", "absent"),
    ("region_only", "absent", "masked"),
    ("masked_pair", "masked", "masked"),
    ("masked_text", "masked", "whole"),
    ("masked_regions", "whole", "masked"),
)
OBJECTIVES.update({name: PlainObjective(name, text, regions) for name, text, regions in _PLAIN})
