"""The views of a sample, as pure functions of arrays and a random generator.

A sample is an image's regions with their tags, one retrieved sentence, and the links between regions and
noun phrases. The paper's three views (sections 3.1 to 3.3) give four rows of input for the trunk:

==============  ==========================  =====================================================
row             input                       targets
==============  ==========================  =====================================================
region_tag      tags + regions              MLM on masked tags; MRC and MRFR on masked regions
region_phrase   sentence + regions          MLM on linked phrases **or** p-MRTC on linked regions
matched         sentence + regions          ITM (a pair), MLM
mismatched      another sentence + regions  ITM (not a pair)
==============  ==========================  =====================================================

``matched`` and ``mismatched`` are the image-sentence view. Both come with every sample: the curriculum needs the
matching head's probability for each retrieved pair. Both are masked alike, as a mask on one side only would
give the answer away; only the matched row has MLM targets.

The systems that the paper compares with, and its study of joint input, have other views, of one row each:

==============  ==========================  =====================================================
row             input                       targets
==============  ==========================  =====================================================
text_only       sentence                    MLM
region_only     regions                     MRC and MRFR
masked_pair     sentence + regions          MLM, MRC and MRFR at once
masked_text     sentence + regions          MLM
masked_regions  sentence + regions          MRC and MRFR
==============  ==========================  =====================================================

Nothing here knows MMF or PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.errors import InputError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_NEGATIVE_DRAWS = 1000
IGNORE = -100  # "no target here", PyTorch's usual label

Part = Literal["absent", "whole", "masked"]


@dataclass(frozen=True)
class PlainView:
    """A view in which any token or region may be masked, whatever the links say.

    Attributes:
        text: whether the sentence is there, and masked.
        regions: the same for the regions.
    """

    text: Part
    regions: Part


PLAIN_VIEWS = {
    "text_only": PlainView(text="masked", regions="absent"),
    "region_only": PlainView(text="absent", regions="masked"),
    "masked_pair": PlainView(text="masked", regions="masked"),
    "masked_text": PlainView(text="masked", regions="whole"),
    "masked_regions": PlainView(text="whole", regions="masked"),
}
ROWS_OF_OBJECTIVE: dict[str, tuple[str, ...]] = {
    "region_tag": ("region_tag",),
    "region_phrase": ("region_phrase",),
    "image_sentence": ("matched", "mismatched"),
    **{view: (view,) for view in PLAIN_VIEWS},
}
OBJECTIVES = tuple(ROWS_OF_OBJECTIVE)


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that masking needs.

    Attributes:
        cls_id, sep_id, mask_id, pad_id: BERT's special tokens.
        ordinary_ids: int [v], every id that may stand in for a masked token (no special tokens).
    """

    cls_id: int
    sep_id: int
    mask_id: int
    pad_id: int
    ordinary_ids: Ints


@dataclass(frozen=True)
class MaskingConfig:
    """How much is masked, and how.

    Attributes:
        token_rate: probability that a token (or a whole tag) is masked, in R-T, I-S and the plain views.
        region_rate: probability that a region is masked, in R-T and the plain views.
        itm_token_rate: in I-S the probability that a token is masked; None: ``token_rate``. With 0, matching is learned
            from whole sentences, and I-S has no MLM.
        phrase_rate: in R-P the probability is ``phrase_rate`` x the link's similarity.
        at_least_one: in R-P, a pair with a link always has a target: where the draw leaves none, one is chosen with
            probability proportional to the similarity.
        whole_tags: mask all word pieces of a tag together (else each by itself).
        mask_token_share, random_token_share: of the chosen tokens, the share shown as [MASK], and as a random
            word; the rest is shown unchanged (BERT's 80/10/10).
        hide_region_share: of the chosen regions, the share whose feature is hidden; the rest is shown (90/10).
    """

    token_rate: float = 0.15
    region_rate: float = 0.15
    itm_token_rate: float | None = None
    phrase_rate: float = 0.15
    at_least_one: bool = True
    whole_tags: bool = True
    mask_token_share: float = 0.8
    random_token_share: float = 0.1
    hide_region_share: float = 0.9


@dataclass(frozen=True)
class Row:
    """One row of input for the trunk, with its targets. ``T`` tokens, ``n`` regions.

    Attributes:
        input_ids: int [T], with [CLS] first and [SEP] last, masks applied.
        mlm_labels: int [T], the original token where it is a target, else IGNORE.
        token_region: int [T], the region whose box replaces the token's position (tags), else -1.
        hidden_regions: bool [n], regions shown with the feature masked.
        region_targets: bool [n], regions whose class and feature are to be predicted.
        predicts: what the row can have targets for, whatever the draw: ``mlm``, ``mrc``, ``mrfr``, ``p_mrtc``, ``itm``.
        phrase_targets: for each region, the word pieces to be predicted (R-P); empty for none.
        sees_regions: whether the regions are in the input.
    """

    input_ids: Ints
    mlm_labels: Ints
    token_region: Ints
    hidden_regions: Bools
    region_targets: Bools
    predicts: tuple[str, ...]
    phrase_targets: tuple[Ints, ...] = ()
    sees_regions: bool = True


