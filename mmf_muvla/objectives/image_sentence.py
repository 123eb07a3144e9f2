"""I-S, image-sentence alignment (paper section 3.3): ``L_IS = L_MLM + L_ITM``.

Each image comes with its retrieved sentence and with a random one. Both are masked alike, as a mask on one side only
would give the answer away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.errors import InputError
from mmf_muvla.objectives.loss import HeadKit, Predictions, PretrainingLoss
from mmf_muvla.objectives.masking import IGNORE, Ints, MaskingConfig, Row, Vocabulary, choose, make_row, mask_tokens
from mmf_muvla.objectives.objective import Material, Objective
from mmf_muvla.objectives.registry import register_loss, register_objective

_NEGATIVE_DRAWS = 1000


def _token_rate(masking: MaskingConfig) -> float:
    return masking.token_rate if masking.itm_token_rate is None else masking.itm_token_rate


def image_sentence_row(
    tokens: Ints, n: int, matched: bool, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> Row:
    """A sentence, int [t], with ``n`` regions: 15 percent (or ``itm_token_rate``) of its tokens are masked.

    Only one that was retrieved for the image has MLM targets.
    """
    rate = _token_rate(config)
    chosen = choose(np.full(len(tokens), rate), rng)
    shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
    if not matched:
        labels = np.full(len(tokens), IGNORE)
    predicts = ("mlm", "itm") if matched and rate > 0 else ("itm",)
    return make_row(shown, labels, vocabulary, hidden_regions=np.zeros(n, bool), predicts=predicts)


def draw_negative(
    own_sentences: Ints, sentences_of: Callable[[int], Ints], num_images: int, rng: np.random.Generator
) -> int:
    """A sentence that was retrieved for another image and not for this one.

    An image is drawn uniformly and one of its K sentences, again until the sentence is not one of the image's own. So a
    sentence is as often a negative as it is a positive; drawn from all alike, popular ones would be known as positives.

    Args:
        own_sentences: int [K], the sentences retrieved for the image.
        sentences_of: gives the K sentences of any image by its number.

    Raises:
        InputError: so many draws gave own sentences only that (nearly) all images must have the same ones.
    """
    own = set(own_sentences.tolist())
    for _ in range(_NEGATIVE_DRAWS):
        candidates = sentences_of(int(rng.integers(num_images)))
        drawn = int(candidates[rng.integers(len(candidates))])
        if drawn not in own:
            return drawn
    problem = f"{_NEGATIVE_DRAWS} draws among the sentences of {num_images} images gave no negative for an image"
    raise InputError("the corpus", problem, "Build it with more sentences: nearly all images have the same ones")


@register_objective
class ImageSentence(Objective):
    """Input ``[v, t^r]``: the regions with the retrieved sentence, and the regions with another one."""

    name, rows, weighted = "image_sentence", ("matched", "mismatched"), True

    def predicts(self, masking: MaskingConfig) -> tuple[str, ...]:
        return ("mlm", "itm") if _token_rate(masking) > 0 else ("itm",)

    def make(self, material: Material) -> dict[str, Row]:
        corpus, own = material.corpus, material.item.sentence_ids
        other = draw_negative(own, corpus.sentence_ids, len(corpus), material.rng("negative"))
        other_tokens, _ = material.words(corpus.sentence(other).text, material.options.max_text_tokens)
        n, vocabulary, masking = material.num_regions, material.vocabulary, material.masking
        return {
            row: image_sentence_row(tokens, n, row == "matched", material.rng(row), vocabulary, masking)
            for row, tokens in zip(self.rows, (material.tokens, other_tokens), strict=True)
        }


@register_loss
class ImageTextMatching(PretrainingLoss):
    """ITM: binary cross-entropy of whether the sentence belongs to the image, from a fully connected layer on [CLS]."""

    name = "itm"
    at = "pairs"
    metric = "muvla_itm_accuracy"

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        return kit.matching()

    @staticmethod
    def chosen(batch: Mapping[str, Any]) -> list[str]:
        return ["matched", "mismatched"]

    @staticmethod
    def pair_targets(batch: Mapping[str, Any]) -> Tensor:
        return torch.tensor([1.0, 0.0], device=batch["bbox"].device)

    def target_losses(self, it: Predictions) -> Tensor:
        return F.binary_cross_entropy_with_logits(it.prediction.float(), it.target, reduction="none")
