"""MLM, masked language modelling: a part of L_RT, L_RP and L_IS, and of other systems' objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.objectives.loss import HeadKit, Predictions, PretrainingLoss
from mmf_muvla.objectives.masking import IGNORE
from mmf_muvla.objectives.registry import register_loss


@register_loss
class MaskedLanguageModelling(PretrainingLoss):
    """Cross-entropy of the original token, from BERT's masked-token head on the masked position's state."""

    name = "mlm"
    at = "text"

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        return kit.vocabulary()

    @staticmethod
    def chosen(batch: Mapping[str, Any]) -> Tensor:
        return batch["mlm_labels"] != IGNORE

    @staticmethod
    def targets(batch: Mapping[str, Any], sample: Tensor, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        return {"target": batch["mlm_labels"][sample, row, position]}

    def target_losses(self, it: Predictions) -> Tensor:
        return F.cross_entropy(it.prediction.float(), it.target, reduction="none")
