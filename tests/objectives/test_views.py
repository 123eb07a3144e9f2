"""The masking rules, by hand-made cases and by counting over many draws."""

from __future__ import annotations

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.objectives.image_sentence import draw_negative, image_sentence_row
from mmf_muvla.objectives.masking import IGNORE, MaskingConfig, Vocabulary, choose, mask_tokens
from mmf_muvla.objectives.region_phrase import Links, region_phrase_row, tokens_in_phrases
from mmf_muvla.objectives.region_tag import region_tag_row

VOCABULARY = Vocabulary(cls_id=1, sep_id=2, mask_id=3, pad_id=0, ordinary_ids=np.arange(10, 1000))
DRAWS = 20_000


def within(share: float, probability: float, draws: int = DRAWS) -> bool:
    """Whether a share counted over so many draws fits the probability, to 4.5 standard deviations."""
    return abs(share - probability) < 4.5 * (probability * (1 - probability) / draws) ** 0.5 + 1e-12


def rngs(count: int = DRAWS) -> list[np.random.Generator]:
    return [np.random.default_rng((7, i)) for i in range(count)]


def test_chosen_tokens_are_80_10_10() -> None:
    tokens = np.arange(2000, 2000 + DRAWS)  # outside the ordinary ids: a random word is always another one
    chosen = np.arange(DRAWS) % 2 == 0
    shown, labels = mask_tokens(tokens, chosen, np.random.default_rng(0), VOCABULARY, MaskingConfig())
    assert (shown[~chosen] == tokens[~chosen]).all()
    assert (labels[~chosen] == IGNORE).all()
    assert (labels[chosen] == tokens[chosen]).all()
    count = chosen.sum()
    masked, kept = (shown[chosen] == 3).mean(), (shown[chosen] == tokens[chosen]).mean()
    assert within(masked, 0.8, count) and within(kept, 0.1, count) and within(1 - masked - kept, 0.1, count)
    random_words = shown[chosen & (shown != 3) & (shown != tokens)]
    assert np.isin(random_words, VOCABULARY.ordinary_ids).all()


def test_region_tag_masks_both_modalities_at_their_rates_and_hides_nine_of_ten() -> None:
    tags = [np.array([20]), np.array([21, 22]), np.array([23])]
    rows = [region_tag_row(tags, rng, VOCABULARY, MaskingConfig(), 50) for rng in rngs()]
    labels = np.stack([row.mlm_labels for row in rows])
    assert within((labels[:, 1] == 20).mean(), 0.15)
    assert ((labels[:, 2] == 21) == (labels[:, 3] == 22)).all()  # a tag of two pieces is masked whole
    assert (labels[:, [0, -1]] == IGNORE).all()
    targets = np.stack([row.region_targets for row in rows])
    hidden = np.stack([row.hidden_regions for row in rows])
    assert within(targets.mean(), 0.15, targets.size)
    assert not hidden[~targets].any()
    assert within(hidden[targets].mean(), 0.9, targets.sum())


def test_word_pieces_of_a_tag_can_be_masked_one_by_one() -> None:
    config = MaskingConfig(whole_tags=False)
    rows = [region_tag_row([np.array([21, 22])], rng, VOCABULARY, config, 50) for rng in rngs()]
    first, second = (np.array([row.mlm_labels[i] != IGNORE for row in rows]) for i in (1, 2))
    assert within((first & second).mean(), 0.15**2)


def test_each_tag_token_knows_its_region() -> None:
    row = region_tag_row(
        [np.array([20]), np.array([21, 22])], np.random.default_rng(0), VOCABULARY, MaskingConfig(), 50
    )
    assert row.token_region.tolist() == [-1, 0, 1, 1, -1]
    assert row.input_ids[0] == 1 and row.input_ids[-1] == 2


def test_tags_that_do_not_fit_are_left_out_whole() -> None:
    tags = [np.array([20]), np.array([21, 22]), np.array([23])]
    row = region_tag_row(tags, np.random.default_rng(0), VOCABULARY, MaskingConfig(), max_tokens=2)
    assert row.token_region.tolist() == [-1, 0, -1]
    assert len(row.hidden_regions) == 3


def test_phrase_tokens_are_found_by_span_not_by_word() -> None:
    #       a dog and a cat on a mat        phrases: "a cat", "mat"
    offsets = np.array([[0, 1], [2, 5], [6, 9], [10, 11], [12, 15], [16, 18], [19, 20], [21, 24]])
    phrases = np.array([[10, 15], [21, 24]])
    assert tokens_in_phrases(offsets, phrases).tolist() == [-1, -1, -1, 0, 0, -1, -1, 1]
    assert tokens_in_phrases(offsets, np.empty((0, 2), int)).tolist() == [-1] * 8


# Tokens 100..107; phrase 0 = tokens 1, 2; phrase 1 = token 5; phrase 2 = token 7, which nothing is linked to.
TOKENS = np.arange(100, 108)
PHRASE_OF_TOKEN = np.array([-1, 0, 0, -1, -1, 1, -1, 2])
LINKS = Links(PHRASE_OF_TOKEN, phrase=np.array([0, 1, 0, -1]), similarity=np.array([0.5, 1.0, 0.9, 0.0]))


