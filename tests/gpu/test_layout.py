"""Rows of different lengths together on the GPU: each has the states that it has by itself, whatever else is there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.gpu.material import PretrainingModel, autocast, relative_error

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("own_registry")]

FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
BOUND = {FP32: 1e-4, BF16: 2e-2, FP16: 2.5e-3}
LENGTHS = ((3, 1), (17, 40), (60, 100), (2, 100), (33, 7), (5, 64))  # words and regions


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Tensor]]:
    """One image and one text each, without padding."""
    draw = torch.Generator().manual_seed(0)
    made = []
    for words, regions in LENGTHS:
        corner = torch.rand(1, regions, 2, generator=draw) * 50
        made.append(
            {
                "input_ids": torch.randint(5, 60, (1, 1, words), generator=draw),
                "attention_mask": torch.ones(1, 1, words, dtype=torch.bool),
                "image_feature_0": torch.randn(1, regions, 16, generator=draw),
                "bbox": torch.cat([corner, corner + 30], dim=2),
                "image_size": torch.full((1, 2), 100.0),
                "region_mask": torch.ones(1, regions, dtype=torch.bool),
            }
        )
    return made


def together(rows: list[dict[str, Tensor]], more: int = 0) -> dict[str, Tensor]:
    """All rows in one batch, padded to the longest and ``more`` beyond it, by what must not matter."""
    words, regions = (max(lengths) + more for lengths in zip(*LENGTHS, strict=True))
    filling = {"input_ids": 7, "attention_mask": False, "image_feature_0": 50.0, "bbox": 9.0, "region_mask": False}
    batch = {"image_size": torch.cat([row["image_size"] for row in rows])}
    for name, value in filling.items():
        axis, length = (2, words) if name in ("input_ids", "attention_mask") else (1, regions)
        parts = []
        for row in rows:
            room = [0, 0] * (row[name].dim() - 1 - axis) + [0, length - row[name].shape[axis]]
            parts.append(F.pad(row[name], room, value=value))
        batch[name] = torch.cat(parts)
    return batch


def states(model: Any, batch: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Of each row: the states at its real positions, and behind them the gradient of its features, flat."""
    batch = {name: value.to(device) for name, value in batch.items()}
    batch["image_feature_0"].requires_grad_()
    with autocast(device, dtype):
        text, regions = model.encoder(**batch)
    masks = batch["attention_mask"][:, 0], batch["region_mask"]
    real = [torch.cat([t[0][m], r[0][n]]) for t, r, m, n in zip(text, regions, *masks, strict=True)]
    loss = torch.stack([it.float().square().mean() * it[0, 0].float() for it in real]).sum()
    (gradient,) = torch.autograd.grad(loss, batch["image_feature_0"])
    assert not gradient[~masks[1]].any()  # nothing flows into padding
    return [
        torch.cat([it.flatten().float(), g[n].flatten()]) for it, g, n in zip(real, gradient, masks[1], strict=True)
    ]


@pytest.mark.parametrize("dtype", [FP32, BF16, FP16])
@pytest.mark.parametrize("two_streams", [False, True])
def test_rows_in_company_and_by_themselves(
    two_streams: bool,
    dtype: torch.dtype,
    rows: list[dict[str, Tensor]],
    device: torch.device,
) -> None:
    model = PretrainingModel(two_streams=two_streams).eval().to(device)
    packed = states(model, together(rows), device, dtype)
    padded = states(model, together(rows, more=9), device, dtype)
    for number, row in enumerate(rows):
        (alone,) = states(model, row, device, dtype)
        assert relative_error(packed[number], alone) < BOUND[dtype], LENGTHS[number]
        assert relative_error(padded[number], alone) < BOUND[dtype], LENGTHS[number]
