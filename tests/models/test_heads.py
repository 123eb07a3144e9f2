"""The matching head on hand-made states."""

from __future__ import annotations

import pytest
import torch

from mmf_muvla.errors import InputError
from mmf_muvla.models.heads import MatchingHead
from mmf_muvla.models.trunk import TrunkConfig

CONFIG = TrunkConfig(hidden_size=4, num_attention_heads=2)


def states() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    text, regions = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 5, 4, generator=generator)
    text_mask = torch.tensor([[True, True, False], [True, True, True]])
    region_mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return text, text_mask, regions, region_mask


def test_cls_pooling_is_one_layer_on_the_first_token() -> None:
    torch.manual_seed(0)
    head = MatchingHead(CONFIG, "cls")
    text, text_mask, regions, region_mask = states()
    expected = text[:, 0] @ head.classifier.weight[0] + head.classifier.bias
    torch.testing.assert_close(head(text, text_mask, regions, region_mask), expected)


def test_mean_pooling_takes_real_positions_only() -> None:
    torch.manual_seed(0)
    head = MatchingHead(CONFIG, "mean")
    text, text_mask, regions, region_mask = states()
    pooled = torch.stack(
        [
            torch.cat([text[0, :2].mean(0), regions[0].mean(0)]),
            torch.cat([text[1].mean(0), regions[1, :2].mean(0)]),
        ]
    )
    expected = head.classifier(pooled).squeeze(-1)
    torch.testing.assert_close(head(text, text_mask, regions, region_mask), expected)


def test_other_poolings_are_refused() -> None:
    with pytest.raises(InputError, match="itm_pooling: unknown value 'max'"):
        MatchingHead(CONFIG, "max")