def test_region_phrase_masks_one_modality_and_only_what_is_linked() -> None:
    config = MaskingConfig(phrase_rate=0.4, at_least_one=False)
    text = regions = 0
    for rng in rngs(4000):
        row = region_phrase_row(TOKENS, LINKS, rng, VOCABULARY, config)
        labelled = row.mlm_labels != IGNORE
        on_regions = np.array([len(ids) > 0 for ids in row.phrase_targets])
        assert not (labelled.any() and on_regions.any())
        assert not labelled[np.array([0, 1, 4, 5, 7, 8, 9])].any()  # ends, unlinked words, the unlinked phrase
        assert not on_regions[3] and not row.hidden_regions[3]
        assert not row.hidden_regions[~on_regions].any()
        text += labelled.any()
        regions += on_regions.any()
    assert text > 500 and regions > 500


def test_region_phrase_probability_is_rate_times_similarity() -> None:
    config = MaskingConfig(phrase_rate=0.4, at_least_one=False)
    rows = [region_phrase_row(TOKENS, LINKS, rng, VOCABULARY, config) for rng in rngs()]
    labels = np.stack([row.mlm_labels != IGNORE for row in rows])
    on_regions = np.array([[len(ids) > 0 for ids in row.phrase_targets] for row in rows])
    # Half the samples mask text; phrase 0 is linked with 0.5 and 0.9, of which the best counts.
    assert within(labels[:, 2].mean(), 0.5 * 0.4 * 0.9)
    assert within(labels[:, 6].mean(), 0.5 * 0.4 * 1.0)
    for region, similarity in enumerate([0.5, 1.0, 0.9]):
        assert within(on_regions[:, region].mean(), 0.5 * 0.4 * similarity)
    hidden = np.stack([row.hidden_regions for row in rows])
    assert within(hidden[on_regions].mean(), 0.9, on_regions.sum())


def test_region_phrase_targets_are_the_linked_phrases_word_pieces() -> None:
    config = MaskingConfig(phrase_rate=1.0)
    row = next(
        row
        for row in (region_phrase_row(TOKENS, LINKS, rng, VOCABULARY, config) for rng in rngs(200))
        if len(row.phrase_targets[1])
    )
    assert row.phrase_targets[1].tolist() == [105]
    assert (row.input_ids[1:-1] == TOKENS).all()  # the text is left whole


def test_at_least_one_target_whenever_there_is_a_link() -> None:
    config = MaskingConfig(phrase_rate=0.01)
    for rng in rngs(2000):
        row = region_phrase_row(TOKENS, LINKS, rng, VOCABULARY, config)
        assert (row.mlm_labels != IGNORE).any() or any(len(ids) for ids in row.phrase_targets)
    none = Links(PHRASE_OF_TOKEN, np.full(4, -1), np.zeros(4))
    for rng in rngs(50):
        row = region_phrase_row(TOKENS, none, rng, VOCABULARY, config)
        assert not (row.mlm_labels != IGNORE).any() and not any(len(ids) for ids in row.phrase_targets)


def test_links_to_words_that_were_cut_off_are_no_targets() -> None:
    links = Links(PHRASE_OF_TOKEN[:4], LINKS.phrase, LINKS.similarity)
    for rng in rngs(300):
        row = region_phrase_row(TOKENS[:4], links, rng, VOCABULARY, MaskingConfig(phrase_rate=1.0))
        assert len(row.phrase_targets[1]) == 0 and not row.hidden_regions[1]


def test_forced_choice_is_proportional_to_the_probability() -> None:
    probability = np.array([0.001, 0.003, 0.0])
    chosen = np.stack([choose(probability, rng, at_least_one=True) for rng in rngs()])
    assert chosen.any(axis=1).all() and not chosen[:, 2].any()
    assert chosen[:, 1].mean() == pytest.approx(0.75, abs=0.015)


def test_image_sentence_masks_both_rows_alike_and_labels_the_matched_one_only() -> None:
    matched = [image_sentence_row(TOKENS, 3, True, rng, VOCABULARY, MaskingConfig()) for rng in rngs()]
    mismatched = [image_sentence_row(TOKENS, 3, False, rng, VOCABULARY, MaskingConfig()) for rng in rngs()]
    labels = np.stack([row.mlm_labels[1:-1] for row in matched])
    assert within((labels != IGNORE).mean(), 0.15, labels.size)
    assert all((row.mlm_labels == IGNORE).all() for row in mismatched)
    for rows in (matched, mismatched):
        shown = np.stack([row.input_ids[1:-1] for row in rows])
        assert within((shown == 3).mean(), 0.15 * 0.8, shown.size)
    assert not matched[0].hidden_regions.any()


def test_negatives_are_as_frequent_as_positives_and_never_the_images_own() -> None:
    sentences = np.array([[4, 0], [1, 2], [1, 3], [0, 1]])
    drawn = np.array([draw_negative(sentences[0], sentences.__getitem__, 4, rng) for rng in rngs()])
    counts = np.bincount(drawn, minlength=5) / DRAWS
    assert counts[[0, 4]].sum() == 0
    # Of the other sentences 1 is retrieved three times, 2 and 3 once.
    assert within(counts[1], 3 / 5) and within(counts[2], 1 / 5) and within(counts[3], 1 / 5)


def test_images_that_all_have_the_same_sentences_leave_no_negative() -> None:
    sentences = np.array([[4, 0], [0, 4]])
    with pytest.raises(InputError, match="gave no negative"):
        draw_negative(sentences[0], sentences.__getitem__, 2, np.random.default_rng(0))
