"""Whether matching is being learned: a run in which it is not looks healthy, since all other losses fall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# Half of the pairs of a validation match: what it costs, in nats, to say so of every pair.
_GUESSING = math.log(2)
_MARGIN = 0.01


def unlearned_matching(values: Mapping[str, Any], before: int, update: int, total: int) -> str | None:
    """A warning that matching has not begun, for the first validation of a run's second half.

    Args:
        values: of the validation, by name; ``itm`` where matching is learned.
        before: the update after which the validation before was.
        update: the update after which this one is.
        total: how many there will be.

    Returns:
        The warning, or ``None``: the ITM loss is further than 0.01 from ln 2, matching is not learned, or it is not the
        time to say so.
    """
    loss = values.get("itm")
    if loss is None or not before < total / 2 <= update or abs(loss - _GUESSING) > _MARGIN:
        return None
    return (
        f"matching has not begun: after {update:,} of {total:,} updates the validation's itm is {loss:.4f}; "
        f"{_GUESSING:.4f} is what guessing costs. Until it begins, w_ITM weighs all pairs alike. Train longer or with "
        "a higher optimizer.params.lr, or try the heads of the published code (model_config.muvla.itm_pooling=bert "
        "model_config.muvla.share_vocabulary_head=true), whole sentences (masking.itm_token_rate=0 of the data set), "
        "or a larger model_config.muvla.loss_weights.muvla_itm; docs/pretraining.md says more"
    )
