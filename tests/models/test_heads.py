"""Pooling on hand-made states, and its way from pre-training to the tasks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.heads import Pooler
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.tasks import ClassificationHeads, ImagePairHeads
from mmf_muvla.models.trunk import TrunkConfig

CONFIG = TrunkConfig(hidden_size=4, num_attention_heads=2)


def states() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    text, regions = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 5, 4, generator=generator)
    text_mask = torch.tensor([[True, True, False], [True, True, True]])
    region_mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return text, text_mask, regions, region_mask


def test_cls_pooling_is_the_first_token() -> None:
    text, text_mask, regions, region_mask = states()
    pooler = Pooler(CONFIG, "cls")
    assert torch.equal(pooler(text, text_mask, regions, region_mask), text[:, 0])
    assert not list(pooler.parameters())


def test_mean_pooling_is_a_layer_on_the_means_of_real_positions() -> None:
    torch.manual_seed(0)
    pooler = Pooler(CONFIG, "mean")
    text, text_mask, regions, region_mask = states()
    means = torch.stack(
        [
            torch.cat([text[0, :2].mean(0), regions[0].mean(0)]),
            torch.cat([text[1].mean(0), regions[1, :2].mean(0)]),
        ]
    )
    expected = F.layer_norm(F.gelu(means @ pooler.dense.weight.T + pooler.dense.bias), (4,))
    torch.testing.assert_close(pooler(text, text_mask, regions, region_mask), expected)


def test_bert_pooling_is_a_layer_on_the_first_token() -> None:
    torch.manual_seed(0)
    pooler = Pooler(CONFIG, "bert")
    text, text_mask, regions, region_mask = states()
    expected = torch.tanh(text[:, 0] @ pooler.cls_dense.weight.T + pooler.cls_dense.bias)
    torch.testing.assert_close(pooler(text, text_mask, regions, region_mask), expected)


@pytest.mark.parametrize("pooling", ["cls", "bert", "mean"])
def test_what_the_matching_head_has_trained_is_what_a_task_starts_from(pooling: str) -> None:
    encoder = Encoder(TrunkConfig(vocab_size=9, hidden_size=4, num_attention_heads=2, num_hidden_layers=1), 3)
    trained = PretrainingHeads(encoder, 3, num_object_classes=2, warmup_epochs=1, itm_pooling=pooling).state_dict()
    for heads in (ClassificationHeads(encoder, 3, 0.0, pooling), ImagePairHeads(encoder, 2, 0.0, pooling)):
        taken = {
            name for name, value in heads.state_dict().items() if value.shape == trained.get(name, value[:0]).shape
        }
        assert taken == {name for name in trained if name.startswith("pooler.")}
        assert bool(taken) == (pooling != "cls")
