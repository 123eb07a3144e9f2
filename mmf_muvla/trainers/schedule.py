"""Learning rate: linear warm-up over a fraction of the run, then linear decay to zero (paper section 4)."""

from __future__ import annotations

import math

from mmf.common.registry import registry
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mmf_muvla.errors import InputError


@registry.register_scheduler("muvla_warmup_linear")
class WarmupLinear(LambdaLR):
    """Multiplies the learning rates by ``step / warm-up`` during warm-up, then by what is left of the rest.

    The trainer `muvla` gives the length of the run, ``total_updates``; with any other it is ``training.max_updates``.

    Raises:
        InputError: ``warmup_fraction`` is outside [0, 1], or the length is not known.
    """

    def __init__(self, optimizer: Optimizer, total_updates: int | None = None, warmup_fraction: float = 0.1):
        if not 0 <= warmup_fraction <= 1:
            raise InputError("scheduler.params.warmup_fraction", f"{warmup_fraction} is no fraction", "Give 0 to 1")
        total_updates = total_updates or registry.get("config").training.max_updates
        if not total_updates:
            raise InputError("training.max_updates", "not given, so that the schedule has no length", "Give it")
        warmup = math.ceil(total_updates * warmup_fraction)

        def factor(step: int) -> float:
            if step < warmup:
                return step / warmup
            return max(0.0, (total_updates - step) / max(1, total_updates - warmup))

        super().__init__(optimizer, factor)