@dataclass(frozen=True)
class Links:
    """Links between the regions and the noun phrases of one sentence.

    Attributes:
        phrase_of_token: int [t], the phrase that each token of the sentence lies in (no [CLS], [SEP]), -1 for none.
        phrase: int [n], the phrase linked to each region, -1 for none.
        similarity: float [n], the link's similarity in [0, 1], 0 for none.
    """

    phrase_of_token: Ints
    phrase: Ints
    similarity: Floats


def tokens_in_phrases(offsets: Ints, phrases: Ints) -> Ints:
    """Which phrase each token lies in, by character span (never by the word itself).

    Args:
        offsets: int [t, 2], first and one-past-last character of each token.
        phrases: int [p, 2], the same for each phrase.

    Returns:
        int [t], the phrase index or -1.
    """
    inside = (offsets[:, None, 0] >= phrases[None, :, 0]) & (offsets[:, None, 1] <= phrases[None, :, 1])
    inside &= (offsets[:, 1] > offsets[:, 0])[:, None]
    return np.where(inside.any(axis=1), inside.argmax(axis=1), -1) if len(phrases) else np.full(len(offsets), -1)


def choose(probability: Floats, rng: np.random.Generator, at_least_one: bool = False) -> Bools:
    """Choose each item with its own probability.

    Args:
        probability: float [m], in [0, 1].
        rng: source of randomness.
        at_least_one: where the draw leaves none, choose one with probability proportional to ``probability``
            (none where all are 0).

    Returns:
        bool [m].
    """
    chosen = rng.random(len(probability)) < probability
    total = probability.sum()
    if at_least_one and total > 0 and not chosen.any():
        chosen[rng.choice(len(probability), p=probability / total)] = True
    return chosen


