"""Linear warm-up over a fraction of the run, then linear decay to zero."""

from __future__ import annotations

import pytest
import torch

from mmf_muvla.errors import InputError


def test_learning_rate_at_every_step() -> None:
    from mmf_muvla.trainers.schedule import WarmupLinear

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupLinear(optimizer, total_updates=10, warmup_fraction=0.2)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25])
    assert optimizer.param_groups[0]["lr"] == 0


def test_no_fraction_is_refused() -> None:
    from mmf_muvla.trainers.schedule import WarmupLinear

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(InputError, match="warmup_fraction: 2000 is no fraction"):
        WarmupLinear(optimizer, total_updates=10, warmup_fraction=2000)
