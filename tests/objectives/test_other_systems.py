"""What other systems learn from: MRC-KL by hand, the weights of their views, and which heads can learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mmf_muvla.objectives.curriculum import view_weights
from mmf_muvla.objectives.loss import Predictions, PretrainingOutput
from mmf_muvla.objectives.region_tag import (
    MaskedRegionClassification,
    MaskedRegionClassificationKL,
    detector_divergence,
)
from mmf_muvla.objectives.registry import HEADS, OBJECTIVES, heads_of

FIVE = ["muvla_mlm", "muvla_mrc", "muvla_mrfr", "muvla_p_mrtc", "muvla_itm"]


def test_divergence_of_one_region_by_hand() -> None:
    """The detector: 0.7 on class 1, 0.15 on each other. The prediction: softmax(0, ln 2, ln 5) = 1/8, 2/8, 5/8."""
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    expected = 0.15 * math.log(0.15 / (1 / 8)) + 0.7 * math.log(0.7 / (2 / 8)) + 0.15 * math.log(0.15 / (5 / 8))
    loss = detector_divergence(logits, torch.tensor([1]), torch.tensor([0.7]))
    assert loss.tolist() == pytest.approx([expected], rel=1e-6)


def test_divergence_is_zero_with_zero_gradient_where_the_prediction_is_the_detectors() -> None:
    confidence, classes = 0.6, 5
    distribution = torch.full((1, classes), 0.4 / 4)
    distribution[0, 2] = confidence
    logits = (distribution.log() + 3).requires_grad_()  # a softmax does not see the constant
    loss = detector_divergence(logits, torch.tensor([2]), torch.tensor([confidence]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_divergence_is_that_of_the_written_out_distribution(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 7, generator=generator, dtype=torch.float32).requires_grad_()
    labels = torch.randint(0, 7, (9,), generator=generator)
    confidence = torch.rand(9, generator=generator)
    distribution = ((1 - confidence) / 6).unsqueeze(1).repeat(1, 7)
    distribution[torch.arange(9), labels] = confidence
    expected = F.kl_div(logits.log_softmax(1), distribution, reduction="none").sum(1)
    loss = detector_divergence(logits, labels, confidence)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(gradient, logits.softmax(1) - distribution, atol=1e-5, rtol=1e-5)


def test_a_certain_detector_gives_cross_entropy_and_a_detector_without_trust_is_finite() -> None:
    logits, labels = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
    certain = detector_divergence(logits, labels, torch.ones(4))
    torch.testing.assert_close(certain, F.cross_entropy(logits, labels, reduction="none"))
    assert detector_divergence(logits, labels, torch.zeros(4)).isfinite().all()


def test_both_classification_losses_read_the_same_predictions() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]])
    predictions = Predictions(logits, torch.tensor([2, 1]), torch.tensor([0, 0]), torch.tensor([0.9, 0.5]))
    output = PretrainingOutput(2, torch.ones(2), torch.ones(2), predictions={"mrc": predictions})
    divergence = MaskedRegionClassificationKL(weight=2.0)({}, {"pretraining": output})
    single = detector_divergence(logits, predictions.target, torch.tensor([0.9, 0.5]))
    assert divergence.item() == pytest.approx(2.0 * single.mean().item() / 2)
    assert set(output.statistics) == {"mrc_kl"}
    MaskedRegionClassification()({}, {"pretraining": output})
    assert set(output.statistics) == {"mrc_kl", "mrc"}


def test_only_phrase_and_sentence_views_are_weighted() -> None:
    weights = view_weights(torch.tensor([0.2, 0.7])).view(len(OBJECTIVES), 2)
    for view, weight in zip(OBJECTIVES, weights.tolist(), strict=True):
        weighted = view in ("region_phrase", "image_sentence")
        assert weight == pytest.approx([0.2, 0.7] if weighted else [1.0, 1.0]), view


@pytest.mark.parametrize(
    ("losses", "heads"),
    [
        (FIVE, {"mlm", "mrc", "mrfr", "p_mrtc", "itm"}),
        ([{"type": "muvla_mlm", "params": {"weight": 2.0}}, {"type": "muvla_itm"}], {"mlm", "itm"}),
        (["muvla_mrc_kl", "muvla_mrfr"], {"mrc", "mrfr"}),  # in the place of MRC, on the same head
        ([*FIVE[:4], "muvla_mrc_kl"], {"mlm", "mrc", "mrfr", "p_mrtc"}),  # five losses, and none for matching
        (["muvla_mlm", "my_own_loss"], {"mlm", "mrc", "mrfr", "p_mrtc", "itm"}),
    ],
)
def test_which_heads_the_losses_look_at(losses: list, heads: set[str]) -> None:
    assert heads_of(losses) == heads
    assert {"mlm", "mrc", "mrfr", "p_mrtc", "itm"} == set(HEADS)


def test_mmf_knows_the_loss() -> None:
    from mmf.common.registry import registry

    import mmf_muvla

    mmf_muvla.register_with_mmf()
    assert registry.get_loss_class("muvla_mrc_kl") is MaskedRegionClassificationKL
