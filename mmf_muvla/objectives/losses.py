"""The pre-training losses: the paper's five, which MMF knows as ``muvla_mlm``, ``_mrc``, ``_mrfr``, ``_p_mrtc`` and
``_itm``, and ``muvla_mrc_kl``, which some of the systems that it compares with have in the place of ``muvla_mrc``.

Each takes the model's :class:`~mmf_muvla.objectives.outputs.PretrainingOutput`, computes one value per sample, and
leaves weighting and averaging to the curriculum. In a model's config::

    losses:
    - type: muvla_mlm
      params: {weight: 1.0}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from mmf_muvla.objectives import per_sample
from mmf_muvla.objectives.curriculum import weighted_mean
from mmf_muvla.objectives.outputs import Predictions, PretrainingOutput


class PretrainingLoss(nn.Module):
    """One objective. Subclasses say what its predictions are called and how one target's loss is computed.

    Args:
        weight: factor of this loss in the sum of all.
    """

    name: str

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    @classmethod
    def head(cls) -> str:
        """The field of :class:`~mmf_muvla.objectives.outputs.PretrainingOutput` that holds its predictions."""
        return cls.name

    def target_losses(self, predictions: Predictions) -> Tensor:
        """The loss of each target, float [M]."""
        raise NotImplementedError

    def forward(self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any]) -> Tensor:
        """The batch's loss, a scalar: 0 where the batch has no targets for it."""
        output: PretrainingOutput = model_output["pretraining"]
        predictions: Predictions | None = getattr(output, self.head())
        if predictions is None:
            return output.view_weight.new_zeros(())
        loss = per_sample.per_sample_mean(
            self.target_losses(predictions), predictions.group, num_groups=len(output.view_weight)
        )
        output.record(self.name, loss)
        return self.weight * weighted_mean(loss, output.view_weight, output.num_samples)


class MaskedLanguageModelling(PretrainingLoss):
    """MLM: on tags (R-T), on phrase tokens (R-P), on the matched sentence (I-S), on any sentence (other systems)."""

    name = "mlm"

    def target_losses(self, predictions: Predictions) -> Tensor:
        return per_sample.token_or_class_cross_entropy(predictions.prediction, predictions.target)


class MaskedRegionClassification(PretrainingLoss):
    """MRC: the detector's class of masked regions (R-T)."""

    name = "mrc"

    def target_losses(self, predictions: Predictions) -> Tensor:
        return per_sample.token_or_class_cross_entropy(predictions.prediction, predictions.target)


class MaskedRegionClassificationKL(PretrainingLoss):
    """MRC-KL: the detector's distribution over the classes, at masked regions (ViLBERT, UNITER).

    Only the distribution's largest value is stored; see
    :func:`~mmf_muvla.objectives.per_sample.detector_divergence` for what stands for the rest.
    """

    name = "mrc_kl"

    @classmethod
    def head(cls) -> str:
        return "mrc"

    def target_losses(self, predictions: Predictions) -> Tensor:
        assert predictions.confidence is not None
        return per_sample.detector_divergence(predictions.prediction, predictions.target, predictions.confidence)


class MaskedRegionFeatureRegression(PretrainingLoss):
    """MRFR: the original feature of masked regions (R-T)."""

    name = "mrfr"

    def target_losses(self, predictions: Predictions) -> Tensor:
        return per_sample.masked_region_feature_regression(predictions.prediction, predictions.target)


class PhraseGuidedMaskedRegionTokenClassification(PretrainingLoss):
    """p-MRTC: the linked phrase's word pieces at masked regions (R-P)."""

    name = "p_mrtc"

    def target_losses(self, predictions: Predictions) -> Tensor:
        return per_sample.phrase_guided_token_classification(predictions.prediction, predictions.target)


class ImageTextMatching(PretrainingLoss):
    """ITM: does the sentence belong to the image (I-S)."""

    name = "itm"

    def target_losses(self, predictions: Predictions) -> Tensor:
        return per_sample.image_text_matching(predictions.prediction, predictions.target)


PRETRAINING_LOSSES: tuple[type[PretrainingLoss], ...] = (
    MaskedLanguageModelling,
    MaskedRegionClassification,
    MaskedRegionFeatureRegression,
    PhraseGuidedMaskedRegionTokenClassification,
    ImageTextMatching,
)
FURTHER_LOSSES: tuple[type[PretrainingLoss], ...] = (MaskedRegionClassificationKL,)
_LOSS_OF_TYPE = {f"muvla_{loss.name}": loss for loss in (*PRETRAINING_LOSSES, *FURTHER_LOSSES)}


HEADS = frozenset(loss.head() for loss in PRETRAINING_LOSSES)


def heads_of(losses: Iterable[str | Mapping[str, Any]]) -> frozenset[str]:
    """The heads that losses look at.

    Args:
        losses: as in a model's config. Of a loss that is not this project's it is not known: it counts as one that
            looks at all.
    """
    types = [loss if isinstance(loss, str) else loss["type"] for loss in losses]
    if any(name not in _LOSS_OF_TYPE for name in types):
        return HEADS
    return frozenset(_LOSS_OF_TYPE[name].head() for name in types)