def mask_tokens(
    tokens: Ints, chosen: Bools, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> tuple[Ints, Ints]:
    """Mask chosen tokens: 80 % [MASK], 10 % a random word, 10 % unchanged.

    Args:
        tokens: int [t].
        chosen: bool [t], the tokens to predict.

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


def region_tag_row(
    tag_tokens: list[Ints],
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    config: MaskingConfig,
    max_tokens: int,
    box_positions: bool = True,
) -> Row:
    """R-T: mask tags and regions at random.

    Args:
        tag_tokens: the word pieces of each region's tag.
        max_tokens: room for tag tokens, [CLS] and [SEP] not counted; tags that do not fit are left out, whole.
        box_positions: a tag's place is the box of its region; False: its place in the text, as for any word.
    """
    n = len(tag_tokens)
    lengths = np.array([len(tokens) for tokens in tag_tokens])
    kept = int(np.searchsorted(np.cumsum(lengths), max_tokens, side="right"))
    tokens = np.concatenate([*tag_tokens[:kept], np.empty(0, np.int64)]).astype(np.int64)
    region = np.repeat(np.arange(kept), lengths[:kept])
    if config.whole_tags:
        chosen = choose(np.full(kept, config.token_rate), rng)[region]
    else:
        chosen = choose(np.full(len(tokens), config.token_rate), rng)
    shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
    targets = choose(np.full(n, config.region_rate), rng)
    return Row(
        input_ids=_with_ends(shown, vocabulary.cls_id, vocabulary.sep_id),
        mlm_labels=_with_ends(labels, IGNORE, IGNORE),
        token_region=_with_ends(region if box_positions else np.full(len(tokens), -1), -1, -1),
        hidden_regions=targets & (rng.random(n) < config.hide_region_share),
        region_targets=targets,
        predicts=("mlm", "mrc", "mrfr"),
    )


def region_phrase_row(
    tokens: Ints, links: Links, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> Row:
    """R-P: mask linked phrases or linked regions, never both, with probability proportional to similarity.

    Args:
        tokens: int [t], the sentence's tokens.
        links: the sentence's links; links to phrases of which no token is left (cut sentences) are passed over.
    """
    n = len(links.phrase)
    has_tokens = np.zeros(max(links.phrase_of_token.max(initial=-1), links.phrase.max(initial=-1)) + 2, bool)
    has_tokens[links.phrase_of_token] = True
    has_tokens[-1] = False  # where index -1, no phrase, ends up
    present = has_tokens[links.phrase]
    similarity = np.where(present, links.similarity, 0.0)
    mask_text = rng.random() < 0.5
    no_regions = np.zeros(n, bool)
    if mask_text:
        # A phrase may be linked to several regions: its best link counts.
        phrase_similarity = np.zeros(len(has_tokens))
        np.maximum.at(phrase_similarity, links.phrase, similarity)  # index -1 is the spare last entry
        phrase_similarity[-1] = 0.0
        probability = config.phrase_rate * phrase_similarity[links.phrase_of_token]
        chosen = choose(probability, rng, config.at_least_one)
        shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
        hidden, phrase_targets = no_regions, tuple(np.empty(0, np.int64) for _ in range(n))
    else:
        targets = choose(config.phrase_rate * similarity, rng, config.at_least_one)
        hidden = targets & (rng.random(n) < config.hide_region_share)
        shown, labels = tokens, np.full(len(tokens), IGNORE)
        phrase_targets = tuple(
            tokens[links.phrase_of_token == links.phrase[i]] if targets[i] else np.empty(0, np.int64) for i in range(n)
        )
    return Row(
        input_ids=_with_ends(shown, vocabulary.cls_id, vocabulary.sep_id),
        mlm_labels=_with_ends(labels, IGNORE, IGNORE),
        token_region=np.full(len(tokens) + 2, -1),
        hidden_regions=hidden,
        region_targets=no_regions,
        predicts=("mlm", "p_mrtc"),
        phrase_targets=phrase_targets,
    )


def image_sentence_row(
    tokens: Ints, n: int, matched: bool, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> Row:
    """I-S: a whole sentence with 15 % (or ``itm_token_rate``) of its tokens masked; only a matched one has MLM targets.

    Args:
        tokens: int [t], the sentence's tokens.
        n: number of regions.
        matched: whether the sentence was retrieved for the image.
    """
    rate = config.token_rate if config.itm_token_rate is None else config.itm_token_rate
    chosen = choose(np.full(len(tokens), rate), rng)
    shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
    if not matched:
        labels = np.full(len(tokens), IGNORE)
    return Row(
        input_ids=_with_ends(shown, vocabulary.cls_id, vocabulary.sep_id),
        mlm_labels=_with_ends(labels, IGNORE, IGNORE),
        token_region=np.full(len(tokens) + 2, -1),
        hidden_regions=np.zeros(n, bool),
        region_targets=np.zeros(n, bool),
        predicts=("mlm", "itm") if matched and rate > 0 else ("itm",),
    )


def plain_row(
    view: PlainView, tokens: Ints, n: int, rng: np.random.Generator, vocabulary: Vocabulary, config: MaskingConfig
) -> Row:
    """A plain view: of what is masked, 15 % of the tokens and 15 % of the regions, each by itself.

    Args:
        view: what is there, and what is masked.
        tokens: int [t], the sentence's tokens.
        n: number of regions.
    """
    if view.text == "absent":
        tokens = tokens[:0]
    chosen = choose(np.full(len(tokens), config.token_rate if view.text == "masked" else 0.0), rng)
    shown, labels = mask_tokens(tokens, chosen, rng, vocabulary, config)
    targets = choose(np.full(n, config.region_rate if view.regions == "masked" else 0.0), rng)
    return Row(
        input_ids=_with_ends(shown, vocabulary.cls_id, vocabulary.sep_id),
        mlm_labels=_with_ends(labels, IGNORE, IGNORE),
        token_region=np.full(len(tokens) + 2, -1),
        hidden_regions=targets & (rng.random(n) < config.hide_region_share),
        region_targets=targets,
        predicts=("mlm",) * (view.text == "masked") + ("mrc", "mrfr") * (view.regions == "masked"),
        sees_regions=view.regions != "absent",
    )


def draw_negative(
    own_sentences: Ints, sentences_of: Callable[[int], Ints], num_images: int, rng: np.random.Generator
) -> int:
    """A sentence that was retrieved for another image and not for this one.

    An image is drawn uniformly and one of its K sentences, again until the sentence is not one of the image's own. So a
    sentence is as often a negative as it is a positive, and the text alone says nothing about the match; drawn from all
    sentences alike, popular ones would be known as positives.

    Args:
        own_sentences: int [K], the sentences retrieved for the image.
        sentences_of: gives the K sentences of any image by its number.
        num_images: number of images.
        rng: source of randomness.

    Returns:
        A sentence index, never one of ``own_sentences``.

    Raises:
        InputError: so many draws gave own sentences only that (nearly) all images must have the same ones.
    """
    own = set(own_sentences.tolist())
    for _ in range(_NEGATIVE_DRAWS):
        candidates = sentences_of(int(rng.integers(num_images)))
        drawn = int(candidates[rng.integers(len(candidates))])
        if drawn not in own:
            return drawn
    raise InputError(
        "the corpus",
        f"{_NEGATIVE_DRAWS} draws among the sentences of {num_images} images gave no negative for an image",
        "Build it with more sentences: nearly all images have the same ones",
    )


def _with_ends(values: NDArray[np.generic], first: int, last: int) -> Ints:
    return np.concatenate([[first], values, [last]]).astype(np.int64)
