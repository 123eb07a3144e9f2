"""The losses of the tasks, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from mmf.common.registry import registry

from mmf_muvla.datasets.tasks.refcoco_plus.dataset import grounding
from mmf_muvla.datasets.tasks.task import class_cross_entropy
from mmf_muvla.datasets.tasks.vqa2.dataset import answer_bce
from mmf_muvla.errors import InputError

NOWHERE = -torch.inf  # the score of a place that is no region


def test_answer_bce_sums_over_the_answers() -> None:
    # Logit 0: ln 2 whatever the target. Logit ln 3 (probability 3/4) with target 0.6: -(0.6 ln 3/4 + 0.4 ln 1/4).
    scores = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    targets = torch.tensor([[1.0, 0.6], [0.3, 0.0]])
    expected = [math.log(2) - 0.6 * math.log(0.75) - 0.4 * math.log(0.25), 2 * math.log(2)]
    assert answer_bce(scores, targets).tolist() == pytest.approx(expected)


def test_class_cross_entropy_of_an_unknown_class_is_zero() -> None:
    scores = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [5.0, 1.0]])
    losses = class_cross_entropy(scores, torch.tensor([1, 0, -1]))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), math.log(2), 0.0])


def test_grounding_sums_the_probabilities_of_all_right_regions() -> None:
    # Softmax of (ln 1, ln 2, ln 5) is 1/8, 2/8, 5/8.
    scores = torch.tensor([[0.0, math.log(2), math.log(5), NOWHERE]] * 3)
    right = torch.tensor([[True, False, False, False], [True, True, False, False], [True, True, True, False]])
    expected = [math.log(8), math.log(8 / 3), 0.0]
    assert grounding(scores, right).tolist() == pytest.approx(expected, abs=1e-6)


def test_grounding_without_a_right_region_is_zero_and_pulls_nowhere() -> None:
    scores = torch.tensor([[1.0, 2.0, NOWHERE], [1.0, 2.0, 0.5]], requires_grad=True)
    right = torch.tensor([[False, False, False], [False, True, False]])
    losses = grounding(scores, right)
    losses.sum().backward()
    assert losses[0].item() == 0 and losses[1].item() > 0
    assert scores.grad is not None
    assert scores.grad[0].tolist() == [0, 0, 0]
    # The gradient of the other is softmax minus the right region's indicator.
    expected = scores.detach()[1].softmax(0) - torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(scores.grad[1], expected)


def test_grounding_is_finite_in_half_precision() -> None:
    scores = torch.tensor([[60.0, -60.0, NOWHERE]], dtype=torch.bfloat16)
    assert grounding(scores, torch.tensor([[False, True, False]])).tolist() == pytest.approx([120.0])


@pytest.mark.parametrize(
    ("name", "scores", "targets", "expected"),
    [
        (
            "muvla_answer_bce",
            [[0.0, 0.0], [0.0, 0.0], [9.0, 9.0]],
            [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
            2 * math.log(2),
        ),
        (
            "muvla_cross_entropy",
            [[0.0, 0.0], [0.0, math.log(3)], [9.0, 9.0]],
            [0, 0, -1],
            (math.log(2) + math.log(4)) / 2,
        ),
        (
            "muvla_grounding",
            [[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]],
            [[True, False], [False, False], [False, False]],
            math.log(2) / 2,
        ),
    ],
    ids=["answers", "classes", "regions"],
)
def test_the_mean_is_over_labelled_samples(name: str, scores: list, targets: list, expected: float) -> None:
    loss = registry.get_loss_class(name)()
    batch = {"targets": torch.tensor(targets), "labelled": torch.tensor([True, True, False])}
    assert loss(batch, {"scores": torch.tensor(scores)}).item() == pytest.approx(expected)
    nobody = {**batch, "labelled": torch.zeros(3, dtype=torch.bool)}
    assert loss(nobody, {"scores": torch.tensor(scores)}).item() == 0


def test_a_head_that_does_not_fit_the_vocabulary_is_named() -> None:
    with pytest.raises(InputError, match="num_labels=3129: the data set's vocabulary has 41 answers"):
        answer_bce(torch.zeros(2, 3129), torch.zeros(2, 41))
