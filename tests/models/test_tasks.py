"""The heads of the tasks: what they look at, and that neither padding nor company changes a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.tasks import IMAGE_FIELDS, ClassificationHeads, GroundingHeads, ImagePairHeads
from mmf_muvla.models.trunk import TrunkConfig
from tests.datasets.small_tasks import DIM, TASKS, make

HIDDEN = 24
CONFIG = TrunkConfig(hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(CONFIG, feature_dim=DIM).eval()
    for parameter in encoder.parameters():  # at BERT's small initial values all states would be nearly alike
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return encoder


def heads_of(task: str, encoder: Encoder, pooling: str = "cls") -> nn.Module:
    torch.manual_seed(1)
    heads: nn.Module
    if task == "nlvr2":
        heads = ImagePairHeads(encoder, num_labels=2, dropout=0.1, pooling=pooling)
    elif task == "refcoco_plus":
        heads = GroundingHeads(encoder, dropout=0.1)
    else:
        heads = ClassificationHeads(encoder, num_labels=4, dropout=0.1, pooling=pooling)
    return heads.eval()


def scores(task: str, encoder: Encoder, batch: Any, pooling: str = "cls") -> torch.Tensor:
    with torch.no_grad():
        return heads_of(task, encoder, pooling)(encoder, batch)["scores"]


@pytest.mark.parametrize("pooling", ["cls", "bert", "mean"])
@pytest.mark.parametrize("task", TASKS)
def test_the_company_of_other_samples_changes_no_score(folder: Path, encoder: Encoder, task: str, pooling: str) -> None:
    """Alone or in a batch, padded to its longest text and its most regions, a sample has the same scores."""
    dataset = make(folder, task)
    together = dataset.__getitems__(range(12))
    assert not together["region_mask"].all() and not together["attention_mask"].all()
    many = scores(task, encoder, together, pooling)
    for item in range(12):
        one = scores(task, encoder, dataset.__getitems__([item]), pooling)[0]
        torch.testing.assert_close(many[item, : len(one)], one, atol=1e-5, rtol=0)
        assert torch.isneginf(many[item, len(one) :]).all()  # scores beyond: grounding's padding
    backwards = scores(task, encoder, dataset.__getitems__(range(11, -1, -1)), pooling)
    torch.testing.assert_close(backwards.flip(0), many, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "bert", "mean"])
@pytest.mark.parametrize("task", TASKS)
def test_what_lies_in_padding_changes_no_score(folder: Path, encoder: Encoder, task: str, pooling: str) -> None:
    batch = make(folder, task).__getitems__(range(8))
    before = scores(task, encoder, batch, pooling)
    no_region, no_token = ~batch["region_mask"], ~batch["attention_mask"]
    assert no_region.any() and no_token.any()
    batch["image_feature_0"][no_region] = 55.0
    batch["bbox"][no_region] = 77.0
    batch["input_ids"][no_token] = 4321
    torch.testing.assert_close(scores(task, encoder, batch, pooling), before, atol=1e-5, rtol=0)


def test_swapping_the_images_swaps_the_halves_and_nothing_else(folder: Path, encoder: Encoder) -> None:
    batch = make(folder, "nlvr2").__getitems__(range(6))
    heads = heads_of("nlvr2", encoder)
    assert isinstance(heads, ImagePairHeads)
    with torch.no_grad():
        pooled = heads.pool(encoder, batch)
        swapped = heads.pool(encoder, {**batch, **{name: batch[name].flip(1) for name in IMAGE_FIELDS}})
    assert pooled.shape == (6, 2 * HIDDEN)
    left, right = pooled[:, :HIDDEN], pooled[:, HIDDEN:]
    torch.testing.assert_close(swapped, torch.cat([right, left], dim=1), atol=1e-5, rtol=0)
    assert (left - right).abs().max() > 0.1  # two images, two states


def test_each_half_is_the_state_of_the_sentence_with_one_image(folder: Path, encoder: Encoder) -> None:
    batch = make(folder, "nlvr2").__getitems__(range(3))
    heads = heads_of("nlvr2", encoder)
    assert isinstance(heads, ImagePairHeads)
    with torch.no_grad():
        pooled = heads.pool(encoder, batch)
        for side in (0, 1):
            image = [batch[name][:, side] for name in IMAGE_FIELDS]
            text, _ = encoder(batch["input_ids"].unsqueeze(1), batch["attention_mask"].unsqueeze(1), *image)
            half = pooled[:, side * HIDDEN : (side + 1) * HIDDEN]
            torch.testing.assert_close(half, text[:, 0, 0], atol=1e-5, rtol=0)


def test_regions_are_scored_by_their_states_and_padding_never_wins(folder: Path, encoder: Encoder) -> None:
    batch = make(folder, "refcoco_plus").__getitems__(range(8))
    batch["targets"][3] = False  # an expression of which the detector found nothing
    batch["labelled"][4] = False
    heads = heads_of("refcoco_plus", encoder)
    with torch.no_grad():
        output = heads(encoder, batch)
        image = [batch[name] for name in IMAGE_FIELDS]
        _, regions = encoder(batch["input_ids"].unsqueeze(1), batch["attention_mask"].unsqueeze(1), *image)
        expected = heads.scorer(regions[:, 0]).squeeze(-1)
    real = batch["region_mask"]
    torch.testing.assert_close(output["scores"][real], expected[real], atol=1e-5, rtol=0)
    assert torch.isneginf(output["scores"][~real]).all()
    for row in range(8):
        best = int(expected[row, real[row]].argmax())
        assert output["chosen_region"][row] == best
        assert output["chosen_is_right"][row] == batch["targets"][row, best]
    reachable, labelled = output["statistics"]["reachable"]
    assert (reachable, labelled) == (6, 7)


def test_gradients_reach_encoder_and_head(folder: Path, encoder: Encoder) -> None:
    for task in TASKS:
        heads = heads_of(task, encoder)
        encoder.zero_grad()
        values = heads(encoder, make(folder, task).__getitems__(range(4)))["scores"]
        values[torch.isfinite(values)].square().sum().backward()
        parameters = [*heads.parameters(), *encoder.parameters()]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
        assert encoder.embeddings.feature.weight.grad.abs().max() > 0


def test_mean_pooling_looks_at_the_mean_states_of_words_and_of_regions(folder: Path, encoder: Encoder) -> None:
    batch = make(folder, "vqa2").__getitems__(range(5))
    heads = heads_of("vqa2", encoder, "mean")
    assert isinstance(heads, ClassificationHeads)
    with torch.no_grad():
        image = [batch[name] for name in IMAGE_FIELDS]
        text, regions = encoder(batch["input_ids"].unsqueeze(1), batch["attention_mask"].unsqueeze(1), *image)
        for row in range(5):
            words = text[row, 0, batch["attention_mask"][row]].mean(dim=0)
            things = regions[row, 0, batch["region_mask"][row]].mean(dim=0)
            expected = heads.classifier(heads.pooler.norm(F.gelu(heads.pooler.dense(torch.cat([words, things])))))
            torch.testing.assert_close(heads(encoder, batch)["scores"][row], expected, atol=1e-5, rtol=0)
