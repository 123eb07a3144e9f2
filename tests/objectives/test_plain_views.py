"""The views of other systems: what they show, hide and ask for, by counting over many draws, and in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.image_sentence import image_sentence_row
from mmf_muvla.objectives.masking import IGNORE, MaskingConfig, Row
from mmf_muvla.objectives.plain import PlainObjective, plain_row
from mmf_muvla.objectives.region_phrase import Links, region_phrase_row, tokens_in_phrases
from mmf_muvla.objectives.registry import OBJECTIVES
from tests.datasets.test_pretraining import equal, make
from tests.objectives.test_views import VOCABULARY, rngs, within
from tests.small_corpus import write_small_corpus

PLAIN_VIEWS = {name: it for name, it in OBJECTIVES.items() if isinstance(it, PlainObjective)}

TOKENS = np.arange(2000, 2006)  # outside the ordinary ids: a random word is always another one
REGIONS = 4
MASKING = MaskingConfig()
# View -> whether sentence and regions are seen, and whether they are masked.
SHOWS = {
    "text_only": (True, False),
    "region_only": (False, True),
    "masked_pair": (True, True),
    "masked_text": (True, True),
    "masked_regions": (True, True),
}
MASKS = {
    "text_only": (True, False),
    "region_only": (False, True),
    "masked_pair": (True, True),
    "masked_text": (True, False),
    "masked_regions": (False, True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


def row_of(view: str, rng: np.random.Generator, **masking: Any) -> Row:
    return plain_row(PLAIN_VIEWS[view], TOKENS, REGIONS, rng, VOCABULARY, MaskingConfig(**masking))


@pytest.mark.parametrize("view", PLAIN_VIEWS)
def test_what_a_view_shows(view: str) -> None:
    row = row_of(view, np.random.default_rng(0), token_rate=0.0, region_rate=0.0)
    sentence, regions = SHOWS[view]
    assert row.input_ids.tolist() == [1, *(TOKENS if sentence else ()), 2]
    assert (row.token_region == -1).all() and len(row.token_region) == len(row.input_ids)
    assert row.sees_regions == regions
    assert not row.hidden_regions.any() and not row.region_targets.any() and (row.mlm_labels == IGNORE).all()


@pytest.mark.parametrize("view", PLAIN_VIEWS)
def test_what_a_view_masks_and_how_often(view: str) -> None:
    rows = [row_of(view, rng) for rng in rngs()]
    words, regions = MASKS[view]
    labels = np.stack([row.mlm_labels for row in rows])
    shown = np.stack([row.input_ids for row in rows])
    assert (labels[:, [0, -1]] == IGNORE).all() and (shown[:, [0, -1]] == [1, 2]).all()
    if SHOWS[view][0]:
        labels, shown = labels[:, 1:-1], shown[:, 1:-1]
        chosen = labels != IGNORE
        assert within(chosen.mean(), 0.15 if words else 0.0, chosen.size)
        assert (labels[chosen] == np.broadcast_to(TOKENS, labels.shape)[chosen]).all()
        assert (shown[~chosen] == np.broadcast_to(TOKENS, labels.shape)[~chosen]).all()
        if words:
            assert within((shown[chosen] == VOCABULARY.mask_id).mean(), 0.8, int(chosen.sum()))
    targets = np.stack([row.region_targets for row in rows])
    hidden = np.stack([row.hidden_regions for row in rows])
    assert within(targets.mean(), 0.15 if regions else 0.0, targets.size)
    assert not hidden[~targets].any()
    if regions:
        assert within(hidden[targets].mean(), 0.9, int(targets.sum()))
    assert rows[0].predicts == ("mlm",) * words + ("mrc", "mrfr") * regions


def test_a_masked_pair_masks_each_by_itself() -> None:
    rows = [row_of("masked_pair", rng) for rng in rngs()]
    word = np.array([row.mlm_labels[1] != IGNORE for row in rows])
    region = np.array([row.region_targets[0] for row in rows])
    assert within((word & region).mean(), 0.15**2)


@pytest.mark.parametrize(("option", "rate"), [(None, 0.15), (0.3, 0.3), (0.0, 0.0)])
def test_the_matching_view_has_a_rate_of_its_own(option: float | None, rate: float) -> None:
    masking = MaskingConfig(itm_token_rate=option)
    for matched in (True, False):
        rows = [image_sentence_row(TOKENS, REGIONS, matched, rng, VOCABULARY, masking) for rng in rngs()]
        changed = np.stack([row.input_ids[1:-1] for row in rows]) != TOKENS
        assert within(changed.mean(), 0.9 * rate, changed.size)
        labelled = np.stack([row.mlm_labels[1:-1] for row in rows]) != IGNORE
        assert within(labelled.mean(), rate if matched else 0.0, labelled.size)
        assert rows[0].predicts == (("mlm", "itm") if matched and rate else ("itm",))


def test_region_only_knows_nothing_of_the_sentence() -> None:
    for seed in range(20):
        rows = [
            plain_row(PLAIN_VIEWS["region_only"], tokens, REGIONS, np.random.default_rng(seed), VOCABULARY, MASKING)
            for tokens in (TOKENS, np.arange(20, 29))
        ]
        assert equal(rows[0], rows[1])


def test_new_views_leave_the_papers_views_as_they_are(folder: Path) -> None:
    paper, everything = make(folder), make(folder, objectives=list(OBJECTIVES))
    for index in range(5):
        before, after = (dataset.sample(index, epoch=2).rows for dataset in (paper, everything))
        assert list(after) == ["region_tag", "region_phrase", "matched", "mismatched", *PLAIN_VIEWS]
        assert all(equal(row, after[name]) for name, row in before.items())
        alone = make(folder, objectives=["masked_text"]).sample(index, epoch=2).rows
        assert equal(alone["masked_text"], after["masked_text"])


def test_each_use_has_the_stream_that_a_seed_sequence_deals_it(folder: Path) -> None:
    """The third of six children: the masks of runs from before there were other views."""
    dataset = make(folder)
    number = int(dataset.indices[4])
    sentence_stream, _, phrase_stream, *_ = np.random.SeedSequence((3, 1, number)).spawn(6)
    item = dataset.corpus[number]
    rank = int(np.random.default_rng(sentence_stream).integers(len(item.sentence_ids)))
    sentence = dataset.corpus.sentence(int(item.sentence_ids[rank]))
    tokens, offsets = dataset.words(sentence.text, 60)
    links = Links(tokens_in_phrases(offsets, sentence.phrases), item.link_phrase[rank], item.link_similarity[rank])
    rng = np.random.default_rng(phrase_stream)
    expected = region_phrase_row(tokens, links, rng, dataset.words.vocabulary, dataset.row_options.masking)
    row = dataset.sample(4, epoch=1).rows["region_phrase"]
    assert row.input_ids.tolist() == expected.input_ids.tolist()
    assert row.mlm_labels.tolist() == expected.mlm_labels.tolist()
    assert row.hidden_regions.tolist() == expected.hidden_regions.tolist()


def test_all_views_speak_of_the_same_sentence(folder: Path) -> None:
    dataset = make(folder, objectives=list(OBJECTIVES), masking={"token_rate": 0.0, "phrase_rate": 0.0})
    for index in range(5):
        rows = dataset.sample(index, epoch=0).rows
        for name in ("text_only", "masked_pair", "masked_text", "masked_regions"):
            assert rows[name].input_ids.tolist() == rows["matched"].input_ids.tolist()


def batch_of(dataset: PretrainingDataset) -> dict[str, Any]:
    return dataset.__getitems__([(0, index) for index in range(8)])


def test_a_batch_knows_what_each_row_sees_and_asks_for(folder: Path) -> None:
    dataset = make(folder, objectives=["text_only", "masked_regions"], masking={"region_rate": 0.5})
    samples = [dataset.sample(index, 0) for index in range(8)]
    batch = batch_of(dataset)
    assert batch["rows"] == ["text_only", "masked_regions"]
    assert batch["sees_regions"].tolist() == [[False, True]] * 8
    assert batch["predicts"] == ["mlm", "mrc", "mrfr"]
    assert not batch["region_targets"][:, 0].any()
    for number, sample in enumerate(samples):
        n = len(sample.image.bbox)
        assert batch["region_targets"][number, 1, :n].tolist() == sample.rows["masked_regions"].region_targets.tolist()
        confidence = dataset.corpus[int(dataset.indices[number])].regions.confidence
        assert torch.equal(batch["object_confidence"][number, :n], torch.from_numpy(confidence))
        assert not batch["object_confidence"][number, n:].any()
    assert (batch["phrase_ids"] == IGNORE).all() and batch["weight_row"] == ""


@pytest.mark.parametrize(
    ("overrides", "predicts"),
    [
        ({}, {"mlm", "mrc", "mrfr", "p_mrtc", "itm"}),
        ({"objectives": ["region_tag", "text_only"]}, {"mlm", "mrc", "mrfr"}),
        ({"objectives": ["region_only"]}, {"mrc", "mrfr"}),
        ({"objectives": ["image_sentence"]}, {"mlm", "itm"}),
        ({"objectives": ["image_sentence"], "masking": {"itm_token_rate": 0}}, {"itm"}),
    ],
)
def test_a_data_set_knows_what_its_views_predict(folder: Path, overrides: dict, predicts: set[str]) -> None:
    assert make(folder, **overrides).predicts == predicts


def test_one_view_a_turn(folder: Path) -> None:
    dataset = make(folder, objectives=["region_tag", "text_only"], schedule="alternate")
    assert dataset.turns == 2
    batches = [dataset.__getitems__([(0, 1, turn), (0, 2, turn)]) for turn in range(2)]
    assert [batch["rows"] for batch in batches] == [["region_tag"], ["text_only"]]
    assert [batch["predicts"] for batch in batches] == [["mlm", "mrc", "mrfr"], ["mlm"]]


@pytest.mark.parametrize(
    ("masking", "message"),
    [
        ({"itm_token_rate": 2}, "masking.itm_token_rate=2: must be between 0 and 1"),
        ({"token_rate": None}, "masking.token_rate=null: is not a number from 0.0 to 1.0"),
        ({"itm_token_rate": "none"}, "masking.itm_token_rate=none: is not a number from 0.0 to 1.0"),
    ],
)
def test_bad_rates_are_named(folder: Path, masking: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(folder, masking=masking)
